"""The sizes and inputs of a point."""

import pytest

from moesort_tune.domain.settings import Settings
from moesort_tune.domain.shape import Shape
from moesort_tune.providers.work import points
from moesort_tune.providers.work.base import Point
from moesort_tune.providers.work.points import KeptInputs, build_problem, make_variant
from moesort_tune.sorting.inputs import SortingInputs

SHAPE = Shape(8, 2)


def make_point(tokens: int) -> Point:
    """Return a point of 8 experts, topk 2: 16 bytes a token of ids and weights."""
    return Point(SHAPE, tokens, Settings(), 1)


def test_kept_inputs_are_bounded_by_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the memory of a sweep of large token counts; those that were used last stay."""
    made: list[int] = []
    plain = points._make_variant

    def count(wanted: Point, variant: int) -> SortingInputs:
        made.append(wanted.tokens)
        return plain(wanted, variant)

    monkeypatch.setattr(points, "_make_variant", count)
    kept = KeptInputs(most_bytes=16 * 100)
    for tokens in (40, 50, 40):
        assert kept.get(make_point(tokens), 0).topk_ids.shape == (tokens, 2)
    assert (made, kept.nbytes) == ([40, 50], 16 * 90)
    kept.get(make_point(60), 0)  # only the one used last fits beside it
    kept.get(make_point(40), 0)
    assert (made, kept.nbytes) == ([40, 50, 60], 16 * 100)
    assert kept.get(make_point(101), 0).nbytes == 16 * 101  # too large to be kept, and made all the same
    assert kept.nbytes == 0


@pytest.mark.parametrize(("moe_buf", "nbytes"), [(True, 3 * 4096 * 2), (False, 0)])
def test_moe_buf_is_zeroed_only_where_the_settings_have_one(moe_buf: bool, nbytes: int) -> None:
    """Kernels behind GEMMs that write every row are timed without the zeroing, which may cost more than the sort."""
    assert build_problem(Point(SHAPE, 3, Settings(moe_buf=moe_buf), 1)).moe_buf_bytes == nbytes


@pytest.mark.parametrize(("ep", "local"), [(1, None), (2, 4)])
def test_experts_are_masked_only_where_ranks_share_them(ep: int, local: int | None) -> None:
    """With expert parallelism one rank sorts for its own experts; without, no mask costs anything."""
    mask = make_variant(Point(SHAPE, 3, Settings(ep=ep), 1), 0).local_expert_mask
    assert (None if mask is None else int(mask.sum())) == local
