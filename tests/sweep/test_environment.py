"""Where samples were measured, and how two such places differ."""

from dataclasses import replace

from moesort_tune.sweep.environment import collect_environment, find_differences
from tests.sweep.test_comparison import make_lines

LINES = [
    replace(line, device="AMD Instinct MI300X", device_id="0x74a1", host="node1", software="driver=6.4;hip=6.4")
    for line in make_lines([1])
]


def test_environment_names_device_software_kernels_and_settings() -> None:
    """Whatever a time depends on and the samples know is there, the device first."""
    environment = collect_environment(LINES)
    assert list(environment)[:5] == ["device", "product", "architecture", "compute units", "host"]
    assert environment["product"] == "MI300X (0x74a1)"
    assert environment["builtin revision"] == "5c1e"
    assert (environment["driver"], environment["unit_size"], environment["seed"]) == ("6.4", "32", "0")


def test_several_values_are_all_named() -> None:
    """Rows of different sweeps may stand in one file."""
    later = [replace(line, software="driver=7.0;hip=6.4", date="2026-12-01") for line in LINES]
    environment = collect_environment([*LINES, *later])
    assert (environment["driver"], environment["date"]) == ("6.4, 7.0", "2026-11-22, 2026-12-01")


def test_differences_are_those_of_the_environment_and_not_of_the_day() -> None:
    """A value that only one side knows is a difference too."""
    other = [replace(line, software="driver=7.0;hip=6.4;compiler=x", date="2026-12-01") for line in LINES]
    found = find_differences(collect_environment(LINES), collect_environment(other))
    assert [tuple(one) for one in found] == [("compiler", "", "x"), ("driver", "6.4", "7.0")]
    assert find_differences(collect_environment(LINES), collect_environment(LINES)) == []
