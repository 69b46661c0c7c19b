// How every kernel reads its inputs and writes its outputs.
#pragma once
#include "arguments.h"

constexpr uint32_t kNoRow = 0xffffffff;  // as int32_t the -1 that reverse_sorted and local_topk_ids hold
constexpr uint32_t kNoExpert = 0xffffffff;

__device__ __forceinline__ uint32_t smaller(uint32_t a, uint32_t b) { return a < b ? a : b; }

__device__ __forceinline__ uint32_t divide(uint32_t n, const Divisor& by) {
  return __umulhi(2 * n, by.multiplier) >> by.shift;
}

// How many tokens a variant is compiled for.
enum class Tokens {
  kWord,  // as kFew, and the bits of a workgroup's tokens are one word for each expert
  kFew,   // a workgroup has a thread for each of its (token, slot) pairs
  kMany,  // any number
};

// array[index]. AMD GPUs add a 32-bit offset to a scalar address for nothing, and need several instructions to make an
// address of 64 bits, which only arrays of 2^32 bytes and more need. Below kMany there are none: the sorted rows are at
// most 2^10 pairs of each of 64 chunks, and less than 2^10 rows of padding for each of 2^10 experts. (multiphase's
// first launch has more chunks with kFew, and then writes its workspace alone: at most 2^19 x 2^10 words and as many
// counts.)
template <Tokens kTokens, typename Element>
__device__ __forceinline__ Element& at(Element* array, uint32_t index) {
  if constexpr (kTokens == Tokens::kMany) return array[index];
  const char* const bytes = reinterpret_cast<const char*>(array);
  const uint32_t offset = index * static_cast<uint32_t>(sizeof(Element));
  return *reinterpret_cast<Element*>(const_cast<char*>(bytes + offset));
}

__device__ __forceinline__ uint32_t tokens_to_read(const SortingArguments& arguments) {
  if (arguments.num_local_tokens == nullptr) return arguments.rows;
  const int32_t tokens = *arguments.num_local_tokens;
  return tokens < 0 ? 0 : smaller(tokens, arguments.rows);
}

#ifdef MOESORT_ALIGN
#include "align/access.h"
#else
// One sorted row. Padding is the row of token `rows` and slot `topk`, of weight 0.
template <Tokens kTokens>
__device__ __forceinline__ void write_row(const SortingArguments& arguments, uint32_t row, uint32_t token,
                                          uint32_t slot, float weight) {
  at<kTokens>(arguments.sorted_token_ids, row) = token | slot << 24;
  at<kTokens>(arguments.sorted_weights, row) = weight;
  if (arguments.m_indices != nullptr) at<kTokens>(arguments.m_indices, row) = token;
}
#endif
