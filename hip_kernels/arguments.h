// What every kernel is told: one struct by value, the same bytes on every runtime.
// moesort_tune/sorting/arguments.py mirrors it field by field; a test compares the two layouts.
#pragma once
#include "platform/platform.h"

// Exact division of any n < 2^31 by a divisor fixed at launch: n / d == mulhi(2n, multiplier) >> shift.
// Source: Granlund and Montgomery, Division by Invariant Integers using Multiplication (1994), section 4,
// with N = 31.
struct Divisor {
  uint32_t divisor;
  uint32_t multiplier;  // ceil(2^(31 + shift) / divisor)
  uint32_t shift;       // ceil(log2(divisor))
};

#ifdef MOESORT_ALIGN  // the align form: see README.md
#include "align/arguments.h"
#else
struct SortingArguments {
  // Inputs; the optional ones are null when absent.
  const int32_t* topk_ids;           // [rows, topk]
  const float* topk_weights;         // [rows, topk]
  const int32_t* local_expert_mask;  // [num_experts], optional
  const int32_t* num_local_tokens;   // [1], optional

  // Outputs; the optional ones are null when absent.
  int32_t* sorted_token_ids;   // [max_padded]
  float* sorted_weights;       // [max_padded]
  int32_t* sorted_expert_ids;  // [ceil(max_padded / unit_size)]
  int32_t* num_valid_ids;      // [2]
  void* moe_buf;               // moe_buf_bytes, optional
  int32_t* local_topk_ids;     // [rows, topk], optional
  int32_t* m_indices;          // [max_padded], optional
  int32_t* reverse_sorted;     // [rows * topk], optional

  uint32_t* workspace;  // multiphase: what its launches hand on
  unsigned long long moe_buf_bytes;

  int32_t rows;
  Divisor num_experts;
  Divisor topk;
  Divisor unit_size;

  // The launch: the first sorting_workgroups of the grid sort, the others zero moe_buf.
  int32_t sorting_workgroups;
  int32_t chunk_tokens;      // tokens that one sorting workgroup of multiphase owns
  int32_t pass_tokens;       // tokens whose bits are in LDS at a time; a multiple of 32
  int32_t chunks;            // sorting workgroups of multiphase that own tokens
  int32_t chunk_groups;      // groups of threads among which a workgroup of multiphase adds up the chunks' counts
  int32_t chunks_per_group;  // of which the last group may have fewer
};
#endif

DESCRIBE_LAUNCH(SortingArguments, arguments.rows, arguments.num_experts.divisor, arguments.topk.divisor)
