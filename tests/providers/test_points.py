"""The sizes, inputs and expected outputs of a point."""

from dataclasses import replace

import pytest

from moesort_tune.domain.settings import Settings
from moesort_tune.domain.shape import Shape
from moesort_tune.providers.work import points
from moesort_tune.providers.work.base import Point
from moesort_tune.providers.work.points import Drawing, ExpectedOutputs, KeptInputs, build_problem, make_variant
from moesort_tune.sorting.check import WrongOutputError
from moesort_tune.sorting.inputs import SortingInputs
from moesort_tune.sorting.reference import SortedOutputs, moe_sorting

SHAPE = Shape(8, 2)


def make_point(tokens: int) -> Point:
    """Return a point of 8 experts, topk 2: 16 bytes a token of ids and weights."""
    return Point(SHAPE, tokens, Settings(), 1)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the rows of every drawing, in order."""
    rows: list[int] = []
    plain = points._draw

    def count(drawing: Drawing) -> SortingInputs:
        rows.append(drawing.rows)
        return plain(drawing)

    monkeypatch.setattr(points, "_draw", count)
    return rows


def test_kept_inputs_are_bounded_by_their_bytes(drawn: list[int]) -> None:
    """Protects the memory of a sweep of large token counts; those that were used last stay."""
    kept = KeptInputs(most_bytes=16 * 100)
    for tokens in (30, 60, 31):
        assert kept.get(make_point(tokens), 0).topk_ids.shape == (tokens, 2)
    assert (drawn, kept.nbytes) == ([32, 64], 16 * 96)
    kept.get(make_point(16), 0)  # what was used last fits beside it
    kept.get(make_point(29), 0)
    assert (drawn, kept.nbytes) == ([32, 64, 16], 16 * 48)
    assert kept.get(make_point(101), 0).nbytes == 16 * 101  # too large to be kept, and drawn all the same
    assert kept.nbytes == 0


def test_points_between_two_powers_of_two_share_their_rows(drawn: list[int]) -> None:
    """Whatever is zeroed or masked: drawing costs more than a measurement. Another seed or variant is drawn anew."""
    kept = KeptInputs(most_bytes=1 << 20)
    whole = kept.get(make_point(64), 0)
    for settings in (Settings(), Settings(moe_buf=False), Settings(ep=4), Settings(unit_size=64)):
        part = kept.get(Point(SHAPE, 33, settings, 1), 0)
        assert (part.topk_ids == whole.topk_ids[:33]).all()
        assert (part.topk_weights == whole.topk_weights[:33]).all()
        assert (part.local_expert_mask is not None) == settings.masked
    assert drawn == [64]
    for point, variant in ((make_point(64), 1), (Point(SHAPE, 64, Settings(seed=1), 1), 0), (make_point(65), 0)):
        kept.get(point, variant)
    assert drawn == [64, 64, 64, 128]


def test_large_point_draws_its_own_rows_only(drawn: list[int]) -> None:
    """A million tokens take a gigabyte to draw for many experts; twice as many might not fit."""
    KeptInputs(most_bytes=0).get(make_point(40_000), 0)
    assert drawn == [40_000]


@pytest.mark.parametrize(("moe_buf", "nbytes"), [(True, 3 * 4096 * 2), (False, 0)])
def test_moe_buf_is_zeroed_only_where_the_settings_have_one(moe_buf: bool, nbytes: int) -> None:
    """Kernels behind GEMMs that write every row are timed without the zeroing, which may cost more than the sort."""
    assert build_problem(Point(SHAPE, 3, Settings(moe_buf=moe_buf), 1)).moe_buf_bytes == nbytes


@pytest.mark.parametrize(("ep", "local"), [(1, None), (2, 4)])
def test_experts_are_masked_only_where_ranks_share_them(ep: int, local: int | None) -> None:
    """With expert parallelism one rank sorts for its own experts; without, no mask costs anything."""
    mask = make_variant(Point(SHAPE, 3, Settings(ep=ep), 1), 0).local_expert_mask
    assert (None if mask is None else int(mask.sum())) == local


def test_expected_outputs_are_exact_and_sorted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every provider's check compares with the reference, which sorts an input once for all kernels."""
    point = make_point(5)
    inputs = [make_variant(point, 0)]
    right = moe_sorting(inputs[0], num_experts=8, unit_size=32)
    sorts: list[SortingInputs] = []

    def count(one: SortingInputs, *, num_experts: int, unit_size: int) -> SortedOutputs:
        sorts.append(one)
        return moe_sorting(one, num_experts=num_experts, unit_size=unit_size)

    monkeypatch.setattr(points, "moe_sorting", count)
    expected = ExpectedOutputs(point, inputs)
    expected.check(right, 0, kernel="Third's wave", moe_buf_is_zero=True)
    with pytest.raises(WrongOutputError, match=r"Third's wave is wrong for 8 experts, .*: moe_buf is not all zero"):
        expected.check(right, 0, kernel="Third's wave", moe_buf_is_zero=False)
    wrong = replace(right, sorted_token_ids=right.sorted_token_ids + 1)
    with pytest.raises(WrongOutputError, match=r"Third's wave is wrong .*: sorted_token_ids\[0\] is"):
        expected.check(wrong, 0, kernel="Third's wave", moe_buf_is_zero=True)
    assert len(sorts) == 1
