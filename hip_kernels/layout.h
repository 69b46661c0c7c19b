// The steps that oneshot and multiphase share. A sorting workgroup keeps one bit for every (token, expert) of
// its tokens in LDS: an expert's count is a popcount, and a token's rank inside its expert is the popcount of
// the bits below its own, so nothing is counted one after another and the order is that of the tokens.
// A token may name an expert in several slots, each of which gets a row, in the order of the slots. Whoever sets the
// bits notices such repeats. They are rare, mostly rows that only fill a batch up: the pairs are then counted again
// without bits, and those of an expert with repeats are ranked by reading the ids of their word's tokens.
#pragma once
#include "access.h"
#include "wave_operations.h"

constexpr uint32_t kWordTokens = 32;
constexpr uint32_t kMaxWaves = 1024 / 32;  // of the largest workgroup, at the smallest wave size

// LDS of a sorting workgroup, in this order. moesort_tune/sorting/geometry.py counts the same bytes.
struct SortingLds {
  uint32_t* wave_tiles;    // [kMaxWaves] tiles of the experts of each wave
  uint32_t* wave_enabled;  // [kMaxWaves] enabled experts of each wave
  uint32_t* repeats;       // [1] whether a token names an expert more than once; padded to kVectorBytes
  uint32_t* bits;          // [words, num_experts] bit t % 32 of word t / 32: token t chose the expert
  uint32_t* next_row;      // [num_experts] row of the expert's first pair of this pass; kNoRow if masked
  uint32_t* padding_row;   // [num_experts] row behind the expert's last pair
  uint32_t* end_row;       // [num_experts] row behind the expert's last tile
  uint32_t* chunk_sums;    // multiphase: [2, chunk_groups, num_experts]
  uint16_t* pairs_before;  // [words, num_experts] pairs in the words below this one; not for Tokens::kWord; then one
                           // more if that makes their number even
  uint16_t* local_ids;     // [num_experts] the expert's place among the enabled ones, and kHasRepeats
};

constexpr uint32_t kHasRepeats = 1 << 15;  // in local_ids: pairs of the expert are ranked by reading ids

// Words of 32 bits that hold `counts` numbers of 16.
__device__ __forceinline__ uint32_t halved(uint32_t counts) { return (counts + 1) / 2; }

// LDS is cleared 16 bytes at a time, so the bits begin and end on such a border.
constexpr uint32_t kVectorBytes = 16;
constexpr uint32_t kVectorWords = kVectorBytes / sizeof(uint32_t);

__device__ __forceinline__ uint32_t vectors_of_bits(uint32_t num_experts, uint32_t words) {
  return (words * num_experts + kVectorWords - 1) / kVectorWords;
}

__device__ __forceinline__ SortingLds map_lds(uint32_t* memory, uint32_t num_experts, uint32_t words,
                                              uint32_t chunk_sums = 0) {
  SortingLds lds;
  lds.wave_tiles = memory;
  lds.wave_enabled = lds.wave_tiles + kMaxWaves;
  lds.repeats = lds.wave_enabled + kMaxWaves;
  lds.bits = lds.repeats + kVectorWords;
  lds.next_row = lds.bits + kVectorWords * vectors_of_bits(num_experts, words);
  lds.padding_row = lds.next_row + num_experts;
  lds.end_row = lds.padding_row + num_experts;
  lds.chunk_sums = lds.end_row + num_experts;
  lds.pairs_before = reinterpret_cast<uint16_t*>(lds.chunk_sums + chunk_sums);
  lds.local_ids = lds.pairs_before + 2 * halved(words * num_experts);
  return lds;
}

// A workgroup's place among those that share a piece of work.
struct Share {
  uint32_t worker;
  uint32_t workers;

  // Waves of work are dealt to the workgroups in turn, so that little work still uses all of them.
  __device__ __forceinline__ uint32_t first() const {
    return (wave_index() * workers + worker) * kWaveSize + lane_index();
  }
  __device__ __forceinline__ uint32_t stride() const { return workers * blockDim.x; }
};

