// oneshot: MoE token sorting in one launch, without a workspace and without inter-workgroup communication.
//
// Inputs and outputs: arguments.h; their meaning, padding included: hip_kernels/README.md.
// Grid:  sorting_workgroups that sort, then any number that zero moe_buf. Workgroup: a multiple of the wave size, at
//        least num_experts threads (thread e answers for expert e), at most 1024; with Tokens::kFew also one for each
//        (token, slot) pair.
// Steps: every sorting workgroup works the whole layout out for itself (all rows' bits, counts, tiles), then writes its
//        share of the (token, slot) pairs and of the padding.
// LDS:   SortingLds with ceil(rows / 32) words.
#include "layout.h"
#include "zero.h"

// Behind the barrier after marking and before the next one: tells all threads of repeats. Thread e brings expert e's
// bits.
template <Tokens kTokens>
__device__ __forceinline__ void notice_repeats(const SortingLds& lds, const Marks& marks, uint32_t bits) {
  if (kTokens == Tokens::kMany) {  // waiting for the bits that were found would take longer
    const uint32_t repeats = wave_inclusive_sum(marks.pairs - bits);
    if (lane_index() == kWaveSize - 1 && repeats != 0) atomicAdd(lds.repeats, repeats);
  } else if (marks.found != 0) {
    *lds.repeats = 1;
  }
}

// The whole layout once more, by the ids instead of the bits, and the writing. It begins with the arguments, since the
// usual way has no registers left to hand anything on in.
template <Tokens kTokens>
__device__ __forceinline__ void sort_repeats(const SortingArguments& arguments) {
  HIP_DYNAMIC_SHARED(uint32_t, memory);
  const uint32_t num_experts = arguments.num_experts.divisor;
  const Rows rows = {0, static_cast<uint32_t>(arguments.rows), tokens_to_read(arguments)};
  const SortingLds lds = map_lds(memory, num_experts, (rows.end + kWordTokens - 1) / kWordTokens);
  const Share share = {blockIdx.x, static_cast<uint32_t>(arguments.sorting_workgroups)};
  const bool enabled = expert_is_enabled<kTokens>(arguments);
  const uint32_t marked = enabled ? lds.padding_row[threadIdx.x] - lds.next_row[threadIdx.x] : 0;
  const uint32_t pairs = recount_pairs(arguments, lds, rows);
  place_experts(arguments, lds, enabled, {pairs, 0, pairs == marked ? 0 : kHasRepeats}, rows, share);
  __syncthreads();  // every expert has its rows
  const Pair first_pair = load_pair<kTokens>(arguments, rows, share.first());
  scatter_pairs<kTokens, Repeats::kSome>(arguments, lds, rows, first_pair, share);
  write_padding<kTokens>(arguments, lds, share);
}

template <Tokens kTokens, uint32_t kBatch>
__device__ __forceinline__ void sort_in_one_launch(const SortingArguments& arguments) {
  if (zeroed_instead(arguments)) return;
  HIP_DYNAMIC_SHARED(uint32_t, memory);
  const uint32_t num_experts = arguments.num_experts.divisor;
  const Rows rows = {0, static_cast<uint32_t>(arguments.rows), tokens_to_read(arguments)};
  const uint32_t words = (rows.end + kWordTokens - 1) / kWordTokens;
  const SortingLds lds = map_lds(memory, num_experts, words);
  const Share share = {blockIdx.x, static_cast<uint32_t>(arguments.sorting_workgroups)};
  const Pair first_pair = load_pair<kTokens>(arguments, rows, share.first());
  const Ids ids = ids_of(arguments, rows);
  const IdBatch<kBatch> first_ids = load_ids<kTokens, kBatch>(ids, threadIdx.x);
  const bool enabled = expert_is_enabled<kTokens>(arguments);

  clear_bits(lds, num_experts, words);
  __syncthreads();  // no bit is set before all are cleared
  const Marks marks = mark_tokens<kTokens>(arguments, lds, ids, first_ids);
  __syncthreads();  // all bits are set
  const uint32_t count = count_pairs<kBatch>(lds, num_experts, words);
  notice_repeats<kTokens>(lds, marks, count);
  place_experts(arguments, lds, enabled, {count, 0, 0}, rows, share);
  __syncthreads();  // every expert has its rows, and repeats are known
  if (wave_uniform(*lds.repeats) != 0) {
    sort_repeats<kTokens>(arguments);
    return;
  }
  scatter_pairs<kTokens, Repeats::kNone>(arguments, lds, rows, first_pair, share);
  write_padding<kTokens>(arguments, lds, share);
}

// The variants; moesort_tune/sorting/launches.py chooses.
extern "C" __global__ void __launch_bounds__(1024) moe_sorting_oneshot(const SortingArguments arguments) {
  sort_in_one_launch<Tokens::kFew, 1>(arguments);
}

extern "C" __global__ void __launch_bounds__(1024) moe_sorting_oneshot_many(const SortingArguments arguments) {
  sort_in_one_launch<Tokens::kMany, 4>(arguments);
}

extern "C" __global__ void __launch_bounds__(1024) moe_sorting_oneshot_most(const SortingArguments arguments) {
  sort_in_one_launch<Tokens::kMany, 8>(arguments);
}
