// What the kernels are told in the align form; moesort_tune/sorting/arguments.py mirrors it field by field.
// MOESORT_ALIGN: bits of an id in topk_ids, 32 or 64.
#pragma once

#if MOESORT_ALIGN == 64
typedef long long AlignId;
#elif MOESORT_ALIGN == 32
typedef int32_t AlignId;
#else
#error "MOESORT_ALIGN must be 32 or 64, the bits of an id"
#endif

// topk_ids, read as a kernel reads an array of int32. Of 64 bits the low ones count, as in vLLM. SGLang's ids begin
// with -1, for pairs that belong elsewhere and get rows nevertheless: first_id is -1 there, else 0.
struct Ids32 {
  const AlignId* ids;
  int32_t first_id;

  __device__ __forceinline__ int32_t read(AlignId id) const {
    return static_cast<int32_t>(static_cast<uint32_t>(id) - static_cast<uint32_t>(first_id));
  }
  __device__ __forceinline__ int32_t operator[](uint32_t index) const { return read(ids[index]); }
  __device__ __forceinline__ int32_t operator*() const { return read(*ids); }
  __device__ __forceinline__ Ids32 operator+(uint32_t count) const { return {ids + count, first_id}; }
  __device__ __forceinline__ Ids32 operator-(uint32_t count) const { return {ids - count, first_id}; }
};

struct SortingArguments {
  // Inputs; expert_map is null when absent.
  Ids32 topk_ids;             // [rows, topk]
  const int32_t* expert_map;  // [num_experts], the id of each expert on this rank, -1 if it is on another

  // Outputs; scatter_idx is null when absent.
  int32_t* sorted_token_ids;   // [capacity_rows], filled whole
  int32_t* sorted_expert_ids;  // [capacity_tiles], filled whole
  int32_t* num_valid_ids;      // [1], rows used, padding included
  int32_t* scatter_idx;        // [rows * topk], optional: its own place if the pair has a row, else -1

  uint32_t* workspace;  // multiphase: what its launches hand on

  int32_t capacity_rows;
  int32_t capacity_tiles;
  int32_t tail_expert;        // in the tiles behind the last one used
  int32_t drops_other_ranks;  // whether pairs of experts that expert_map has -1 for get no row
  int32_t rows;
  Divisor num_experts;  // SGLang: one more, for the id -1
  Divisor topk;
  Divisor unit_size;

  // The launch, as in the sorting form.
  int32_t sorting_workgroups;
  int32_t chunk_tokens;
  int32_t pass_tokens;
  int32_t chunks;
  int32_t chunk_groups;
  int32_t chunks_per_group;

  // What this form has not, so that no code for it is left.
  static constexpr int32_t* num_local_tokens = nullptr;
  static constexpr int32_t* m_indices = nullptr;
};
