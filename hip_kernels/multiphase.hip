// multiphase: MoE token sorting by all compute units, in two launches that hand on through the workspace.
//
// Inputs and outputs: arguments.h; their meaning, padding included: hip_kernels/README.md.
// The rows are cut into `chunks` of chunk_tokens, one for each of the first sorting workgroups; a workgroup takes its
// chunk in passes of pass_tokens, whose bits fit into LDS. Sorting workgroups without a chunk help with the padding.
// Workspace: [words, num_experts] the bits of all rows, 32 to a word, chunk_tokens / 32 words to a chunk; [chunks] not
//        0 where a token of the chunk names an expert more than once; then, if not for the _word and _words variants,
//        [chunks, num_experts] pairs of each expert in each chunk, 16 bits each, since every workgroup reads them all.
// Where a launch may start before the one in front of it has ended, the second begins with what it does not need the
//        first for, zeroing included: whatever used moe_buf before had ended when the first one began.
// Grid:  sorting_workgroups that sort, then any number that zero moe_buf (each launch its own part of it). Workgroup:
//        a multiple of the wave size, at least num_experts threads (thread e answers for expert e), at most 1024; below
//        Tokens::kMany also one for each (token, slot) pair of a chunk.
// LDS:   SortingLds with pass_tokens / 32 words, in the second launch also with the sums of the groups.
#include "layout.h"
#include "zero.h"

// This workgroup's rows: empty for one without a chunk.
__device__ __forceinline__ Rows own_chunk(const SortingArguments& arguments) {
  const uint32_t rows = arguments.rows;
  const uint32_t first = smaller(blockIdx.x * arguments.chunk_tokens, rows);
  return {first, smaller(first + arguments.chunk_tokens, rows), tokens_to_read(arguments)};
}

// The parts of the workspace: the bits of the rows from `first` on, [words, num_experts].
__device__ __forceinline__ uint32_t* stored_bits(const SortingArguments& arguments, uint32_t first) {
  const unsigned long long word = first / kWordTokens;
  return arguments.workspace + word * arguments.num_experts.divisor;
}

// Whether each chunk has repeats (layout.h): [chunks].
__device__ __forceinline__ uint32_t* stored_repeats(const SortingArguments& arguments) {
  return stored_bits(arguments, arguments.chunks * arguments.chunk_tokens);
}

// The counts: [chunks, num_experts].
__device__ __forceinline__ uint16_t* stored_counts(const SortingArguments& arguments) {
  return reinterpret_cast<uint16_t*>(stored_repeats(arguments) + arguments.chunks);
}

// Words of one expert that a thread loads before it uses the first, so that their latencies overlap.
constexpr uint32_t kWordsInFlight = 4;

// Chunks of one word each, at most; MOST_WORD_CHUNKS of moesort_tune/sorting/launches.py.
constexpr uint32_t kMostWordChunks = 64;

struct WordBatch {
  uint32_t first;
  uint32_t bits[kWordsInFlight];
};

// Few chunks, of one word each: thread e holds all words of expert e, and their popcounts are its counts. `chunks` is
// one or two times kWordsInFlight; those past the last row have words without bits, so that none is loaded unstored.
// More chunks of a word are shared by groups of num_experts threads, which hold chunks_per_group of them each, a
// multiple of 2 * kWordsInFlight.

// First launch: the words of its chunk.
__device__ __forceinline__ void count_word(const SortingArguments& arguments) {
  let_next_launch_start();
  if (zeroed_instead(arguments)) return;
  HIP_DYNAMIC_SHARED(uint32_t, memory);
  const uint32_t num_experts = arguments.num_experts.divisor;
  const SortingLds lds = map_lds(memory, num_experts, 1);
  const Ids ids = ids_of(arguments, own_chunk(arguments));
  const IdBatch<1> own_id = load_ids<Tokens::kWord, 1>(ids, threadIdx.x);

  if (threadIdx.x < num_experts) lds.bits[threadIdx.x] = 0;
  if (threadIdx.x == 0) stored_repeats(arguments)[blockIdx.x] = 0;
  __syncthreads();  // no bit is set before all are cleared
  const Marks marks = mark_tokens<Tokens::kWord>(arguments, lds, ids, own_id);
  __syncthreads();  // all bits are set
  if (threadIdx.x < num_experts) {
    const uint32_t index = blockIdx.x * num_experts + threadIdx.x;
    at<Tokens::kWord>(arguments.workspace, index) = lds.bits[threadIdx.x];
  }
  if (marks.found != 0) stored_repeats(arguments)[blockIdx.x] = 1;
}

