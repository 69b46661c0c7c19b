"""The align provider's kernels on a device: checked to the last element of every output, and enqueued."""

import numpy as np
import pytest

from moesort_tune.device import hip
from moesort_tune.domain.settings import Settings
from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import ALIGN, SORTING
from moesort_tune.providers.facts import registry
from moesort_tune.providers.facts.base import get_operation
from moesort_tune.providers.work import base
from moesort_tune.providers.work.base import Point, open_kernels
from moesort_tune.sorting.align import AlignInputs, align_block_size
from moesort_tune.sorting.align_kernels import PreparedAlign
from moesort_tune.sorting.check import WrongOutputError
from tests.live_objects import count_live_objects
from tests.providers.third import PROVIDER as THIRD

SHAPE = Shape(8, 2)


def make_point(tokens: int = 40, unit_size: int = 32) -> Point:
    return Point(SHAPE, tokens, Settings(moe_buf=False, unit_size=unit_size), variants=2)


def test_operation_is_that_of_the_facts_and_moe_sorting_for_facts_without_one() -> None:
    """A provider of another package that was written before there were two operations is one of moe_sorting."""
    operations = {name: get_operation(registry.get_facts(name)) for name in registry.BUNDLED}
    assert operations == {"builtin": SORTING, "aiter": SORTING, "align": ALIGN}
    assert not hasattr(THIRD.facts, "operation")
    assert get_operation(THIRD.facts) == SORTING
    assert registry.find_operation("nobody") == SORTING


def test_providers_are_available_by_operation() -> None:
    """A sweep of one operation never takes the kernels of the other."""
    assert base.available(ALIGN) == ["align"]
    assert "builtin" in base.available()
    assert "align" not in base.available()


@pytest.mark.parametrize("unit_size", [1, 32, 100])
def test_kernels_are_checked_and_enqueued(device: hip.Device, unit_size: int) -> None:
    """Every candidate that the facts name runs, on each input, and nothing is left behind."""
    before = count_live_objects()
    kernels = open_kernels("align", device)
    point = make_point(unit_size=unit_size)
    names = [candidate.name for candidate in registry.get_facts("align").candidates]
    with device.create_stream() as stream, kernels.prepare(point) as prepared:
        for name in names:
            for variant in range(point.variants):
                prepared.check(name, variant, stream)
            prepared.work(name, 0)(stream)
        stream.synchronize()
    assert list(kernels.limits(SHAPE)) == names
    assert kernels.limits(SHAPE) == base.limits_of(registry.get_facts("builtin"), SHAPE, device.properties.limits)
    assert kernels.revision == base.revision_of("align", device.properties.arch)
    kernels.close()
    assert count_live_objects() == before


def test_work_aligns_the_input_that_it_was_made_for(device: hip.Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is timed is the whole operation: over junk it leaves the outputs of the reference."""
    opened: list[tuple[PreparedAlign, AlignInputs]] = []
    init = PreparedAlign.__init__

    def keep(self: PreparedAlign, kernels: object, problem: object, inputs: AlignInputs, *rest: object, **o: object):  # type: ignore[no-untyped-def]
        init(self, kernels, problem, inputs, *rest, **o)  # type: ignore[arg-type]
        opened.append((self, inputs))

    monkeypatch.setattr(PreparedAlign, "__init__", keep)
    kernels = open_kernels("align", device)
    with device.create_stream() as stream, kernels.prepare(make_point()) as prepared:
        aligned, inputs = opened[1]
        assert not np.array_equal(inputs.topk_ids, opened[0][1].topk_ids)
        aligned.spoil()
        prepared.work("multiphase", 1)(stream)
        stream.synchronize()
        expected = align_block_size(inputs, aligned.problem)
        assert np.array_equal(aligned.read_outputs().sorted_token_ids, expected.sorted_token_ids)
    kernels.close()


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("tail_expert", 7, "is 7 instead of -1"),
        ("capacity_rows", 320, "sorted_token_ids[320] is -1515870811 instead of 80 (8 of 328 elements differ)"),
        ("capacity_rows", 330, "there was a write behind the 328 elements of sorted_token_ids"),
        ("capacity_tiles", 12, "there was a write behind the 11 elements of expert_ids"),
        ("first_id", 1, "sorted_token_ids[0] is "),
    ],
)
def test_check_finds_what_is_wrong(
    device: hip.Device, monkeypatch: pytest.MonkeyPatch, field: str, value: int, words: str
) -> None:
    """An output that is wrong, not filled to its end, or written behind it, by kernels whose arguments are wrong."""
    make_arguments = PreparedAlign._make_arguments

    def make_wrong_arguments(self: PreparedAlign):  # type: ignore[no-untyped-def]
        arguments = make_arguments(self)
        setattr(arguments, field, value)
        return arguments

    monkeypatch.setattr(PreparedAlign, "_make_arguments", make_wrong_arguments)
    kernels = open_kernels("align", device)
    with (
        device.create_stream() as stream,
        kernels.prepare(make_point()) as prepared,
        pytest.raises(WrongOutputError) as wrong,
    ):
        prepared.check("oneshot", 0, stream)
    kernels.close()
    assert words in str(wrong.value)
    assert str(wrong.value).startswith("oneshot is wrong for 8 experts, topk 2, 40 tokens: ")
