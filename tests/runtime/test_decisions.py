"""The dispatcher's decisions in a serving process."""

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from moesort_tune import runtime
from moesort_tune.runtime import Dispatcher, Reason
from moesort_tune.sorting.geometry import compute_oneshot_max_tokens
from moesort_tune.tables import store
from moesort_tune.tables.errors import TableError
from moesort_tune.tables.schema import Evidence, Kernels, Table
from tests.tables.examples import EXAMPLE, device, entry, make_published_entry, row, table


@pytest.fixture(autouse=True)
def _no_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this machine decides: no variables, no attached GPU, no warnings given before."""
    for variable in ("MOESORT_TUNE_TABLE", "MOESORT_TUNE_ARCH", "MOESORT_TUNE_MISSES"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(runtime.dispatcher, "_find_attached", lambda: None)
    monkeypatch.setattr(runtime.dispatcher, "_warned", {})


def save_table(folder: Path, one: Table | None = None, name: str = "gfx942.yaml") -> Path:
    """Return a file with this table, by default the example's."""
    store.save(folder / name, one or table())
    return folder / name


def test_documented_example_decides(tmp_path: Path) -> None:
    """The calls that the documentation shows, on the table that it shows."""
    (tmp_path / "gfx942.yaml").write_text(EXAMPLE)
    dispatcher = Dispatcher.load(tmp_path / "gfx942.yaml", compute_units=304)
    assert dispatcher.policy(tokens=24, num_experts=128, topk=4) == 1
    assert dispatcher.policy(tokens=32, num_experts=128, topk=4) == 2
    reported = dispatcher.explain(tokens=24, num_experts=128, topk=4)
    assert (reported.kernel, reported.reason, reported.row) == ("oneshot", "exact row", dispatcher.entry.rows[0])  # type: ignore[union-attr]
    assert str(reported) == (
        "oneshot (policy 1) for 24 tokens, 128 experts, topk 4: exact row (row 128/4), in a tie;"
        f" table {tmp_path}/gfx942.yaml, entry of 304 compute units, builtin, 5c1e0f, graph"
    )
    assert dispatcher.counts() == {"exact row": 2}


def test_counts_tell_each_reason(tmp_path: Path) -> None:
    """Asked once or many times, remembered or not; explain does not count."""
    rows = [row(64, 4, 40), row(128, 4, 20)]
    dispatcher = Dispatcher.load(save_table(tmp_path, table(entry(rows))))
    for tokens in (0, 8, 8, 8, 20_000):
        dispatcher.policy(tokens, 128, 4)
    dispatcher.policy(8, 96, 4)
    dispatcher.explain(8, 96, 4)
    assert dispatcher.counts() == {
        "exact row": 3,
        "no tokens": 1,
        "beyond the swept range": 1,
        "neighbours": 1,
    }


