"""Decisions for moe_align_block_size: by its own entries alone, whatever a call says of moe_buf and mask."""

from pathlib import Path

import pytest

from moesort_tune import runtime, shipped
from moesort_tune.domain.device import DeviceLimits
from moesort_tune.domain.vocabulary import ALIGN, ALIGN_CONDITION, Condition
from moesort_tune.providers.facts import registry
from moesort_tune.runtime import Dispatcher, Reason
from moesort_tune.tables import store
from moesort_tune.tables.schema import Kernels, Table
from tests.tables.examples import align_entry, entry, row, sweep, table

H100 = DeviceLimits("sm_90", 132, 32, 227 << 10)
CONDITIONS = [Condition(moe_buf, masked) for moe_buf in (True, False) for masked in (True, False)]


@pytest.fixture(autouse=True)
def _no_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of this machine decides: no variables, no attached GPU, no shipped table, no warnings given before."""
    for variable in ("MOESORT_TUNE_TABLE", "MOESORT_TUNE_ARCH", "MOESORT_TUNE_MISSES"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(runtime.dispatcher, "_find_attached", lambda: None)
    monkeypatch.setattr(runtime.dispatcher, "_warned", {})
    monkeypatch.setattr(shipped, "get_tables_folder", lambda: tmp_path / "none")


def save(folder: Path, one: Table) -> Path:
    store.save(folder / "gfx942.yaml", one)
    return folder / "gfx942.yaml"


@pytest.mark.parametrize("align_first", [True, False])
def test_each_operation_decides_by_its_own_entries(tmp_path: Path, align_first: bool) -> None:
    """A moe_sorting entry of the very condition of the other operation is none of it."""
    own = [align_entry([row(switch=30)]), *(entry([row(switch=50)], sweep=sweep(**c._asdict())) for c in CONDITIONS)]
    path = save(tmp_path, table(*(own if align_first else reversed(own))))
    align, sorting = (Dispatcher.load(path, kernels=kernels) for kernels in ("align", "builtin"))
    for condition in CONDITIONS:
        assert [align.policy(tokens, 128, 4, *condition) for tokens in (29, 30)] == [1, 2]
        assert [sorting.policy(tokens, 128, 4, *condition) for tokens in (49, 50)] == [1, 2]
    assert align.reason(29, 128, 4) is Reason.EXACT


@pytest.mark.parametrize(("kernels", "others"), [("align", entry()), ("builtin", align_entry())])
def test_table_without_the_operation_leaves_the_rule(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kernels: str, others: object
) -> None:
    """No entry of another operation fills in, and the log says which rule decides and what makes a table."""
    dispatcher = Dispatcher.load(save(tmp_path, table(others)), kernels=kernels)  # type: ignore[arg-type]
    assert dispatcher.entry is None
    assert dispatcher.reason(29, 128, 4) is Reason.OWN_RULE
    command = "moesort-tune sweep --operation align" if kernels == "align" else "moesort-tune sweep"
    assert f"`{command}` makes a table" in caplog.text


def test_revision_of_the_operation_is_checked(tmp_path: Path) -> None:
    """Rows of other code of the align form are not used, as with the sorting form."""
    path = save(tmp_path, table(align_entry(kernels=Kernels(provider="align", revision="old"))))
    assert Dispatcher.load(path, kernels="align", revision="old").entry is not None
    stale = Dispatcher.load(path, kernels="align", revision="new")
    assert stale.entry is None
    assert "its kernels have changed: revision old was measured, new runs" in stale.not_used[0]


def test_process_has_a_dispatcher_for_each_operation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A serving process that sorts and aligns asks both, by the table that its environment names."""
    monkeypatch.setenv("MOESORT_TUNE_TABLE", str(save(tmp_path, table(entry(), align_entry([row(switch=30)])))))
    runtime.reset()
    policies = [runtime.get("gfx942", 304, kernels=kernels).policy(27, 128, 4) for kernels in ("builtin", "align")]
    runtime.reset()
    assert policies == [2, 1]


def test_explanation_names_the_operation_and_no_condition(tmp_path: Path) -> None:
    """A call with any flags is answered by the one condition, so that nothing was measured otherwise."""
    path = save(tmp_path, table(align_entry()))
    for condition in CONDITIONS:
        explanation = Dispatcher.load(path, kernels="align").explain(24, 128, 4, *condition)
        assert (explanation.operation, explanation.condition) == (ALIGN, None)
        assert str(explanation) == (
            f"oneshot (policy 1) for 24 tokens, 128 experts, topk 4, {ALIGN}: exact row (row 128/4); table {path},"
            f" entry of 304 compute units, align, a11f0e, graph, {ALIGN}"
        )


def test_expert_more_for_pairs_of_other_ranks_has_the_row_of_the_model(tmp_path: Path) -> None:
    """SGLang's ids begin with -1, which its callers count as an expert: it is passed like the sentinel of a mask."""
    dispatcher = Dispatcher.load(save(tmp_path, table(align_entry([row(switch=30)]))), kernels="align")
    assert [dispatcher.policy(tokens, 129, 4, masked=True) for tokens in (29, 30)] == [1, 2]
    assert dispatcher.reason(29, 129, 4, masked=True) is Reason.EXACT
    assert dispatcher.reason(29, 129, 4) is Reason.NEAREST_EXPERTS


@pytest.mark.parametrize("condition", CONDITIONS)
def test_rule_has_switches_of_its_own_whatever_a_call_zeroes(condition: Condition) -> None:
    """The align form reads no weights and zeroes nothing, so that its kernels change places elsewhere on an H100."""
    align = registry.get_facts("align")
    steps = align.rule(128, 4, H100, condition)
    assert steps == [(1, "wave"), (33, "oneshot"), ((1750 + 9 * 128) // 4 + 1, "multiphase")]
    assert steps != registry.get_facts("builtin").rule(128, 4, H100, ALIGN_CONDITION)