// Rows [first, end) of topk_ids, of which those from `tokens` on are not read.
struct Rows {
  uint32_t first;
  uint32_t end;
  uint32_t tokens;
};

// Thread e answers for expert e; the threads past the last expert answer for one that is off.
template <Tokens kTokens>
__device__ __forceinline__ bool expert_is_enabled(const SortingArguments& arguments) {
  if (threadIdx.x >= arguments.num_experts.divisor) return false;
#ifdef MOESORT_ALIGN
  return map_expert<kTokens>(arguments, threadIdx.x).enabled;
#else
  return arguments.local_expert_mask == nullptr || at<kTokens>(arguments.local_expert_mask, threadIdx.x) != 0;
#endif
}

// Before the first barrier: no bits and no repeats.
__device__ __forceinline__ void clear_bits(const SortingLds& lds, uint32_t num_experts, uint32_t words) {
  uint4* const bits = reinterpret_cast<uint4*>(lds.bits);
#pragma unroll 1
  for (uint32_t i = threadIdx.x; i < vectors_of_bits(num_experts, words); i += blockDim.x)
    bits[i] = make_uint4(0, 0, 0, 0);
  if (threadIdx.x == 0) *lds.repeats = 0;
}

// The (token, slot) pairs of `rows` that are read, as one run of ids.
struct Ids {
#ifdef MOESORT_ALIGN
  Ids32 first;
#else
  const int32_t* first;
#endif
  uint32_t pairs;
};

__device__ __forceinline__ Ids ids_of(const SortingArguments& arguments, const Rows& rows) {
  const uint32_t topk = arguments.topk.divisor;
  const uint32_t end = smaller(rows.end, rows.tokens);
  return {arguments.topk_ids + rows.first * topk, rows.first < end ? (end - rows.first) * topk : 0};
}

// Ids that a thread loads before it uses the first, so that their latencies overlap. One is quickest where there are no
// more pairs than threads.
template <uint32_t kBatch>
struct IdBatch {
  uint32_t first;  // pair of the first id; the others follow a workgroup's size apart
  uint32_t experts[kBatch];
};

template <Tokens kTokens, uint32_t kBatch>
__device__ __forceinline__ IdBatch<kBatch> load_ids(const Ids& ids, uint32_t first) {
  IdBatch<kBatch> batch;
  batch.first = first;
#pragma unroll
  for (uint32_t i = 0; i < kBatch; ++i) {
    const uint32_t pair = first + i * blockDim.x;
    batch.experts[i] = pair < ids.pairs ? at<kTokens>(ids.first, pair) : kNoExpert;
  }
  return batch;
}

// What a thread has marked, for two ways to notice repeats; the one that is not used costs nothing.
struct Marks {
  uint32_t pairs;  // more than there are bits
  uint32_t found;  // a bit that was set before: of the pairs of a bit, all but one find it, whichever comes first
};

// Sets the bits of the tokens of `ids`, counted from their first; `batch` holds this thread's first ids. Ids outside
// the experts are dropped here, those of masked experts in place_experts.
template <Tokens kTokens, uint32_t kBatch>
__device__ __forceinline__ Marks mark_tokens(const SortingArguments& arguments, const SortingLds& lds, const Ids& ids,
                                             IdBatch<kBatch> batch) {
  const uint32_t num_experts = arguments.num_experts.divisor;
  Marks marks = {0, 0};
#pragma unroll 1
  while (true) {
#pragma unroll
    for (uint32_t i = 0; i < kBatch; ++i) {
      if (batch.experts[i] >= num_experts) continue;
      const uint32_t token = divide(batch.first + i * blockDim.x, arguments.topk);
      const uint32_t word = kTokens == Tokens::kWord ? 0 : token / kWordTokens;
      const uint32_t bit = 1u << token % kWordTokens;
      marks.found |= atomicOr(&lds.bits[word * num_experts + batch.experts[i]], bit) & bit;
      ++marks.pairs;
    }
    const uint32_t next = batch.first + kBatch * blockDim.x;
    if (kTokens != Tokens::kMany || next >= ids.pairs) return marks;
    batch = load_ids<kTokens, kBatch>(ids, next);
  }
}

