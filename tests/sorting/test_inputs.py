"""Routings as text: what is refused, and that what is written can be read."""

import pytest

from moesort_tune.sorting.inputs import Routing, RoutingError


@pytest.mark.parametrize("text", ["uniform", "zipf:1.2", "zipf:1", "zipf:0.3333333333", "zipf:1e-3", "zipf:9.99999"])
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


@pytest.mark.parametrize("text", ["", "Uniform", "uniform:1", "zipf", " zipf:1", "even:1"])
def test_routing_that_is_unknown_is_refused(text: str) -> None:
    """Protects tables from the name of a routing that was not used."""
    with pytest.raises(RoutingError, match="routing must be uniform or zipf:EXPONENT"):
        Routing.parse(text)
