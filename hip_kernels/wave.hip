// wave: MoE token sorting in one launch, on the axis of (token, slot) pairs instead of experts, for the fewest tokens.
//
// Inputs and outputs: arguments.h; their meaning, padding included: hip_kernels/README.md.
// Grid:  sorting_workgroups, a power of two, that sort, then any number that zero moe_buf. Workgroup: kSets sets of
//        kWords waves.
// Steps: a lane holds a pair, a wave one word of pairs: as many as it has lanes. A ballot for each bit of the ids
//        describes a word. From the descriptions of all words, each lane learns which pairs name its own expert and
//        which one before it: its rank among the former is its row in its expert's tiles, and the tiles of the latter,
//        each counted by the pair in its first row, lie before them. Nothing is sorted, and a pair of an expert that
//        its token names twice is a pair like any other.
//        With one word, every wave does all that by itself, without LDS and barriers; with more, waves exchange their
//        words' descriptions and first rows. Every set of kWords waves does the same, and writes its share of tiles.
// LDS:   Exchange, for more than one word.
#include "access.h"
#include "wave_operations.h"
#include "zero.h"

// Bits of an expert's id.
constexpr uint32_t kBits = 10;

// A workgroup has this many threads, or as many as hold all pairs once.
constexpr uint32_t kThreads = 128;

// Sets of waves in a workgroup, each of which holds all pairs.
template <uint32_t kWords>
constexpr uint32_t kSets = kWords * kWaveSize < kThreads ? kThreads / (kWords * kWaveSize) : 1;

#ifndef MOESORT_ALIGN
// The mask is read in batches of 128 experts, of which four are loaded before the first is used.
constexpr uint32_t kBatchExperts = 128;
constexpr uint32_t kBatchWords = kBatchExperts / kWaveSize;
constexpr uint32_t kBatches = 4;

struct MaskBatch {
  int32_t values[kBatchWords];
};

// Lanes past the last expert load its mask: bits there mean nothing.
__device__ __forceinline__ MaskBatch load_mask(const SortingArguments& arguments, uint32_t first) {
  MaskBatch batch;
#pragma unroll
  for (uint32_t i = 0; i < kBatchWords; ++i) {
    const uint32_t expert = smaller(first + i * kWaveSize + lane_index(), arguments.num_experts.divisor - 1);
    batch.values[i] = at<Tokens::kFew>(arguments.local_expert_mask, expert);
  }
  return batch;
}

// Keeps the enabled experts of the batch, whose first is `first`, in the lanes that answer for them.
__device__ __forceinline__ void keep_enabled(Lanes& enabled, const MaskBatch& batch, uint32_t first) {
#pragma unroll
  for (uint32_t i = 0; i < kBatchWords; ++i) {
    const Lanes word = lanes_where(batch.values[i] != 0);
    if (lane_index() == first / kWaveSize + i) enabled = word;
  }
}
#endif

// An expert under expert parallelism. id: the enabled experts before it.
struct LocalExpert {
  bool enabled;
  uint32_t id;
};

// Of the lane's own expert; means nothing for one that does not exist.
__device__ __forceinline__ LocalExpert find_local_expert(const SortingArguments& arguments, uint32_t expert) {
#ifdef MOESORT_ALIGN
  const MappedExpert mapped = map_expert<Tokens::kFew>(arguments, smaller(expert, arguments.num_experts.divisor - 1));
  return {mapped.enabled, static_cast<uint32_t>(mapped.id)};
#else
  if (arguments.local_expert_mask == nullptr) return {true, expert};
  const uint32_t num_experts = arguments.num_experts.divisor;
  Lanes enabled = 0;  // lane i: of experts i * kWaveSize to (i + 1) * kWaveSize - 1
#pragma unroll 1
  for (uint32_t first = 0; first < num_experts; first += kBatches * kBatchExperts) {
    MaskBatch batches[kBatches];
#pragma unroll
    for (uint32_t i = 0; i < kBatches; ++i)
      if (first + i * kBatchExperts < num_experts) batches[i] = load_mask(arguments, first + i * kBatchExperts);
#pragma unroll
    for (uint32_t i = 0; i < kBatches; ++i)
      if (first + i * kBatchExperts < num_experts) keep_enabled(enabled, batches[i], first + i * kBatchExperts);
  }
  const uint32_t before = wave_inclusive_sum(count_lanes(enabled)) - count_lanes(enabled);
  const uint32_t lane = expert / kWaveSize % kWaveSize;
  const Lanes word = wave_gather(enabled, lane);
  const Lanes own = Lanes{1} << expert % kWaveSize;
  return {(word & own) != 0, wave_gather(before, lane) + count_lanes(word & (own - 1))};
#endif
}