// Thread e: how many pairs of expert e are marked, and for each word how many come before it.
template <uint32_t kBatch>
__device__ __forceinline__ uint32_t count_pairs(const SortingLds& lds, uint32_t num_experts, uint32_t words) {
  if (threadIdx.x >= num_experts) return 0;
  uint32_t count = 0;
#pragma unroll kBatch
  for (uint32_t word = 0; word < words; ++word) {
    const uint32_t index = word * num_experts + threadIdx.x;
    const uint32_t bits = lds.bits[index];
    lds.pairs_before[index] = count;
    count += __popc(bits);
  }
  return count;
}

// An expert's pairs in all chunks, and in those before this workgroup's. has_repeats: kHasRepeats or 0.
struct ExpertPairs {
  uint32_t total;
  uint32_t before;
  uint32_t has_repeats;
};

// Adds 1 to counts[index], which is half of an aligned word: LDS has no atomics of 16 bits.
__device__ __forceinline__ void add_one(uint16_t* counts, uint32_t index) {
  atomicAdd(reinterpret_cast<uint32_t*>(counts) + index / 2, 1u << 16 * (index % 2));
}

// Thread e: as count_pairs, but counts id by id, so repeats count as well. Every thread of the workgroup must call it.
__device__ __forceinline__ uint32_t recount_pairs(const SortingArguments& arguments, const SortingLds& lds,
                                                  const Rows& rows) {
  const uint32_t num_experts = arguments.num_experts.divisor;
  const uint32_t counts = (rows.end - rows.first + kWordTokens - 1) / kWordTokens * num_experts;
  const Ids ids = ids_of(arguments, rows);
#pragma unroll 1
  for (uint32_t i = threadIdx.x; i < halved(counts); i += blockDim.x)
    reinterpret_cast<uint32_t*>(lds.pairs_before)[i] = 0;
  __syncthreads();  // no pair is counted before all counts are cleared
#pragma unroll 1
  for (uint32_t pair = threadIdx.x; pair < ids.pairs; pair += blockDim.x) {
    const uint32_t expert = ids.first[pair];
    const uint32_t word = divide(pair, arguments.topk) / kWordTokens;
    if (expert < num_experts) add_one(lds.pairs_before, word * num_experts + expert);
  }
  __syncthreads();  // the pairs of each word are counted
  uint32_t total = 0;
#pragma unroll 1
  for (uint32_t i = threadIdx.x; threadIdx.x < num_experts && i < counts; i += num_experts) {
    const uint32_t pairs_of_word = lds.pairs_before[i];
    lds.pairs_before[i] = total;
    total += pairs_of_word;
  }
  return total;
}

// Ids count only the enabled experts before; without a mask they are the experts themselves.
__device__ __forceinline__ uint32_t enabled_below(const SortingArguments& arguments, const SortingLds& lds,
                                                  const WaveCount& enabled) {
#ifdef MOESORT_ALIGN
  const uint32_t expert = smaller(threadIdx.x, arguments.num_experts.divisor - 1);
  return map_expert<Tokens::kMany>(arguments, expert).id & (kHasRepeats - 1);
#else
  if (arguments.local_expert_mask == nullptr) return threadIdx.x;
  return sum_of_lower_waves(lds.wave_enabled) + enabled.below;
#endif
}

