"""The policies that contend with a table, for verify and for ab."""

from collections import Counter
from collections.abc import Sequence

from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.measure.verdict import Verdict
from moesort_tune.verify.policies import Case, Constant, best_constant, by_constant, by_first_encounter, by_oracle

TIMES: dict[int, dict[KernelName, float]] = {
    8: {"oneshot": 3.0, "multiphase": 5.0},
    16: {"oneshot": 4.0, "multiphase": 5.0},
    64: {"oneshot": 9.0, "multiphase": 6.0},
    4096: {"multiphase": 20.0},
}


def make_case(tokens: int, times: dict[KernelName, float], weight: int = 1) -> Case:
    """Return a case of 128 experts whose first encounter saw `times` too."""
    best = min(times, key=lambda kernel: times[kernel])
    return Case(Shape(128, 4), tokens, times, times, Verdict((best,)), weight)


def find_least_time(sizes: Sequence[int]) -> int:
    """Return the constant that is best for these steps."""
    cases = [make_case(size, TIMES[size], count) for size, count in Counter(sizes).items()]
    return best_constant(cases, lambda one, choice: one.times_us[one.run(choice)]).work


def test_oracle_takes_the_faster_kernel_at_each_size() -> None:
    """Protects the bound that everything is compared with."""
    oracle = by_oracle()
    assert oracle.name == "oracle"
    choices = [oracle.choose(make_case(size, times)) for size, times in TIMES.items()]
    assert choices == ["oneshot", "oneshot", "multiphase", "multiphase"]


def test_constant_is_the_best_for_the_steps_at_hand() -> None:
    """Protects the honest competitor: it may know the steps beforehand, and weighs sizes by how often they occur."""
    often_small = find_least_time([8, 16, 16, 64])
    assert often_small == 2048
    policy = by_constant(Constant(often_small), "constant")
    assert [policy.choose(make_case(tokens, TIMES[16])) for tokens in (16, 17)] == ["oneshot", "multiphase"]
    always = by_constant(Constant(find_least_time([64, 4096])), "constant")
    assert always.choose(make_case(1, TIMES[8])) == "multiphase"


def test_first_encounter_chooses_by_one_cold_time() -> None:
    """Protects the comparison with pull request 3525: where oneshot paid for the warm-up, it lost."""
    policy = by_first_encounter()
    assert policy.name == "first encounter"
    cold = [make_case(16, {"oneshot": 900.0, "multiphase": 6.0}), make_case(8, {"oneshot": 5.0, "multiphase": 6.0})]
    assert [policy.choose(one) for one in cold] == ["multiphase", "oneshot"]