// Expert `expert`'s words from chunk `first` on. (Not by `at`: with it 256 tokens take 5 to 10 % longer on an H100, and
// AMD code has as many instructions.)
__device__ __forceinline__ WordBatch load_chunks(const SortingArguments& arguments, uint32_t expert, uint32_t first) {
  const uint32_t num_experts = arguments.num_experts.divisor;
  WordBatch batch;
  batch.first = first;
#pragma unroll
  for (uint32_t i = 0; i < kWordsInFlight; ++i) batch.bits[i] = arguments.workspace[(first + i) * num_experts + expert];
  return batch;
}

// What the words of all chunks say of one expert.
struct ExpertWords {
  uint32_t own;  // the word of this workgroup's chunk
  ExpertPairs pairs;
};

__device__ __forceinline__ void add_words(ExpertWords& expert, const WordBatch& batch) {
#pragma unroll
  for (uint32_t i = 0; i < kWordsInFlight; ++i) {
    if (batch.first + i == blockIdx.x) {
      expert.own = batch.bits[i];
      expert.pairs.before = expert.pairs.total;
    }
    expert.pairs.total += __popc(batch.bits[i]);
  }
}

// Not 0 in a lane that finds a chunk with repeats; the wave's lanes look at all chunks, of which there are at most
// kMostChunks.
template <uint32_t kMostChunks>
__device__ __forceinline__ uint32_t load_repeats(const SortingArguments& arguments) {
  uint32_t repeats = 0;
#pragma unroll
  for (uint32_t first = 0; first < kMostChunks; first += kWaveSize) {
    const uint32_t chunk = first + lane_index();
    if (chunk < static_cast<uint32_t>(arguments.chunks)) repeats |= stored_repeats(arguments)[chunk];
  }
  return repeats;
}

// Adds the pairs of `ids` to each expert's of `counts`, [num_experts] in LDS.
__device__ __forceinline__ void count_ids(const Ids& ids, uint32_t* counts, uint32_t num_experts) {
#pragma unroll 1
  for (uint32_t pair = threadIdx.x; pair < ids.pairs; pair += blockDim.x) {
    const uint32_t expert = ids.first[pair];
    if (expert < num_experts) atomicAdd(&counts[expert], 1u);
  }
}

// Thread e: expert e's pairs by the ids of all rows instead of the words. Every thread of the workgroup must call it.
__device__ __forceinline__ ExpertPairs recount_chunks(const SortingArguments& arguments, const SortingLds& lds,
                                                      const Rows& own) {
  const uint32_t num_experts = arguments.num_experts.divisor;
  uint32_t* const total = lds.padding_row;  // both are laid out again behind this
  uint32_t* const before = lds.end_row;
  if (threadIdx.x < num_experts) total[threadIdx.x] = before[threadIdx.x] = 0;
  __syncthreads();  // no pair is counted before all counts are cleared
  count_ids(ids_of(arguments, {0, static_cast<uint32_t>(arguments.rows), own.tokens}), total, num_experts);
  count_ids(ids_of(arguments, {0, own.first, own.tokens}), before, num_experts);
  __syncthreads();  // all pairs are counted
  if (threadIdx.x >= num_experts) return {0, 0, 0};
  return {total[threadIdx.x], before[threadIdx.x], kHasRepeats};
}

// The second launch once more, by the ids instead of the words; see sort_repeats of oneshot.hip.
__device__ __forceinline__ void scatter_repeats(const SortingArguments& arguments) {
  HIP_DYNAMIC_SHARED(uint32_t, memory);
  const SortingLds lds = map_lds(memory, arguments.num_experts.divisor, 1);
  const Share share = {blockIdx.x, static_cast<uint32_t>(arguments.sorting_workgroups)};
  const Rows rows = own_chunk(arguments);
  const bool enabled = expert_is_enabled<Tokens::kWord>(arguments);
  place_experts(arguments, lds, enabled, recount_chunks(arguments, lds, rows), rows, share);
  __syncthreads();  // the experts have their rows
  const Pair pair = load_pair<Tokens::kWord>(arguments, rows, threadIdx.x);
  scatter_pairs<Tokens::kWord, Repeats::kSome>(arguments, lds, rows, pair, {0, 1});
  write_padding<Tokens::kWord>(arguments, lds, share);
}