// Lays the experts' tiles out one after another. Thread e brings expert e's pairs. Worker 0 of `share` writes
// num_valid_ids.
__device__ __forceinline__ void place_experts(const SortingArguments& arguments, const SortingLds& lds, bool enabled,
                                              const ExpertPairs& pairs, const Rows& rows, const Share& share) {
  const uint32_t unit_size = arguments.unit_size.divisor;
  const uint32_t count = enabled ? pairs.total : 0;
  const uint32_t tiles = divide(count + unit_size - 1, arguments.unit_size);
  const uint32_t tiles_up_to = wave_inclusive_sum(tiles);
  const WaveCount enabled_lanes = wave_count(enabled);
  if (lane_index() == kWaveSize - 1) {
    lds.wave_tiles[wave_index()] = tiles_up_to;
    lds.wave_enabled[wave_index()] = enabled_lanes.all;
  }
  __syncthreads();  // the sums of all waves are there

  const uint32_t end_row = (sum_of_lower_waves(lds.wave_tiles) + tiles_up_to) * unit_size;
  const uint32_t first_row = end_row - tiles * unit_size;
  const uint32_t local_id = enabled_below(arguments, lds, enabled_lanes);
  const uint32_t expert = threadIdx.x;
  const uint32_t num_experts = arguments.num_experts.divisor;
  if (expert >= num_experts) return;
  lds.next_row[expert] = enabled ? first_row + pairs.before : kNoRow;
  lds.padding_row[expert] = first_row + count;
  lds.end_row[expert] = end_row;
  lds.local_ids[expert] = local_id | pairs.has_repeats;
  if (share.worker == 0 && expert == num_experts - 1) {
    arguments.num_valid_ids[0] = end_row;
#ifndef MOESORT_ALIGN
    arguments.num_valid_ids[1] = rows.tokens;
#endif
  }
}

// One (token, slot) and what is known of it before the experts are placed.
struct Pair {
  uint32_t place;   // in its rows' pairs; past their number there is no such pair
  uint32_t expert;  // kNoExpert if it is not read
  float weight;
};

// Loading early hides the latency behind the counting.
template <Tokens kTokens>
__device__ __forceinline__ Pair load_pair(const SortingArguments& arguments, const Rows& rows, uint32_t place) {
  Pair pair = {place, kNoExpert, 0.0f};
  const uint32_t topk = arguments.topk.divisor;
  if (place + rows.first * topk >= smaller(rows.end, rows.tokens) * topk) return pair;
  pair.expert = at<kTokens>(arguments.topk_ids, rows.first * topk + place);
#ifndef MOESORT_ALIGN
  pair.weight = at<kTokens>(arguments.topk_weights, rows.first * topk + place);
#endif
  return pair;
}

// Whether any token that a workgroup sorts names an expert more than once.
enum class Repeats { kNone, kSome };

// Row in its expert's tiles of `pair`, one of `token` (counted from the first marked one), or kNoRow.
template <Tokens kTokens>
__device__ __forceinline__ uint32_t row_of(const SortingLds& lds, uint32_t num_experts, const Pair& pair,
                                           uint32_t token) {
  if (pair.expert >= num_experts) return kNoRow;
  constexpr bool kOneWord = kTokens == Tokens::kWord;
  const uint32_t index = kOneWord ? pair.expert : token / kWordTokens * num_experts + pair.expert;
  const uint32_t next_row = lds.next_row[pair.expert];
  const uint32_t bits_below = lds.bits[index] & ((1u << token % kWordTokens) - 1);
  const uint32_t row = next_row + (kOneWord ? 0 : lds.pairs_before[index]) + __popc(bits_below);
  return next_row == kNoRow ? kNoRow : row;
}

// As row_of, where pairs_before counts repeats: the pairs of an expert with repeats are ranked by the ids of their
// word's tokens. (One loop, empty for the other pairs, instead of a branch: AMD code needs the scalar registers.)
template <Tokens kTokens>
__device__ __forceinline__ uint32_t row_among_repeats(const SortingArguments& arguments, const SortingLds& lds,
                                                      const Rows& rows, const Pair& pair, uint32_t token) {
  const uint32_t num_experts = arguments.num_experts.divisor;
  const uint32_t topk = arguments.topk.divisor;
  const uint32_t row_by_bits = row_of<kTokens>(lds, num_experts, pair, token);
  const uint32_t expert = smaller(pair.expert, num_experts - 1);
  const bool by_ids = row_by_bits != kNoRow && (lds.local_ids[expert] & kHasRepeats) != 0;
  constexpr bool kOneWord = kTokens == Tokens::kWord;
  uint32_t row = lds.next_row[expert];
  if (!kOneWord) row += lds.pairs_before[token / kWordTokens * num_experts + expert];
#ifdef MOESORT_ALIGN
  const Ids32 own_id = arguments.topk_ids + (rows.first * topk + pair.place);
#else
  const int32_t* const own_id = arguments.topk_ids + (rows.first * topk + pair.place);
#endif
  const uint32_t pairs_below = pair.place - token / kWordTokens * kWordTokens * topk;
#pragma unroll 8
  for (uint32_t below = by_ids ? pairs_below : 0; below != 0; --below)
    row += *(own_id - below) == static_cast<int32_t>(expert);
  return by_ids ? row : row_by_bits;
}

