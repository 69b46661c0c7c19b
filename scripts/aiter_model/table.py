"""The table of modelled rows."""

import datetime
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from aiter_model.fit import Model
from aiter_model.gaps import GapRange
from aiter_model.points import Cycles, Shape
from moesort_tune.domain.vocabulary import MULTIPHASE, ONESHOT, KernelName
from moesort_tune.tables.schema import SCHEMA, Device, Entry, Evidence, Kernels, Row, Step, Sweep, Table, Tie

LAST_TOKENS: Final = 256
"""From 512 tokens on AITER's multiphase launches otherwise, and nothing was emulated here."""

DEVICE: Final = Device(name="AMD Instinct MI350X", compute_units=256, wavefront_size=64, lds_bytes=163840, id="0x75a0")
KERNELS: Final = Kernels(provider="aiter", revision="e4048607-26930494b415f980")
"""AITER's commit, and the hash of its sorting sources that an installation of them has in its revision as well."""

SWEEP: Final = Sweep(
    date=datetime.date(2026, 11, 26),
    timing="graph",
    unit_size=32,
    model_dim=4096,
    dtype="bfloat16",
    routing="uniform",
    seed=0,
    moe_buf=False,
)
"""The conditions that the emulated launches had; without a moe_buf model_dim and dtype mean nothing."""


class Choice(NamedTuple):
    """The kernel at one token count. is_sure: whether every gap of the range leads to it."""

    kernel: KernelName
    is_sure: bool


class Chooser:
    """Choose kernels by a model whose gap is only known to lie in a range."""

    def __init__(self, model: Model, gaps: GapRange, cycles: Cycles) -> None:
        self._model = model
        self._extremes = [model._replace(gap_us=gap_us) for gap_us in gaps]
        self.cycles = cycles

    def build_row(self, shape: Shape, source: str) -> Row:
        """Return the row of one shape, up to the last token count at which both kernels are modelled."""
        last = min(LAST_TOKENS, self.cycles.get_ladder(ONESHOT.name, shape).tokens[-1])
        choices = self.list_choices(shape, last)
        return Row(
            num_experts=shape.num_experts,
            topk=shape.topk,
            policy=tuple(_list_steps(choices)),
            tie=tuple(_list_ties(choices)),
            evidence=Evidence(tokens=(1, last), source=source),
        )

    def list_choices(self, shape: Shape, last: int) -> Mapping[int, Choice]:
        """Return the choice at each token count from 1 on. Among doubts, multiphase stays once it was taken."""
        choices: dict[int, Choice] = {}
        for tokens in range(1, last + 1):
            choice = self._choose(shape, tokens)
            stays = not choice.is_sure and tokens > 1 and choices[tokens - 1].kernel == MULTIPHASE.name
            choices[tokens] = Choice(MULTIPHASE.name, False) if stays else choice
        return choices

    def _choose(self, shape: Shape, tokens: int) -> Choice:
        kernels = {self.choose_kernel(model, shape, tokens) for model in self._extremes}
        return Choice(self.choose_kernel(self._model, shape, tokens), len(kernels) == 1)

    def choose_kernel(self, model: Model, shape: Shape, tokens: int) -> KernelName:
        """Return the kernel of the least time by one model."""
        names = (ONESHOT.name, MULTIPHASE.name)
        return min(names, key=lambda name: model.estimate_us(self.cycles.count(name, shape, tokens), name))


def _list_steps(choices: Mapping[int, Choice]) -> Iterator[Step]:
    for tokens, choice in choices.items():
        if tokens == 1 or choices[tokens - 1].kernel != choice.kernel:
            yield tokens, choice.kernel


def _list_ties(choices: Mapping[int, Choice]) -> Iterator[Tie]:
    first = None
    for tokens, choice in [*choices.items(), (len(choices) + 1, Choice(MULTIPHASE.name, True))]:
        if not choice.is_sure and first is None:
            first = tokens
        elif choice.is_sure and first is not None:
            yield first, tokens - 1, (ONESHOT.name, MULTIPHASE.name)
            first = None


def build_table(chooser: Chooser, error_statement: str, is_doubtful: Mapping[Shape, str]) -> Table:
    """Return the modelled table. is_doubtful: what to add to the source of some rows."""
    rows = [chooser.build_row(shape, error_statement + is_doubtful.get(shape, "")) for shape in chooser.cycles.shapes]
    entry = Entry(device=DEVICE, kernels=KERNELS, rows=tuple(rows), sweep=SWEEP, evidence="modelled")
    return Table(schema=SCHEMA, arch="gfx950", tables=(entry,))
