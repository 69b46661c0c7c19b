"""Several tables, conditions and products for one process: which of their entries decides a call."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from moesort_tune import runtime, shipped
from moesort_tune.device.architectures import ARCHITECTURES
from moesort_tune.domain.device import DeviceLimits
from moesort_tune.providers.facts.builtin import PROVIDER
from moesort_tune.runtime import Dispatcher, Reason
from moesort_tune.runtime.search import RequiredTableError
from moesort_tune.tables import store
from moesort_tune.tables.schema import Entry, Evidence
from tests.tables.examples import device, entry, row, sweep, table


@pytest.fixture
def shipped_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A shipped table of 128/4 and 64/4, and nothing attached."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    path = folder / "gfx942.yaml"
    store.save(path, table(entry([row(64, 4, 40), row(128, 4, 25)])))
    for variable in ("MOESORT_TUNE_TABLE", "MOESORT_TUNE_ARCH", "MOESORT_TUNE_REQUIRE", "MOESORT_TUNE_MISSES"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(shipped, "get_tables_folder", lambda: folder)
    monkeypatch.setattr(runtime.dispatcher, "_find_attached", lambda: None)
    runtime.reset()
    yield path
    runtime.reset()


def save_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *entries: Entry) -> Path:
    """Write a table and name it by MOESORT_TUNE_TABLE."""
    path = tmp_path / "own.yaml"
    store.save(path, table(*entries))
    monkeypatch.setenv("MOESORT_TUNE_TABLE", str(path))
    return path


def get() -> Dispatcher:
    """Return the process's dispatcher of an MI300X."""
    return runtime.get(arch="gfx942", compute_units=304)