// Thread e: adds up what the groups of num_experts threads know of expert e.
__device__ __forceinline__ ExpertPairs join_groups(const SortingArguments& arguments, const SortingLds& lds,
                                                   ExpertPairs pairs) {
  const uint32_t num_experts = arguments.num_experts.divisor;
  const uint32_t threads = arguments.chunk_groups * num_experts;
  uint32_t* const totals = lds.chunk_sums;
  uint32_t* const before = lds.chunk_sums + threads;
  if (threadIdx.x < threads) {
    totals[threadIdx.x] = pairs.total;
    before[threadIdx.x] = pairs.before;
  }
  __syncthreads();  // the sums of all groups are there
  if (threadIdx.x >= num_experts) return {0, 0, 0};
#pragma unroll 4
  for (uint32_t other = threadIdx.x + num_experts; other < threads; other += num_experts) {
    pairs.total += totals[other];
    pairs.before += before[other];
  }
  return pairs;
}

// Groups of threads among which the words of an expert are shared.
enum class Groups { kOne, kSome };

// The expert whose words a thread holds, and of which chunks.
struct PartOfChunks {
  uint32_t expert;
  uint32_t first;
  uint32_t end;
};

// The threads past the last expert, or past the last group, hold words of the last one again.
template <Groups kGroups>
__device__ __forceinline__ PartOfChunks choose_part(const SortingArguments& arguments) {
  const uint32_t num_experts = arguments.num_experts.divisor;
  if (kGroups == Groups::kOne) return {smaller(threadIdx.x, num_experts - 1), 0, 0};
  const uint32_t group = smaller(divide(threadIdx.x, arguments.num_experts), arguments.chunk_groups - 1);
  const uint32_t first = group * arguments.chunks_per_group;
  return {smaller(threadIdx.x - group * num_experts, num_experts - 1), first, first + arguments.chunks_per_group};
}

// The words of a part behind the first two batches; then, in the groups whose chunks all come before this workgroup's,
// all pairs do.
__device__ __forceinline__ void add_further_words(const SortingArguments& arguments, ExpertWords& expert,
                                                  const PartOfChunks& part) {
#pragma unroll 1
  for (uint32_t chunk = part.first + 2 * kWordsInFlight; chunk < part.end; chunk += 2 * kWordsInFlight) {
    const WordBatch words = load_chunks(arguments, part.expert, chunk);
    const WordBatch more_words = load_chunks(arguments, part.expert, chunk + kWordsInFlight);
    add_words(expert, words);
    add_words(expert, more_words);
  }
  if (part.end <= blockIdx.x) expert.pairs.before = expert.pairs.total;
}

// Second launch: every workgroup works the layout out from all words, then writes the (token, slot) pairs of its own
// chunk and its share of the padding.
template <Groups kGroups>
__device__ __forceinline__ void scatter_word(const SortingArguments& arguments) {
  if (zeroed_instead(arguments)) return;
  HIP_DYNAMIC_SHARED(uint32_t, memory);
  const uint32_t num_experts = arguments.num_experts.divisor;
  const uint32_t chunk_sums = kGroups == Groups::kOne ? 0 : 2 * arguments.chunk_groups * num_experts;
  const SortingLds lds = map_lds(memory, num_experts, 1, chunk_sums);
  const Share share = {blockIdx.x, static_cast<uint32_t>(arguments.sorting_workgroups)};
  const Share alone = {0, 1};
  const Rows rows = own_chunk(arguments);
  const Pair pair = load_pair<Tokens::kWord>(arguments, rows, alone.first());
  const bool enabled = expert_is_enabled<Tokens::kWord>(arguments);

  wait_for_launch_before();  // whose results are loaded from here on
  const bool two_batches = kGroups == Groups::kSome || arguments.chunks > static_cast<int32_t>(kWordsInFlight);
  const PartOfChunks part = choose_part<kGroups>(arguments);
  const WordBatch words = load_chunks(arguments, part.expert, part.first);
  WordBatch more_words = {};
  if (two_batches) more_words = load_chunks(arguments, part.expert, part.first + kWordsInFlight);
  const uint32_t repeats = load_repeats<kGroups == Groups::kOne ? 2 * kWordsInFlight : kMostWordChunks>(arguments);
  ExpertWords of_expert = {0, {0, 0, 0}};
  add_words(of_expert, words);
  if (two_batches) add_words(of_expert, more_words);
  if constexpr (kGroups == Groups::kSome) {
    add_further_words(arguments, of_expert, part);
    const bool holds_own = part.first <= blockIdx.x && blockIdx.x < part.end;
    if (holds_own && threadIdx.x < arguments.chunk_groups * num_experts) lds.bits[part.expert] = of_expert.own;
    of_expert.pairs = join_groups(arguments, lds, of_expert.pairs);
  } else {
    if (threadIdx.x < num_experts) lds.bits[threadIdx.x] = of_expert.own;
  }
  place_experts(arguments, lds, enabled, of_expert.pairs, rows, share);
  __syncthreads();  // the experts have their rows, and the words are in LDS
  if (__ballot(repeats != 0) != 0) {
    scatter_repeats(arguments);
    return;
  }
  scatter_pairs<Tokens::kWord, Repeats::kNone>(arguments, lds, rows, pair, alone);
  write_padding<Tokens::kWord>(arguments, lds, share);
}