def test_decision_is_the_same_whether_remembered_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The memo is bounded: forgetting everything again and again changes nothing."""
    monkeypatch.setattr(runtime.dispatcher, "MEMO_SHAPES", 7)
    monkeypatch.setattr(runtime.dispatcher, "PLAN_SHAPES", 2)
    dispatcher = Dispatcher.load(save_table(tmp_path))
    asked = [(tokens, experts) for experts in (8, 64, 128, 500) for tokens in range(40)]
    once = [dispatcher.policy(tokens, experts, 4) for tokens, experts in asked]
    assert [dispatcher.policy(tokens, experts, 4) for tokens, experts in asked] == once
    assert [dispatcher.explain(tokens, experts, 4).policy for tokens, experts in asked] == once
    assert len(dispatcher._memo) <= 7
    assert len(dispatcher._plans) <= 2
    assert sum(dispatcher.counts().values()) == 2 * len(asked)


def test_many_threads_get_the_same_decisions_and_lose_no_count(tmp_path: Path) -> None:
    """No lock on the way, and still every answer right and every one counted."""
    dispatcher = Dispatcher.load(save_table(tmp_path))
    answers: list[list[int]] = []

    def ask() -> None:
        answers.append([dispatcher.policy(tokens % 50, 128, 4) for tokens in range(5000)])

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [[1 if tokens % 50 < 25 else 2 for tokens in range(5000)]] * 4
    assert sum(dispatcher.counts().values()) == 20_000


@pytest.mark.parametrize(("tokens", "num_experts", "topk"), [(-1, 128, 4), (8, 0, 4), (8, 128, 0)])
def test_shape_that_cannot_be_is_an_error(tmp_path: Path, tokens: int, num_experts: int, topk: int) -> None:
    """Asked again it is one again: it is not remembered as something else."""
    dispatcher = Dispatcher.load(save_table(tmp_path))
    for ask in (dispatcher.policy, dispatcher.policy, dispatcher.explain):
        with pytest.raises(ValueError, match=f"got tokens={tokens}, num_experts={num_experts}, topk={topk}"):
            ask(tokens, num_experts, topk)
    assert dispatcher.counts() == {}


def test_decision_is_clipped_by_the_limit_of_the_entrys_device(tmp_path: Path) -> None:
    """A table that always takes oneshot: 60 experts have a limit of their own, on 64 KiB of LDS."""
    rows = [row(64, 4, None, limits={"oneshot": 1 << 20})]
    dispatcher = Dispatcher.load(save_table(tmp_path, table(entry(rows))))
    longest = compute_oneshot_max_tokens(60, 4, 65536)
    assert [dispatcher.policy(tokens, 60, 4) for tokens in (longest, longest + 1)] == [1, 2]
    assert dispatcher.explain(longest + 1, 60, 4).reason is Reason.CLIPPED


@pytest.mark.parametrize("num_experts", [8, 64, 60, 1024])
def test_table_that_boasts_of_lds_is_clipped_by_what_the_architecture_has(tmp_path: Path, num_experts: int) -> None:
    """A kernel launched with more LDS than there is fails: a table's text cannot make it legal."""
    everywhere = Evidence(tokens=(1, 1 << 20))
    rows = [row(experts, 4, None, limits={}, evidence=everywhere) for experts in (8, 64, 1024)]
    boasting = entry(rows, device=device(lds_bytes=1 << 24))
    dispatcher = Dispatcher.load(save_table(tmp_path, table(boasting)))
    longest = compute_oneshot_max_tokens(num_experts, 4, 65536)
    assert [dispatcher.policy(tokens, num_experts, 4) for tokens in (longest, longest + 1, 65_000)] == [1, 2, 2]
    assert dispatcher.explain(65_000, num_experts, 4).reason is Reason.CLIPPED


def test_lds_of_an_architecture_that_is_not_known_is_what_its_table_says(tmp_path: Path) -> None:
    """So is that of `host`, which is set by a variable."""
    for arch in ("gfx1300", "host"):
        boasting = entry([row(64, 4, None, limits={"oneshot": 1 << 20})], device=device(lds_bytes=1 << 20))
        dispatcher = Dispatcher.load(save_table(tmp_path, table(boasting, arch=arch), f"{arch}.yaml"))
        longest = compute_oneshot_max_tokens(64, 4, 1 << 20)
        assert longest > compute_oneshot_max_tokens(64, 4, 65536)
        assert [dispatcher.policy(tokens, 64, 4) for tokens in (longest, longest + 1)] == [1, 2]


def test_less_lds_than_the_architecture_has_is_believed(tmp_path: Path) -> None:
    """A driver may keep some of it for itself."""
    modest = entry([row(64, 4, None, limits={"oneshot": 1 << 20})], device=device(lds_bytes=16384))
    dispatcher = Dispatcher.load(save_table(tmp_path, table(modest)))
    longest = compute_oneshot_max_tokens(64, 4, 16384)
    assert [dispatcher.policy(tokens, 64, 4) for tokens in (longest, longest + 1)] == [1, 2]