def test_own_row_does_not_hide_shipped_exact_rows(
    shipped_table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects who swept one shape: the shipped rows of other shapes still decide, and explain names their file."""
    own = save_own(tmp_path, monkeypatch, entry([row(128, 4, 100)]))
    reported = get().explain(30, 64, 4)
    assert (reported.kernel, reported.reason, reported.table) == ("oneshot", Reason.EXACT, shipped_table)
    assert str(reported).endswith(f"; {own} has no such row")
    reported = get().explain(30, 128, 4)
    assert "has no such row" not in str(reported)
    assert (reported.kernel, reported.reason, reported.table) == ("oneshot", Reason.EXACT, own)
    assert get().explain(30, 96, 4).table == own  # a guess either way, and the own table comes first


def test_condition_of_the_call_chooses_the_entry(
    shipped_table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects calls without moe_buf, whose crossover lies elsewhere; where an entry is missing explain says so."""
    save_own(tmp_path, monkeypatch, entry([row(128, 4, 100)], sweep=sweep(moe_buf=False)))
    dispatcher = get()
    assert dispatcher.policy(50, 128, 4, moe_buf=False) == 1
    assert dispatcher.policy(50, 128, 4) == 2
    reported = dispatcher.explain(50, 128, 4, masked=True)
    assert (reported.kernel, reported.table) == ("multiphase", shipped_table)
    assert "50 tokens, 128 experts, topk 4, with moe_buf, masked" in str(reported)
    assert str(reported).endswith(", measured with moe_buf")
    assert dispatcher.policy(50, 128, 4, moe_buf=False) == 1  # from the memo
    assert dispatcher.counts() == {"exact row": 3}


def test_product_of_the_device_comes_before_the_place(
    shipped_table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects an MI325X beside an MI300X: both have 304 compute units; another product is used and named."""
    mi300x = entry([row(128, 4, 25)], device=device(name="MI300X", id="0x74a1"))
    mi325x = entry([row(128, 4, 100)], device=device(name="MI325X", id="0x74a5"))
    save_own(tmp_path, monkeypatch, mi300x, mi325x)
    assert runtime.get("gfx942", 304, device_id="0x74a5").policy(50, 128, 4) == 1
    assert runtime.get("gfx942", 304, device_id="0x74b5").policy(50, 128, 4) == 2  # a virtual MI300X
    other = runtime.get("gfx942", 304, device_id="0x74a9").explain(50, 128, 4)
    assert "measured on another product (MI300X)" in str(other)
    assert shipped_table.exists()


def test_required_digest_admits_that_very_file_alone(
    shipped_table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects fleets that must decide alike: any other file is an error, and no later place is read."""
    own = save_own(tmp_path, monkeypatch, entry([row(128, 4, 100)]))
    digest = hashlib.sha256(own.read_bytes()).hexdigest()
    monkeypatch.setenv("MOESORT_TUNE_REQUIRE", digest.upper())
    assert get().explain(30, 64, 4).table == own  # the shipped exact row is not read
    runtime.reset()
    monkeypatch.setenv("MOESORT_TUNE_REQUIRE", "0" * 64)
    with pytest.raises(RequiredTableError, match=f"has the digest {digest}, and MOESORT_TUNE_REQUIRE is 0{{64}}$"):
        get()
    own.unlink()
    with pytest.raises(RequiredTableError, match=r"own\.yaml does not exist"):
        get()
    monkeypatch.delenv("MOESORT_TUNE_TABLE")
    with pytest.raises(RequiredTableError, match="names no table"):
        get()
    assert shipped_table.exists()


def test_required_table_that_cannot_decide_here_is_an_error(
    shipped_table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects fleets that must decide alike from a machine that goes by its rule: another arch, an unknown one."""
    own = save_own(tmp_path, monkeypatch, entry([row(128, 4, 100)]))
    monkeypatch.setenv("MOESORT_TUNE_REQUIRE", hashlib.sha256(own.read_bytes()).hexdigest())
    with pytest.raises(RequiredTableError, match="is of gfx942, and this device is gfx950"):
        runtime.get(arch="gfx950", compute_units=256)
    monkeypatch.setenv("MOESORT_TUNE_TABLE", str(shipped_table.parent))
    with pytest.raises(RequiredTableError, match="the architecture is not known"):
        runtime.get()
    own.write_text("tables: [")
    monkeypatch.setenv("MOESORT_TUNE_TABLE", str(own))
    monkeypatch.setenv("MOESORT_TUNE_REQUIRE", hashlib.sha256(own.read_bytes()).hexdigest())
    with pytest.raises(RequiredTableError, match=r"own\.yaml"):
        get()


def test_device_id_that_is_no_text_is_refused() -> None:
    """Protects from another product's rows: a number would match none."""
    with pytest.raises(TypeError, match="device_id must be a str"):
        runtime.get(arch="gfx942", device_id=0x74A1)  # type: ignore[arg-type]


@pytest.mark.parametrize(("topk", "moe_buf"), [(5, True), (4, False)])
def test_builtin_rule_decides_without_a_table(shipped_table: Path, topk: int, moe_buf: bool) -> None:
    """Protects the figures of builtin_rule.py on NVIDIA GPUs, where they were measured."""
    assert shipped_table.exists()
    dispatcher = runtime.get(arch="sm_80", compute_units=108)
    wave, last = 64 // topk, (1000 + 12 * 128) // topk
    decided = [dispatcher.policy(tokens, 128, topk, moe_buf) for tokens in (wave, wave + 1, last, last + 1)]
    assert decided == [3, 1, 1, 2]
    assert dispatcher.explain(last, 128, topk, moe_buf).reason is Reason.OWN_RULE


@pytest.mark.parametrize(
    ("topk", "tokens", "decided"),
    [(4, (16, 17, 634, 635, 1300, 1301), (3, 1, 1, 2, 2, 1)), (2, (32, 33, 1269), (3, 1, 1))],
)
def test_builtin_rule_takes_oneshot_where_zeroing_hides_it(
    shipped_table: Path, topk: int, tokens: tuple[int, ...], decided: tuple[int, ...]
) -> None:
    """Protects calls with a moe_buf and few slots a token, as far as oneshot goes; then multiphase is left."""
    assert shipped_table.exists()
    dispatcher = runtime.get(arch="sm_80", compute_units=108)
    device = DeviceLimits("sm_80", 108, 32, ARCHITECTURES["sm_80"].lds_bytes)
    limit = PROVIDER.facts.limits(128, topk, device)["oneshot"]
    asked = (*tokens, limit, limit + 1)
    assert tuple(dispatcher.policy(count, 128, topk, True) for count in asked) == (*decided, 1, 2)


def test_row_claims_nothing_beyond_what_was_measured(
    shipped_table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects who swept 1 to 16 tokens: at 2000 the rule decides, which asks for multiphase past 1024."""
    save_own(tmp_path, monkeypatch, entry([row(256, 8, None, evidence=Evidence(tokens=(1, 16)), limits={})]))
    assert [get().policy(tokens, 256, 8) for tokens in (16, 1000, 2000)] == [1, 1, 2]
    assert get().explain(2000, 256, 8).reason is Reason.BEYOND
    assert shipped_table.exists()