// Chunks of any number and size, in passes.

// The part of `chunk` from row `first` on that one pass takes.
__device__ __forceinline__ Rows pass_of(const SortingArguments& arguments, const Rows& chunk, uint32_t first) {
  return {first, smaller(first + arguments.pass_tokens, chunk.end), chunk.tokens};
}

__device__ __forceinline__ uint32_t words_of(const Rows& rows) {
  return (rows.end - rows.first + kWordTokens - 1) / kWordTokens;
}

// Thread e: copies expert e's bits of `rows` from LDS to the workspace and counts them.
template <Tokens kTokens>
__device__ __forceinline__ uint32_t store_bits(const SortingArguments& arguments, const SortingLds& lds,
                                               const Rows& rows) {
  const uint32_t num_experts = arguments.num_experts.divisor;
  if (threadIdx.x >= num_experts) return 0;
  uint32_t* const stored = stored_bits(arguments, rows.first);
  uint32_t count = 0;
#pragma unroll 1
  for (uint32_t index = threadIdx.x; index < words_of(rows) * num_experts; index += num_experts) {
    at<kTokens>(stored, index) = lds.bits[index];
    count += __popc(lds.bits[index]);
  }
  return count;
}

// Expert threadIdx.x's words of `rows` from word `first` on.
__device__ __forceinline__ WordBatch load_words(const SortingArguments& arguments, const Rows& rows, uint32_t first) {
  const uint32_t num_experts = arguments.num_experts.divisor;
  const uint32_t words = threadIdx.x < num_experts ? words_of(rows) : 0;
  const uint32_t* const stored = stored_bits(arguments, rows.first) + threadIdx.x;
  WordBatch batch;
  batch.first = first;
#pragma unroll
  for (uint32_t i = 0; i < kWordsInFlight; ++i)
    batch.bits[i] = first + i < words ? stored[(first + i) * num_experts] : 0;
  return batch;
}

// Thread e: puts expert e's bits of `rows` into LDS, with the number of pairs before each word, and counts them.
// `batch` holds the first words.
__device__ __forceinline__ uint32_t place_words(const SortingArguments& arguments, const SortingLds& lds,
                                                const Rows& rows, WordBatch batch) {
  const uint32_t num_experts = arguments.num_experts.divisor;
  const uint32_t words = threadIdx.x < num_experts ? words_of(rows) : 0;
  uint32_t count = 0;
#pragma unroll 1
  while (batch.first < words) {
#pragma unroll
    for (uint32_t i = 0; i < kWordsInFlight; ++i) {
      if (batch.first + i >= words) break;
      const uint32_t index = (batch.first + i) * num_experts + threadIdx.x;
      lds.bits[index] = batch.bits[i];
      lds.pairs_before[index] = count;
      count += __popc(batch.bits[i]);
    }
    batch = load_words(arguments, rows, batch.first + kWordsInFlight);
  }
  return count;
}

// Marks and stores the bits of one pass. Thread e: how many pairs of expert e are marked.
template <Tokens kTokens>
__device__ __forceinline__ uint32_t count_pass(const SortingArguments& arguments, const SortingLds& lds,
                                               const Rows& rows) {
  constexpr uint32_t kBatch = kTokens == Tokens::kMany ? 4 : 1;
  const Ids ids = ids_of(arguments, rows);
  const IdBatch<kBatch> first_ids = load_ids<kTokens, kBatch>(ids, threadIdx.x);
  clear_bits(lds, arguments.num_experts.divisor, words_of(rows));
  __syncthreads();  // no bit is set before all are cleared
  const Marks marks = mark_tokens<kTokens>(arguments, lds, ids, first_ids);
  if (marks.found != 0) *lds.repeats = 1;
  __syncthreads();  // all bits of the pass are set, and its repeats are known
  const uint32_t count = store_bits<kTokens>(arguments, lds, rows);
  if (wave_uniform(*lds.repeats) == 0) return count;
  if (threadIdx.x == 0) stored_repeats(arguments)[blockIdx.x] = 1;
  return recount_pairs(arguments, lds, rows);
}

