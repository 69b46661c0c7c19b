// How the kernels read and write in the align form.
#pragma once

template <Tokens kTokens>
__device__ __forceinline__ int32_t at(const Ids32& topk_ids, uint32_t index) {
  return topk_ids.read(at<kTokens>(topk_ids.ids, index));
}

// An expert's id on this rank, and whether its pairs get rows. `expert` counts from the lowest id on.
struct MappedExpert {
  bool enabled;
  int32_t id;
};

template <Tokens kTokens>
__device__ __forceinline__ MappedExpert map_expert(const SortingArguments& arguments, uint32_t expert) {
  if (arguments.expert_map == nullptr) return {true, static_cast<int32_t>(expert) + arguments.topk_ids.first_id};
  const int32_t id = at<kTokens>(arguments.expert_map, expert);
  return {id >= 0 || arguments.drops_other_ranks == 0, id};
}

// One sorted row. Padding, which is the row of token `rows`, is the number of pairs.
template <Tokens kTokens>
__device__ __forceinline__ void write_row(const SortingArguments& arguments, uint32_t row, uint32_t token,
                                          uint32_t slot, float) {
  const uint32_t topk = arguments.topk.divisor;
  at<kTokens>(arguments.sorted_token_ids, row) = smaller(token * topk + slot, arguments.rows * topk);
}

// Fills this worker's share of what lies behind the last tile used, which ends at `end_row`.
template <Tokens kTokens>
__device__ __forceinline__ void write_tail(const SortingArguments& arguments, uint32_t end_row, uint32_t first,
                                           uint32_t stride) {
  const uint32_t capacity_rows = arguments.capacity_rows;
  const uint32_t capacity_tiles = arguments.capacity_tiles;
#pragma unroll 1
  for (uint32_t row = end_row + first; row < capacity_rows; row += stride)
    at<kTokens>(arguments.sorted_token_ids, row) = arguments.rows * arguments.topk.divisor;
#pragma unroll 1
  for (uint32_t tile = divide(end_row, arguments.unit_size) + first; tile < capacity_tiles; tile += stride)
    at<kTokens>(arguments.sorted_expert_ids, tile) = arguments.tail_expert;
}

// A pair's own number if it has a row, where the caller asks for it.
template <Tokens kTokens>
__device__ __forceinline__ void write_place(const SortingArguments& arguments, uint32_t place, bool has_row) {
  if (arguments.scatter_idx != nullptr) at<kTokens>(arguments.scatter_idx, place) = has_row ? place : kNoRow;
}
