// multiphase: MoE token sorting by all compute units, in two launches that hand on through the workspace.
//
// Inputs and outputs: arguments.h; their meaning, padding included: hip_kernels/README.md.
// The rows are cut into chunks of chunk_tokens, one for each of the sorting_workgroups; a workgroup takes its
// chunk in passes of pass_tokens, whose bits fit into LDS. Grid:  sorting_workgroups that sort, then any
// number that zero moe_buf (each launch its own part of it). Workgroup:
//        a multiple of the wave size, at least num_experts threads (thread e answers for expert e), at most
//        1024.
// LDS:   SortingLds with pass_tokens / 32 words.
#include "layout.h"
#include "zero.h"

struct Chunk {
  uint32_t first;
  uint32_t end;  // in rows; the tokens that are read may end before
};

__device__ __forceinline__ Chunk own_chunk(const SortingArguments& arguments) {
  const uint32_t rows = arguments.rows;
  const uint32_t first = blockIdx.x * arguments.chunk_tokens;
  return {first, smaller(first + arguments.chunk_tokens, rows)};
}

__device__ __forceinline__ bool zeroed_instead(const SortingArguments& arguments) {
  const uint32_t sorting_workgroups = arguments.sorting_workgroups;
  if (blockIdx.x < sorting_workgroups) return false;
  zero_share(arguments.moe_buf, arguments.moe_buf_bytes, blockIdx.x - sorting_workgroups,
             gridDim.x - sorting_workgroups);
  return true;
}

// First launch: how many tokens of its chunk chose each expert. Workgroup c writes row c of the workspace.
extern "C" __global__ void __launch_bounds__(1024) moe_sorting_count(const SortingArguments arguments) {
  if (zeroed_instead(arguments)) return;
  HIP_DYNAMIC_SHARED(uint32_t, memory);
  const uint32_t num_experts = arguments.num_experts;
  const uint32_t words = arguments.pass_tokens / kWordTokens;
  const SortingLds lds = map_lds(memory, num_experts, words);
  const Chunk chunk = own_chunk(arguments);
  const uint32_t end = smaller(chunk.end, tokens_to_read(arguments));

  uint32_t count = 0;
  for (uint32_t first = chunk.first; first < end; first += arguments.pass_tokens) {
    clear_bits(lds, num_experts, words);
    __syncthreads();  // no bit is set before all are cleared
    mark_tokens(arguments, lds, first, smaller(first + arguments.pass_tokens, end));
    __syncthreads();  // all bits of the pass are set
    count += count_tokens(lds, num_experts, words);
    __syncthreads();  // no bit is cleared before all are counted
  }
  if (threadIdx.x < num_experts) arguments.workspace[blockIdx.x * num_experts + threadIdx.x] = count;
}

struct ExpertTokens {
  uint32_t total;   // of all chunks
  uint32_t before;  // of the chunks before this workgroup's
};

__device__ __forceinline__ ExpertTokens sum_chunks(const SortingArguments& arguments) {
  ExpertTokens tokens = {0, 0};
  const uint32_t num_experts = arguments.num_experts;
  if (threadIdx.x >= num_experts) return tokens;
  const uint32_t chunks = arguments.sorting_workgroups;
  for (uint32_t chunk = 0; chunk < chunks; ++chunk) {
    if (chunk == blockIdx.x) tokens.before = tokens.total;
    tokens.total += arguments.workspace[chunk * num_experts + threadIdx.x];
  }
  return tokens;
}

// Second launch: every workgroup works the layout out from all chunks' counts, then writes the (token, slot)
// pairs of its own chunk and its share of the padding.
extern "C" __global__ void __launch_bounds__(1024) moe_sorting_scatter(const SortingArguments arguments) {
  if (zeroed_instead(arguments)) return;
  HIP_DYNAMIC_SHARED(uint32_t, memory);
  const uint32_t num_experts = arguments.num_experts;
  const uint32_t words = arguments.pass_tokens / kWordTokens;
  const SortingLds lds = map_lds(memory, num_experts, words);
  const Share share = {blockIdx.x, static_cast<uint32_t>(arguments.sorting_workgroups)};
  const Share whole = {0, 1};
  const uint32_t tokens = tokens_to_read(arguments);
  const ExpertTokens expert = sum_chunks(arguments);
  place_experts(arguments, lds, expert_is_enabled(arguments), expert.total, expert.before, share);

  const Chunk chunk = own_chunk(arguments);
  for (uint32_t first = chunk.first; first < chunk.end; first += arguments.pass_tokens) {
    const uint32_t end = smaller(first + arguments.pass_tokens, chunk.end);
    clear_bits(lds, num_experts, words);
    __syncthreads();  // no bit is set before all are cleared; the experts have their rows
    mark_tokens(arguments, lds, first, smaller(end, tokens));
    __syncthreads();  // all bits of the pass are set
    const uint32_t count = count_tokens(lds, num_experts, words);
    __syncthreads();  // all words know the bits before them
    scatter_pairs(arguments, lds, first, end, tokens, whole);
    __syncthreads();  // all pairs have found their rows
    if (threadIdx.x < num_experts && lds.next_row[threadIdx.x] != kNoRow) lds.next_row[threadIdx.x] += count;
  }
  __syncthreads();  // with no pass at all, the experts' rows are not known before here
  write_padding(arguments, lds, share);
}