// First launch: the bits of its chunk, and how many of its pairs each expert has. Workgroup c writes row c of the
// counts. Tokens::kFew: the chunk is one pass.
template <Tokens kTokens>
__device__ __forceinline__ void count_chunk(const SortingArguments& arguments) {
  let_next_launch_start();
  if (zeroed_instead(arguments)) return;
  HIP_DYNAMIC_SHARED(uint32_t, memory);
  const uint32_t num_experts = arguments.num_experts.divisor;
  const SortingLds lds = map_lds(memory, num_experts, arguments.pass_tokens / kWordTokens);
  const Rows chunk = own_chunk(arguments);

  if (threadIdx.x == 0) stored_repeats(arguments)[blockIdx.x] = 0;
  uint32_t count = count_pass<kTokens>(arguments, lds, pass_of(arguments, chunk, chunk.first));
#pragma unroll 1
  for (uint32_t first = chunk.first + arguments.pass_tokens; kTokens == Tokens::kMany && first < chunk.end;
       first += arguments.pass_tokens) {
    __syncthreads();  // no bit is cleared before all are stored
    count += count_pass<kTokens>(arguments, lds, pass_of(arguments, chunk, first));
  }
  if (threadIdx.x >= num_experts) return;
  at<kTokens>(stored_counts(arguments), blockIdx.x * num_experts + threadIdx.x) = count;
}

// Adds expert `expert`'s pairs in chunks [first, end), loading kBatch counts before it uses the first.
__device__ __forceinline__ ExpertPairs sum_range(const SortingArguments& arguments, uint32_t expert, uint32_t first,
                                                 uint32_t end) {
  constexpr uint32_t kBatch = 8;
  const uint32_t num_experts = arguments.num_experts.divisor;
  const uint16_t* const counts = stored_counts(arguments) + expert;
  ExpertPairs pairs = {0, 0, 0};
#pragma unroll 1
  for (uint32_t chunk = first; chunk < end; chunk += kBatch) {
    uint32_t batch[kBatch];
#pragma unroll
    for (uint32_t i = 0; i < kBatch; ++i) batch[i] = chunk + i < end ? counts[(chunk + i) * num_experts] : 0;
#pragma unroll
    for (uint32_t i = 0; i < kBatch; ++i) {
      pairs.total += batch[i];
      pairs.before += chunk + i < blockIdx.x ? batch[i] : 0;
    }
  }
  return pairs;
}

// Thread e: expert e's pairs in all chunks. Groups of num_experts threads add up a part of the chunks each, since one
// thread's loads would wait for one another; the groups meet in LDS.
__device__ __forceinline__ ExpertPairs sum_chunks(const SortingArguments& arguments, const SortingLds& lds) {
  const uint32_t num_experts = arguments.num_experts.divisor;
  const uint32_t groups = arguments.chunk_groups;
  const uint32_t group = divide(threadIdx.x, arguments.num_experts);
  const uint32_t expert = threadIdx.x - group * num_experts;
  ExpertPairs pairs = {0, 0, 0};
  if (group < groups) {
    const uint32_t first = group * arguments.chunks_per_group;
    pairs = sum_range(arguments, expert, first, smaller(first + arguments.chunks_per_group, arguments.chunks));
  }

  return join_groups(arguments, lds, pairs);
}

// The writing of a chunk with repeats, whose experts have their rows; see sort_repeats of oneshot.hip.
__device__ __forceinline__ void scatter_chunk_repeats(const SortingArguments& arguments, uint32_t chunk_sums) {
  HIP_DYNAMIC_SHARED(uint32_t, memory);
  const uint32_t words = arguments.pass_tokens / kWordTokens;
  const SortingLds lds = map_lds(memory, arguments.num_experts.divisor, words, chunk_sums);
  const bool enabled = expert_is_enabled<Tokens::kMany>(arguments);
  const Rows chunk = own_chunk(arguments);
  if (threadIdx.x < arguments.num_experts.divisor) lds.local_ids[threadIdx.x] |= kHasRepeats;
#pragma unroll 1
  for (uint32_t first = chunk.first; first < chunk.end; first += arguments.pass_tokens) {
    const Rows rows = pass_of(arguments, chunk, first);
    const uint32_t pairs = recount_pairs(arguments, lds, rows);
    __syncthreads();  // all experts' pairs are counted
    const Pair first_pair = load_pair<Tokens::kMany>(arguments, rows, threadIdx.x);
    scatter_pairs<Tokens::kMany, Repeats::kSome>(arguments, lds, rows, first_pair, {0, 1});
    __syncthreads();  // all pairs have found their rows
    if (enabled) lds.next_row[threadIdx.x] += pairs;
  }
}