def test_without_a_usable_entry_the_kernels_rule_decides_and_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The table is of other kernels: it is not used, and the log says so once."""
    path = save_table(tmp_path)
    for _ in range(3):
        dispatcher = Dispatcher.load(path, revision="other")
    assert [dispatcher.policy(tokens, 128, 4) for tokens in (1024, 1025)] == [1, 2]
    assert dispatcher.explain(1024, 128, 4).reason is Reason.OWN_RULE
    assert "its kernels have changed: revision 5c1e0f was measured, other runs" in str(dispatcher.explain(1, 128, 4))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "the builtin rule decides" in caplog.text


def test_aiters_own_kernels_are_left_alone_without_an_entry(tmp_path: Path) -> None:
    """Policy 0 is handed through: AITER's rule for AITER's kernels is in AITER."""
    dispatcher = Dispatcher.load(save_table(tmp_path), kernels="aiter")
    assert [dispatcher.policy(tokens, 128, 4) for tokens in (0, 1, 100_000)] == [0, 0, 0]
    assert dispatcher.explain(1, 128, 4).kernel == "automatic"


def test_aiters_kernels_are_steered_within_aiters_limits(tmp_path: Path) -> None:
    """Forced, its oneshot takes any token count below 819 experts and never ends from there on."""
    everywhere: dict[str, Any] = {"limits": {"oneshot": 1 << 23}, "evidence": Evidence(tokens=(1, 1 << 23))}
    rows = [row(512, 10, None, **everywhere), row(1024, 10, None, **everywhere)]
    kernels = Kernels(provider="aiter", revision="1")
    dispatcher = Dispatcher.load(save_table(tmp_path, table(entry(rows, kernels=kernels))), kernels="aiter")
    assert [dispatcher.policy(100_000, experts, 10) for experts in (512, 818, 819, 1024)] == [1, 1, 2, 2]
    assert dispatcher.policy(0, 1024, 10) == 2


def test_published_figures_serve_who_names_their_file(tmp_path: Path) -> None:
    """Found in a folder they do not: nobody measured them here."""
    save_table(tmp_path, table(make_published_entry()))
    named = Dispatcher.load(tmp_path / "gfx942.yaml", kernels="aiter", compute_units=304)
    assert named.policy(40, 128, 4) == 2
    found = Dispatcher.load(tmp_path, arch="gfx942", kernels="aiter", compute_units=304)
    assert found.policy(40, 128, 4) == 0
    assert "used only where their file is named" in str(found.explain(40, 128, 4))


def test_folder_gives_the_table_of_the_architecture(tmp_path: Path) -> None:
    """Written as HIP writes it; a folder without it is no error, since AITER's rule remains."""
    save_table(tmp_path)
    assert Dispatcher.load(tmp_path, arch="gfx942:sramecc+:xnack-").entry == entry()
    assert Dispatcher.load(tmp_path, arch="gfx950").not_used == (f"{tmp_path} holds no gfx950.yaml",)
    assert "pass arch= or set MOESORT_TUNE_ARCH" in Dispatcher.load(tmp_path).not_used[0]


def test_nearest_compute_units_serve_with_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The warning names both numbers; a hundred dispatchers give it once."""
    path = save_table(tmp_path, table(entry(device=device(compute_units=80)), entry()))
    for _ in range(3):
        assert Dispatcher.load(path, compute_units=100).entry == entry(device=device(compute_units=80))
    assert len(caplog.records) == 1
    assert "no entry for gfx942 with 100 compute units; the one with 80 is used" in caplog.text


def test_load_refuses_what_is_wrong_at_once(tmp_path: Path) -> None:
    """A file that was named must be there and be a table; values must make sense."""
    with pytest.raises(TableError, match="does not exist"):
        Dispatcher.load(tmp_path / "none.yaml")
    (tmp_path / "broken.yaml").write_text("schema: 3\n")
    with pytest.raises(TableError, match="schema: 3 is newer"):
        Dispatcher.load(tmp_path / "broken.yaml")
    with pytest.raises(ValueError, match="kernels must be builtin or aiter or align, got 'mine'"):
        Dispatcher.load(save_table(tmp_path), kernels="mine")
    with pytest.raises(ValueError, match="compute_units must be at least 1, got 0"):
        Dispatcher.load(save_table(tmp_path), compute_units=0)
    with pytest.raises(ValueError, match="expected an architecture name"):
        Dispatcher.load(save_table(tmp_path), arch="MI300X!")


def test_importing_the_runtime_loads_nothing_heavy(tmp_path: Path) -> None:
    """A serving process pays for the table and nothing else, and needs none of the tools that make one."""
    program = """
import sys
from moesort_tune import runtime
runtime.Dispatcher.load(sys.argv[1], arch="gfx942", compute_units=304).policy(tokens=1, num_experts=8, topk=2)
heavy = {"torch", "numpy", "click", "rich", "hip", "rocm", "matplotlib", "filelock", "platformdirs", "logging"}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, save_table(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