// One (token, slot): its row, and its tile's expert if it is the tile's first. An expert's rows begin with a tile, and
// every tile begins with a real token, so each tile's expert is written exactly once.
template <Tokens kTokens, Repeats kRepeats>
__device__ __forceinline__ void write_pair(const SortingArguments& arguments, const SortingLds& lds, const Rows& rows,
                                           const Pair& pair) {
  const uint32_t topk = arguments.topk.divisor;
  const uint32_t token = divide(pair.place, arguments.topk);
  const uint32_t row = kRepeats == Repeats::kNone ? row_of<kTokens>(lds, arguments.num_experts.divisor, pair, token)
                                                  : row_among_repeats<kTokens>(arguments, lds, rows, pair, token);
  uint32_t local_id = kNoExpert;
  if (row != kNoRow) {
    local_id = lds.local_ids[pair.expert];
    if (kRepeats == Repeats::kSome) local_id &= kHasRepeats - 1;
#ifdef MOESORT_ALIGN
    local_id = static_cast<int32_t>(local_id << 17) >> 17;  // 15 bits with a sign
#endif
    write_row<kTokens>(arguments, row, rows.first + token, pair.place - token * topk, pair.weight);
    const uint32_t tile = divide(row, arguments.unit_size);
    if (tile * arguments.unit_size.divisor == row) at<kTokens>(arguments.sorted_expert_ids, tile) = local_id;
  }
  const uint32_t place = rows.first * topk + pair.place;
#ifdef MOESORT_ALIGN
  write_place<kTokens>(arguments, place, row != kNoRow);
#else
  if (arguments.reverse_sorted != nullptr) at<kTokens>(arguments.reverse_sorted, place) = row;
  if (arguments.local_topk_ids != nullptr) at<kTokens>(arguments.local_topk_ids, place) = local_id;
#endif
}

// Writes what belongs to this worker's share of the pairs of `rows`, whose bits are marked. `pair` is its first one.
template <Tokens kTokens, Repeats kRepeats>
__device__ __forceinline__ void scatter_pairs(const SortingArguments& arguments, const SortingLds& lds,
                                              const Rows& rows, Pair pair, const Share& share) {
  const uint32_t pairs = (rows.end - rows.first) * arguments.topk.divisor;
  if (pair.place >= pairs) return;
#pragma unroll 1
  while (true) {
    write_pair<kTokens, kRepeats>(arguments, lds, rows, pair);
    const uint32_t next = pair.place + share.stride();
    if (kTokens != Tokens::kMany || next >= pairs) return;
    pair = load_pair<kTokens>(arguments, rows, next);
  }
}

// Fills the rows behind each expert's last pair up to the end of its last tile.
template <Tokens kTokens>
__device__ __forceinline__ void write_padding(const SortingArguments& arguments, const SortingLds& lds,
                                              const Share& share) {
  const uint32_t unit_size = arguments.unit_size.divisor;
  const uint32_t places = arguments.num_experts.divisor * unit_size;
#pragma unroll 1
  for (uint32_t i = share.first(); i < places; i += share.stride()) {
    const uint32_t expert = divide(i, arguments.unit_size);
    const uint32_t row = lds.padding_row[expert] + (i - expert * unit_size);
    if (row >= lds.end_row[expert]) continue;
    write_row<kTokens>(arguments, row, arguments.rows, arguments.topk.divisor, 0.0f);  // as the contract marks padding
  }
#ifdef MOESORT_ALIGN
  write_tail<kTokens>(arguments, lds.end_row[arguments.num_experts.divisor - 1], share.first(), share.stride());
#endif
}
