"""Mutants: kernels with one fault each, which the edge cases must notice. A mutant that survives is a missing test."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from moesort_tune.shipped import get_kernels_folder
from tests.sorting.edges import EDGES, LARGE


@dataclass(frozen=True)
class Mutant:
    """One fault: in `file`, `original` becomes `mutated`; the edge case that must fail, under these settings."""

    fault: str
    file: str
    original: str
    mutated: str
    noticed_by: str
    seed: str = ""
    compute_units: str = ""


MUTANTS = (
    Mutant(
        "a barrier removed",
        "oneshot.hip",
        "  __syncthreads();  // all bits are set\n",
        "",
        "one hot expert",
        seed="3",
    ),
    Mutant(
        "a negative id let through",
        "layout.h",
        "if (batch.experts[i] >= num_experts) continue;",
        "if (static_cast<int32_t>(batch.experts[i]) >= static_cast<int32_t>(num_experts)) continue;",
        "bad ids",
    ),
    Mutant("a slot lost", "access.h", "| slot << 24;", "| (slot & 0) << 24;", "several chunks"),
    Mutant(
        "a tail not zeroed",
        "zero.h",
        "  if (threadIdx.x < tail) begin[bytes - tail + threadIdx.x] = 0;\n",
        "",
        "odd bytes to zero",
    ),
    Mutant(
        "32 lanes for 64",
        "platform/wave_portable.h",
        "distance < kWaveSize",
        "distance < 32",
        "masked experts",
    ),
    Mutant(
        "the mask ignored",
        "layout.h",
        "return arguments.local_expert_mask == nullptr || at<kTokens>(arguments.local_expert_mask, threadIdx.x) != 0;",
        "return true;",
        "masked experts",
    ),
    Mutant(
        "padding of the last expert missing",
        "layout.h",
        "arguments.num_experts.divisor * unit_size",
        "(arguments.num_experts.divisor - 1) * unit_size",
        "several chunks",
    ),
    Mutant(
        "the device-side token count ignored",
        "access.h",
        "if (arguments.num_local_tokens == nullptr) return arguments.rows;",
        "return arguments.rows;",
        "few real rows",
    ),
    Mutant(
        "an offset in 32 bits",
        "zero.h",
        "zero_share(void* buffer, unsigned long long bytes,",
        "zero_share(void* buffer, unsigned bytes,",
        "a buffer beyond 32 bits",
    ),
    Mutant(
        "the second launch replaced by the first",
        "multiphase.hip",
        "  scatter_word<Groups::kOne>(arguments);",
        "  count_word(arguments);",
        "one of each",
    ),
    Mutant(
        "the chunks before forgotten",
        "multiphase.hip",
        "pairs.before += chunk + i < blockIdx.x ? batch[i] : 0;",
        "pairs.before += 0;",
        "several chunks",
    ),
    Mutant(
        "the words before forgotten",
        "multiphase.hip",
        "      expert.pairs.before = expert.pairs.total;",
        "      expert.pairs.before = 0;",
        "one hot expert",
        compute_units="8",
    ),
    Mutant(
        "the second batch of words forgotten",
        "multiphase.hip",
        "  if (two_batches) add_words(of_expert, more_words);\n",
        "",
        "one hot expert",
        compute_units="8",
    ),
    Mutant(
        "the groups before forgotten",
        "multiphase.hip",
        "if (part.end <= blockIdx.x) expert.pairs.before = expert.pairs.total;",
        "",
        "several chunks",
        compute_units="64",
    ),
    Mutant(
        "the words of the other groups forgotten",
        "multiphase.hip",
        "    pairs.total += totals[other];",
        "    pairs.total += 0;",
        "several chunks",
        compute_units="64",
    ),
    Mutant(
        "the words behind the first batches forgotten",
        "multiphase.hip",
        "chunk < part.end; chunk += 2 * kWordsInFlight)",
        "chunk < part.first; chunk += 2 * kWordsInFlight)",
        "many experts in several chunks",
        compute_units="64",
    ),
    Mutant(
        "groups that meet without a barrier",
        "multiphase.hip",
        "  __syncthreads();  // the sums of all groups are there\n",
        "",
        "several chunks",
        seed="3",
        compute_units="64",
    ),
    Mutant(
        "a token ranked behind itself",
        "layout.h",
        "((1u << token % kWordTokens) - 1)",
        "((2u << token % kWordTokens) - 1)",
        "one of each",
    ),
    Mutant(
        "the weight of another slot",
        "layout.h",
        "pair.weight = at<kTokens>(arguments.topk_weights, rows.first * topk + place);",
        "pair.weight = at<kTokens>(arguments.topk_weights, rows.first * topk);",
        "several chunks",
    ),
    Mutant(
        "rows of masked experts kept",
        "layout.h",
        "lds.next_row[expert] = enabled ? first_row + pairs.before : kNoRow;",
        "lds.next_row[expert] = first_row + pairs.before;",
        "masked experts",
    ),
    Mutant(
        "bits of the pass before not cleared",
        "layout.h",
        "bits[i] = make_uint4(0, 0, 0, 0);",
        "bits[i] = bits[i];",
        "one hot expert",
    ),
    Mutant(
        "repeats not noticed by the bits",
        "layout.h",
        "marks.found |= atomicOr(&lds.bits[word * num_experts + batch.experts[i]], bit) & bit;",
        "atomicOr(&lds.bits[word * num_experts + batch.experts[i]], bit);",
        "repeated experts",
        compute_units="8",
    ),
    Mutant(
        "repeats not noticed by their number",
        "oneshot.hip",
        "repeats != 0) atomicAdd(lds.repeats, repeats);",
        "repeats != 0) atomicAdd(lds.repeats, 0);",
        "repeats in several chunks",
    ),
    Mutant(
        "pairs with repeats ranked by bits",
        "layout.h",
        "  return by_ids ? row : row_by_bits;",
        "  return row_by_bits;",
        "repeated experts",
    ),
    Mutant(
        "a repeat ranked behind itself",
        "layout.h",
        "below = by_ids ? pairs_below : 0; below != 0; --below)",
        "below = by_ids ? pairs_below + 1 : 0; below != 0; --below)",
        "repeated experts",
    ),
    Mutant(
        "pairs counted before all counts are cleared",
        "layout.h",
        "  __syncthreads();  // no pair is counted before all counts are cleared\n",
        "",
        "repeated experts",
        seed="3",
    ),
    Mutant(
        "repeats counted for a neighbour",
        "layout.h",
        "index / 2, 1u << 16 * (index % 2));",
        "index / 2, 1u);",
        "repeated experts",
    ),
    Mutant(
        "repeats of few chunks forgotten",
        "multiphase.hip",
        "  if (marks.found != 0) stored_repeats(arguments)[blockIdx.x] = 1;\n",
        "",
        "repeated experts",
        compute_units="8",
    ),
    Mutant(
        "repeats of the chunks before forgotten",
        "multiphase.hip",
        "count_ids(ids_of(arguments, {0, own.first, own.tokens}), before, num_experts);",
        "count_ids(ids_of(arguments, {0, 0, own.tokens}), before, num_experts);",
        "repeated experts",
        compute_units="8",
    ),
    Mutant(
        "a chunk's repeats left out of its count",
        "multiphase.hip",
        "  if (wave_uniform(*lds.repeats) == 0) return count;",
        "  if (true) return count;",
        "repeats in several chunks",
    ),
    Mutant(
        "a chunk's repeats kept from the second launch",
        "multiphase.hip",
        "  if (threadIdx.x == 0) stored_repeats(arguments)[blockIdx.x] = 1;\n",
        "",
        "repeats in several chunks",
    ),
    Mutant(
        "the pass before forgotten among repeats",
        "multiphase.hip",
        "    if (enabled) lds.next_row[threadIdx.x] += pairs;\n",
        "",
        "repeats in several chunks",
    ),
    Mutant(
        "bits of the other experts ignored",
        "wave.hip",
        "(differs & own) | (~differs & before)",
        "(differs & ~own) | (~differs & before)",
        "one word of pairs",
    ),
    Mutant(
        "a difference forgotten",
        "wave.hip",
        "    different |= differs;\n",
        "    different = differs;\n",
        "one word of pairs",
    ),
    Mutant(
        "pairs that are not valid counted",
        "wave.hip",
        "return {word.valid & ~different, before};",
        "return {~different, before};",
        "bad ids",
    ),
    Mutant(
        "the highest bit of ids left out",
        "wave.hip",
        "constexpr uint32_t kBits = 10;",
        "constexpr uint32_t kBits = 9;",
        "the most experts",
    ),
    Mutant(
        "rows of masked experts kept by wave",
        "wave.hip",
        "  pair.sorted = valid && local.enabled;",
        "  pair.sorted = valid;",
        "masked experts",
    ),
    Mutant(
        "an enabled expert counted before itself",
        "wave.hip",
        "count_lanes(word & (own - 1))}",
        "count_lanes(word & (own | (own - 1)))}",
        "masked experts",
    ),
    Mutant(
        "the mask of the first experts read only",
        "wave.hip",
        "keep_enabled(enabled, batches[i], first + i * kBatchExperts);",
        "keep_enabled(enabled, batches[0], first);",
        "masked experts",
    ),
    Mutant(
        "the mask of the last experts not read",
        "wave.hip",
        "first < num_experts; first += kBatches",
        "first < kBatches * kBatchExperts; first += kBatches",
        "the most experts",
    ),
    Mutant(
        "a mask read behind its end",
        "wave.hip",
        "arguments.num_experts.divisor - 1);\n    batch.values[i]",
        "arguments.num_experts.divisor);\n    batch.values[i]",
        "masked experts",
    ),
    Mutant(
        "a word used before it is described",
        "wave.hip",
        "    __syncthreads();  // every word is described\n",
        "",
        "masked experts",
        seed="3",
    ),
    Mutant(
        "a tile counted before its word is known",
        "wave.hip",
        "    __syncthreads();  // the first rows of every word are known\n",
        "",
        "masked experts",
        seed="3",
    ),
    Mutant(
        "the pairs of the words before forgotten",
        "wave.hip",
        "rank = count - same + count_lanes_below",
        "rank = count_lanes_below",
        "one hot expert",
    ),
    Mutant(
        "pairs counted as tiles",
        "wave.hip",
        "count_lanes(others[word].before & firsts[word])",
        "count_lanes(others[word].before)",
        "one word of pairs",
    ),
    Mutant(
        "the second tile of an expert forgotten",
        "wave.hip",
        "tile_of_expert * unit_size == rank;",
        "rank == 0;",
        "one hot expert",
    ),
    Mutant(
        "a tile that no wave writes",
        "wave.hip",
        "(pair.tile & (writers - 1)) == writer;",
        "(pair.tile & (writers - 1)) == writer && pair.tile % 2 == 0;",
        "one word of pairs",
    ),
    Mutant(
        "padding that ends a tile too early",
        "wave.hip",
        "(wave_read(pair.tile, last) + 1) * arguments",
        "(wave_read(pair.tile, last) + 0) * arguments",
        "one word of pairs",
    ),
    Mutant(
        "padding behind the wrong pair",
        "wave.hip",
        "pair.is_last = rank + 1 == count;",
        "pair.is_last = rank == 0;",
        "one hot expert",
    ),
    Mutant(
        "pairs written behind the last",
        "wave.hip",
        "  if (pair.place >= arguments.rows * arguments.topk.divisor) return;\n",
        "",
        "few real rows",
    ),
    Mutant(
        "ids read behind the last",
        "wave.hip",
        "  if (pair.place < arguments.rows * arguments.topk.divisor) {",
        "  if (true) {",
        "few real rows",
    ),
    Mutant(
        "rows read that are not there yet",
        "wave.hip",
        "pair.place < tokens * arguments.topk.divisor &&",
        "",
        "few real rows",
    ),
    Mutant(
        "ids outside the experts let through",
        "wave.hip",
        " && expert < arguments.num_experts.divisor;",
        ";",
        "bad ids",
    ),
    Mutant(
        "a lane counted below itself",
        "platform/wave_portable.h",
        "((1ull << threadIdx.x % kWaveSize) - 1)",
        "((2ull << threadIdx.x % kWaveSize) - 1)",
        "one word of pairs",
    ),
)


def write_mutated_kernels(mutant: Mutant, folder: Path) -> Path:
    """Return a copy of the kernels with the fault in it."""
    kernels = folder / "hip_kernels"
    shutil.copytree(get_kernels_folder(), kernels)
    source = (kernels / mutant.file).read_text()
    assert source.count(mutant.original) == 1, f"{mutant.file} has changed: {mutant.original!r} is not in it once"
    (kernels / mutant.file).write_text(source.replace(mutant.original, mutant.mutated))
    return kernels


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.fault.replace(" ", "-"))
def test_mutant_is_noticed(mutant: Mutant, tmp_path: Path) -> None:
    """Protects the tests themselves: each fault makes the case fail that is there for it."""
    assert mutant.noticed_by in EDGES | LARGE
    environment = {
        **os.environ,
        "MOESORT_TUNE_RUNTIME": "host",
        "MOESORT_TUNE_SOURCES": str(write_mutated_kernels(mutant, tmp_path)),
        "MOESORT_HOST_SEED": mutant.seed,
        "MOESORT_HOST_COMPUTE_UNITS": mutant.compute_units,
        "MOESORT_HOST_CHECK": "0" if mutant.noticed_by in LARGE else "1",
    }
    command = [sys.executable, "-m", "tests.sorting.edges", mutant.noticed_by]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert answer.returncode != 0, f"nobody noticed {mutant.fault}"
    assert "does not compile" not in answer.stderr
    assert "could not be compiled" not in answer.stderr, answer.stderr
