"""Model a serving run in miniature: the tokens of each step, the policies that choose the kernel, and their cost.

The arrival model is that of vLLM's benchmark at a fixed concurrency, in the setting of AITER's pull request 3525:
prompts of 1000 tokens, answers of 100. `concurrency` clients each wait for an answer and then ask again. A step sorts
one token for each running request, and with it the whole prompts of new ones as far as 8192 tokens reach. Steps of up
to 512 tokens are padded to the size of a captured graph, as vLLM captures them; larger ones run at their own size.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from moesort_tune.domain.presets import MODELS
from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import MAX_TOKENS
from moesort_tune.errors import MoesortTuneError
from moesort_tune.measure.statistics import Interval, compute_median_interval
from moesort_tune.regular_files import open_regular

STEP_TOKENS: Final = 8192
"""Tokens of a step, prompts included: vLLM's max_num_batched_tokens."""

CAPTURED: Final = (1, 2, 4, *range(8, 257, 8), *range(272, 513, 16))
"""Sizes of the graphs that vLLM captures."""

CONFIDENCE: Final = 0.95


@dataclass(frozen=True)
class ServedModel:
    """A model as its steps see it. layers: its MoE layers, each sorts once a step; model_dim: columns of moe_buf."""

    shape: Shape
    layers: int
    model_dim: int


_LAYERS_AND_DIM: Final[dict[str, tuple[int, int]]] = {
    "mixtral-8x7b": (32, 4096),
    "phi-3.5-moe": (32, 4096),
    "gpt-oss-20b": (24, 2880),
    "deepseek-v2-lite": (26, 2048),
    "gpt-oss-120b": (36, 2880),
    "qwen3-235b": (94, 4096),
    "glm-4.5": (89, 5120),
    "deepseek-v3": (58, 7168),
    "deepseek-v3-shared": (58, 7168),
    "minimax-m2.5": (62, 3072),
    "kimi-k2": (60, 7168),
    "qwen3-next": (48, 2048),
}
"""MoE layers and hidden size of each preset, from the published configurations."""

SERVED: Final = {name: ServedModel(MODELS[name], *numbers) for name, numbers in _LAYERS_AND_DIM.items()}


def simulate_arrivals(*, concurrency: int, requests: int, input_tokens: int, output_tokens: int) -> list[int]:
    """Return the tokens of each step until `requests` requests are answered; the first token comes with the prompt.

    Raise ValueError for a concurrency below 1.
    """
    if concurrency < 1:
        raise ValueError(f"concurrency must be at least 1, got {concurrency}")
    waiting, running, steps = requests, list[int](), list[int]()
    while waiting or running:
        room = max(0 if running else 1, (STEP_TOKENS - len(running)) // input_tokens)
        admitted = min(waiting, concurrency - len(running), room)
        steps.append(len(running) + admitted * input_tokens)
        waiting -= admitted
        running = [left - 1 for left in [*running, *[output_tokens] * admitted] if left > 1]
    return steps


def read_trace(path: Path) -> list[int]:
    """Return the tokens of each step from a file, one number a line; empty lines are skipped.

    Raise MoesortTuneError naming the line.
    """
    try:
        with open_regular(path) as file:
            lines = file.read().decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise MoesortTuneError(f"cannot read {path}: {reason}; name a file with one token count a line") from error
    steps = [
        _parse_tokens(line.strip(), f"{path}, line {number}") for number, line in enumerate(lines, 1) if line.strip()
    ]
    if not steps:
        raise MoesortTuneError(f"{path} is empty; expected one token count a line")
    return steps


def _parse_tokens(text: str, place: str) -> int:
    is_number = text.isascii() and text.isdecimal() and len(text) <= len(str(MAX_TOKENS))
    if not is_number or not 1 <= int(text) <= MAX_TOKENS:
        raise MoesortTuneError(f"{place}: expected a token count from 1 to {MAX_TOKENS}, got {text!r:.40}")
    return int(text)


def choose_graph_sizes(steps: Iterable[int]) -> list[int]:
    """Return the size of the captured graph that each step replays."""
    return [next((size for size in CAPTURED if size >= tokens), tokens) for tokens in steps]


@dataclass(frozen=True)
class PolicyResult:
    """One policy. us_per_step: sorting time of a step in all layers. speedup: over AITER's rule, paired by repeat."""

    name: str
    us_per_step: Interval
    speedup: Interval


def summarize_runs(samples: Mapping[str, Sequence[float]], steps: int, baseline: str) -> list[PolicyResult]:
    """Summarize the repeats of each policy. samples: microseconds of each whole run, in the order of the repeats."""
    return [
        PolicyResult(
            name,
            compute_median_interval([sample / steps for sample in of_policy], CONFIDENCE),
            compute_median_interval(
                [rule / own for rule, own in zip(samples[baseline], of_policy, strict=True)], CONFIDENCE
            ),
        )
        for name, of_policy in samples.items()
    ]