// Second launch: every workgroup works the layout out from all chunks' counts, then writes the (token, slot) pairs of
// its own chunk and its share of the padding.
__device__ __forceinline__ void scatter_chunk(const SortingArguments& arguments) {
  if (zeroed_instead(arguments)) return;
  HIP_DYNAMIC_SHARED(uint32_t, memory);
  const uint32_t num_experts = arguments.num_experts.divisor;
  const uint32_t chunk_sums = 2 * arguments.chunk_groups * num_experts;
  const SortingLds lds = map_lds(memory, num_experts, arguments.pass_tokens / kWordTokens, chunk_sums);
  const Share share = {blockIdx.x, static_cast<uint32_t>(arguments.sorting_workgroups)};
  const Share alone = {0, 1};
  const Rows chunk = own_chunk(arguments);
  Rows rows = pass_of(arguments, chunk, chunk.first);
  Pair first_pair = load_pair<Tokens::kMany>(arguments, rows, alone.first());
  const bool enabled = expert_is_enabled<Tokens::kMany>(arguments);

  wait_for_launch_before();  // whose results are loaded from here on
  const WordBatch first_words = load_words(arguments, rows, 0);
  const ExpertPairs pairs = sum_chunks(arguments, lds);
  uint32_t count = place_words(arguments, lds, rows, first_words);
  place_experts(arguments, lds, enabled, pairs, rows, share);
  __syncthreads();  // the experts have their rows, and the bits of the first pass are in LDS
  write_padding<Tokens::kMany>(arguments, lds, share);
  const bool owns_chunk = blockIdx.x < static_cast<uint32_t>(arguments.chunks);
  if (owns_chunk && wave_uniform(stored_repeats(arguments)[blockIdx.x]) != 0) {
    scatter_chunk_repeats(arguments, chunk_sums);
    return;
  }
#pragma unroll 1
  while (true) {
    scatter_pairs<Tokens::kMany, Repeats::kNone>(arguments, lds, rows, first_pair, alone);
    if (rows.end == chunk.end) break;
    rows = pass_of(arguments, chunk, rows.end);
    first_pair = load_pair<Tokens::kMany>(arguments, rows, alone.first());
    __syncthreads();  // all pairs have found their rows
    if (enabled) lds.next_row[threadIdx.x] += count;
    count = place_words(arguments, lds, rows, load_words(arguments, rows, 0));
    __syncthreads();  // the bits of the pass are in LDS
  }
}

// The variants; moesort_tune/sorting/launches.py chooses. The second launch's may start before the first has ended.
STARTS_EARLY(moe_sorting_scatter_word)
STARTS_EARLY(moe_sorting_scatter_words)
STARTS_EARLY(moe_sorting_scatter_many)

extern "C" __global__ void __launch_bounds__(1024) moe_sorting_count_word(const SortingArguments arguments) {
  count_word(arguments);
}

extern "C" __global__ void __launch_bounds__(1024) moe_sorting_scatter_word(const SortingArguments arguments) {
  scatter_word<Groups::kOne>(arguments);
}

extern "C" __global__ void __launch_bounds__(1024) moe_sorting_scatter_words(const SortingArguments arguments) {
  scatter_word<Groups::kSome>(arguments);
}

extern "C" __global__ void __launch_bounds__(1024) moe_sorting_count(const SortingArguments arguments) {
  count_chunk<Tokens::kFew>(arguments);
}

extern "C" __global__ void __launch_bounds__(1024) moe_sorting_count_many(const SortingArguments arguments) {
  count_chunk<Tokens::kMany>(arguments);
}

// Two of the largest workgroups to a compute unit, or the zeroing ones have too few neighbours to keep memory busy.
// (HIP reads the second number as waves for each SIMD, which 1024 threads exceed anyway.)
extern "C" __global__ void __launch_bounds__(1024, 2) moe_sorting_scatter_many(const SortingArguments arguments) {
  scatter_chunk(arguments);
}