// A word of pairs. Aligned so that LDS is read 16 bytes at a time.
struct alignas(16) Word {
  Lanes valid;        // pairs that are read and name an expert that exists
  Lanes ones[kBits];  // pairs whose expert has the bit
};

__device__ __forceinline__ Word describe_word(bool valid, uint32_t expert) {
  Word word;
  word.valid = lanes_where(valid);
#pragma unroll
  for (uint32_t bit = 0; bit < kBits; ++bit) word.ones[bit] = lanes_where(spread_bit(expert, bit) != 0);
  return word;
}

// Pairs of a word that name the lane's own expert, and those that name one before it, invalid ones included.
struct Comparison {
  Lanes same;
  Lanes before;
};

// From the lowest bit on: the highest bit in which two ids differ decides. Few experts have no high bits; asking
// whether they do would take longer.
__device__ __forceinline__ Comparison compare(const Word& word, uint32_t expert) {
  Lanes different = 0;
  Lanes before = 0;
#pragma unroll
  for (uint32_t bit = 0; bit < kBits; ++bit) {
    const Lanes own = lanes_if(spread_bit(expert, bit));
    const Lanes differs = word.ones[bit] ^ own;
    before = (differs & own) | (~differs & before);
    different |= differs;
  }
  return {word.valid & ~different, before};
}

// What the waves of a workgroup tell each other; moesort_tune/sorting/geometry.py counts the same bytes.
template <uint32_t kWords>
struct Exchange {
  Word words[kWords];
  Lanes firsts[kWords];  // pairs in the first row of a tile
};

// A lane's (token, slot) pair and its row.
struct PlacedPair {
  uint32_t place;  // in topk_ids
  float weight;
  uint32_t local_id;
  bool sorted;  // whether it has a row
  uint32_t row;
  uint32_t tile;
  bool is_first;  // in the first row of its tile
  bool is_last;   // in its expert's last row
};

// Writes the tiles, and the padding behind those of experts that end in this word, which are this writer's own:
// tile % writers == writer, of `writers`, a power of two.
__device__ __forceinline__ void write_tiles(const SortingArguments& arguments, const PlacedPair& pair, uint32_t writer,
                                            uint32_t writers) {
  const uint32_t topk = arguments.topk.divisor;
  const bool own = pair.sorted && (pair.tile & (writers - 1)) == writer;
  if (own) {
    const uint32_t token = divide(pair.place, arguments.topk);
    write_row<Tokens::kFew>(arguments, pair.row, token, pair.place - token * topk, pair.weight);
    if (pair.is_first) at<Tokens::kFew>(arguments.sorted_expert_ids, pair.tile) = pair.local_id;
  }
  Lanes ends = lanes_where(own && pair.is_last);
#pragma unroll 1
  while (ends != 0) {
    const uint32_t last = first_lane(ends);
    ends &= ends - 1;
    const uint32_t end_row = (wave_read(pair.tile, last) + 1) * arguments.unit_size.divisor;
#pragma unroll 1
    for (uint32_t row = wave_read(pair.row, last) + 1 + lane_index(); row < end_row; row += kWaveSize)
      write_row<Tokens::kFew>(arguments, row, arguments.rows, topk, 0.0f);  // as the contract marks padding
  }
}

// What does not belong to tiles. Of the waves that hold the same word, one calls it.
__device__ __forceinline__ void write_pairs_and_sums(const SortingArguments& arguments, const PlacedPair& pair,
                                                     uint32_t tiles, uint32_t tokens) {
  if (pair.place == 0) {
    arguments.num_valid_ids[0] = tiles * arguments.unit_size.divisor;
#ifndef MOESORT_ALIGN
    arguments.num_valid_ids[1] = tokens;
#endif
  }
  if (pair.place >= arguments.rows * arguments.topk.divisor) return;
#ifdef MOESORT_ALIGN
  write_place<Tokens::kFew>(arguments, pair.place, pair.sorted);
#else
  if (arguments.reverse_sorted != nullptr)
    at<Tokens::kFew>(arguments.reverse_sorted, pair.place) = pair.sorted ? pair.row : kNoRow;
  if (arguments.local_topk_ids != nullptr)
    at<Tokens::kFew>(arguments.local_topk_ids, pair.place) = pair.sorted ? pair.local_id : kNoExpert;
#endif
}

