"""Routings: what is refused, that what is written can be read, and the inputs that follow them."""

import numpy as np
import pytest

from moesort_tune.domain.shape import Shape
from moesort_tune.sorting.inputs import Routing, RoutingError, make_inputs
from moesort_tune.sorting.traces import Trace, TraceError

ZIPF = ["zipf:1.2", "zipf:1", "zipf:0.3333333333", "zipf:1e-3", "zipf:9.99999"]
DIRICHLET = ["dirichlet:0.3", "dirichlet:0.01", "dirichlet:100"]


@pytest.mark.parametrize("text", ["uniform", *ZIPF, *DIRICHLET, "trace:0123456789ab"])
def test_routing_reads_what_it_writes(text: str) -> None:
    """Protects samples: a worker reads the routing from the text that the settings hold."""
    routing = Routing.parse(text)
    assert Routing.parse(str(routing)) == routing


@pytest.mark.parametrize(
    "exponent", ["", "nan", "inf", "-inf", "1e309", "-1", "0", "-0.0", "10", "9.9999999", "1_0", "\uff11", "1:2", "x"]
)
def test_exponent_that_is_none_is_refused_and_quoted(exponent: str) -> None:
    """Protects inputs: popularity to the power of NaN or of infinity ranks no experts."""
    with pytest.raises(RoutingError) as refusal:
        Routing.parse(f"zipf:{exponent}")
    assert f"got 'zipf:{exponent}'" in str(refusal.value)


@pytest.mark.parametrize("value", ["", "nan", "0", "-1", "0.0099", "100.1", "1e309", "x"])
def test_concentration_that_is_none_is_refused_and_quoted(value: str) -> None:
    """Protects inputs: a popularity drawn with a concentration of 0 has no experts."""
    with pytest.raises(RoutingError, match=r"with a concentration from 0\.01 to 100") as refusal:
        Routing.parse(f"dirichlet:{value}")
    assert f"got 'dirichlet:{value}'" in str(refusal.value)


@pytest.mark.parametrize("text", ["", "Uniform", "uniform:1", "zipf", " zipf:1", "even:1", "trace:", "trace:x.npz"])
def test_routing_that_is_unknown_is_refused(text: str) -> None:
    """Protects tables from the name of a routing that was not used."""
    with pytest.raises(RoutingError, match="routing must be uniform or zipf:EXPONENT"):
        Routing.parse(text)


SKEWED = ["zipf:1.2", "dirichlet:0.3", "dirichlet:0.01"]


@pytest.mark.parametrize("text", ["uniform", *SKEWED])
@pytest.mark.parametrize(("topk", "num_experts"), [(1, 1), (4, 128), (8, 8), (10, 512)])
def test_every_row_has_distinct_experts(text: str, topk: int, num_experts: int) -> None:
    """Protects the figures: no model routes a token to one expert twice, however skewed the experts' popularity."""
    routing = Routing.parse(text)
    ids = make_inputs(rows=100, topk=topk, num_experts=num_experts, seed=1, routing=routing).topk_ids
    assert ids.min() >= 0
    assert ids.max() < num_experts
    assert all(len(set(row)) == topk for row in ids.tolist())


def test_seed_alone_decides_the_routing() -> None:
    """Protects repeats: the same seed routes alike on every machine, another one otherwise."""
    routing = Routing.parse("dirichlet:0.3")
    first, again, other = (
        make_inputs(rows=50, topk=2, num_experts=16, seed=seed, routing=routing).topk_ids for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def measure_largest_share(text: str) -> float:
    """Return the share of tokens of the most popular of 64 experts."""
    ids = make_inputs(rows=4000, topk=1, num_experts=64, seed=3, routing=Routing.parse(text)).topk_ids
    return float(np.bincount(ids.ravel()).max() / len(ids))


def test_skew_grows_with_exponent_and_falls_with_concentration() -> None:
    """Protects the meaning of the parameters."""
    shares = [measure_largest_share(text) for text in ("uniform", "zipf:0.5", "zipf:1.2")]
    assert shares == sorted(shares)
    assert shares[-1] > 0.15
    shares = [measure_largest_share(text) for text in ("dirichlet:100", "dirichlet:1", "dirichlet:0.1")]
    assert shares == sorted(shares)
    assert shares[-1] > 0.1


TRACE = Trace(Shape(8, 2), np.array([[0, 1], [2, 3], [7, 7]], np.int32), np.array([1, 2]), digest="0123456789ab")


def test_rows_of_a_trace_are_drawn_whole_and_as_often_as_needed() -> None:
    """Protects served routing: each row is one that was served, and a few rows make any number of tokens."""
    routing = Routing.parse("trace:0123456789ab")
    ids = make_inputs(rows=1000, topk=2, num_experts=8, seed=1, routing=routing, trace=TRACE).topk_ids
    assert ids.shape == (1000, 2)
    assert {tuple(row) for row in ids.tolist()} == {(0, 1), (2, 3), (7, 7)}


@pytest.mark.parametrize(
    ("digest", "trace", "topk", "words"),
    [
        ("0123456789ab", TRACE, 3, "is of 8/2 and says nothing about the routing of 8/3"),
        ("ffffffffffff", TRACE, 2, "the file is trace:0123456789ab now"),
        ("0123456789ab", None, 2, "none was named"),
    ],
)
def test_trace_that_does_not_fit_is_refused(digest: str, trace: Trace | None, topk: int, words: str) -> None:
    """Protects a table's word for it: the routing that it names is the one that was measured."""
    with pytest.raises(TraceError, match=words):
        make_inputs(rows=3, topk=topk, num_experts=8, seed=1, routing=Routing("trace", digest=digest), trace=trace)