template <uint32_t kWords>
__device__ __forceinline__ void sort_pairs(const SortingArguments& arguments) {
  if (zeroed_instead(arguments)) return;
  HIP_DYNAMIC_SHARED(uint32_t, memory);
  Exchange<kWords>& exchange = *reinterpret_cast<Exchange<kWords>*>(memory);
  const uint32_t unit_size = arguments.unit_size.divisor;
  const uint32_t own_word = kWords == 1 ? 0 : wave_index() % kWords;
  const uint32_t set = wave_index() / kWords;
  const bool tells = set == 0 && lane_index() == 0;

  PlacedPair pair = {own_word * kWaveSize + lane_index(), 0.0f};
  uint32_t expert = kNoExpert;
  if (pair.place < arguments.rows * arguments.topk.divisor) {
    expert = at<Tokens::kFew>(arguments.topk_ids, pair.place);
#ifndef MOESORT_ALIGN
    pair.weight = at<Tokens::kFew>(arguments.topk_weights, pair.place);
#endif
  }
  const uint32_t tokens = tokens_to_read(arguments);
  const LocalExpert local = find_local_expert(arguments, expert);
  const bool valid = pair.place < tokens * arguments.topk.divisor && expert < arguments.num_experts.divisor;

  Word words[kWords] = {describe_word(valid, expert)};
  if constexpr (kWords > 1) {
    if (tells) exchange.words[own_word] = words[0];
    __syncthreads();  // every word is described
#pragma unroll
    for (uint32_t word = 0; word < kWords; ++word) words[word] = exchange.words[word];
  }
  Comparison others[kWords];
  uint32_t rank = 0;
  uint32_t count = 0;
#pragma unroll
  for (uint32_t word = 0; word < kWords; ++word) {
    others[word] = compare(words[word], expert);
    const uint32_t same = count_lanes(others[word].same);
    count += same;
    if (word == own_word) rank = count - same + count_lanes_below(others[word].same);
  }
  // A mask turns all pairs of an expert off alike, so that those of others matter only by the tiles that they begin.
  pair.sorted = valid && local.enabled;
  pair.local_id = local.id;
  const uint32_t tile_of_expert = divide(rank, arguments.unit_size);
  pair.is_first = pair.sorted && tile_of_expert * unit_size == rank;
  pair.is_last = rank + 1 == count;

  Lanes firsts[kWords] = {lanes_where(pair.is_first)};
  if constexpr (kWords > 1) {
    if (tells) exchange.firsts[own_word] = firsts[0];
    __syncthreads();  // the first rows of every word are known
#pragma unroll
    for (uint32_t word = 0; word < kWords; ++word) firsts[word] = exchange.firsts[word];
  }
  uint32_t tiles_before = 0;
  uint32_t tiles = 0;
#pragma unroll
  for (uint32_t word = 0; word < kWords; ++word) {
    tiles_before += count_lanes(others[word].before & firsts[word]);
    tiles += count_lanes(firsts[word]);
  }
  pair.row = tiles_before * unit_size + rank;
  pair.tile = tiles_before + tile_of_expert;

  const uint32_t writer = blockIdx.x * kSets<kWords> + set;
  write_tiles(arguments, pair, writer, arguments.sorting_workgroups * kSets<kWords>);
  if (writer == 0) write_pairs_and_sums(arguments, pair, tiles, tokens);
#ifdef MOESORT_ALIGN
  write_tail<Tokens::kFew>(arguments, tiles * unit_size, blockIdx.x * blockDim.x + threadIdx.x,
                           arguments.sorting_workgroups * blockDim.x);
#endif
}

// The variants, by the words of pairs; moesort_tune/sorting/launches.py chooses.
extern "C" __global__ void __launch_bounds__(kSets<1> * 1 * kWaveSize)
    moe_sorting_wave_1(const SortingArguments arguments) {
  sort_pairs<1>(arguments);
}

extern "C" __global__ void __launch_bounds__(kSets<2> * 2 * kWaveSize)
    moe_sorting_wave_2(const SortingArguments arguments) {
  sort_pairs<2>(arguments);
}

extern "C" __global__ void __launch_bounds__(kSets<4> * 4 * kWaveSize)
    moe_sorting_wave_4(const SortingArguments arguments) {
  sort_pairs<4>(arguments);
}
