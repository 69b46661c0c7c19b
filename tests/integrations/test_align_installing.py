"""The hook around vLLM's and SGLang's alignments: asked for by a variable, in every process, seen by the audit."""

import importlib
import json
import logging
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from moesort_tune.audit import reporter
from moesort_tune.audit.log_lines import read_log
from moesort_tune.audit.record import Record, read
from moesort_tune.cli.main import run as run_command
from moesort_tune.integrations import align, align_switch, import_hook, plugin, sglang, startup, vllm
from moesort_tune.integrations.align_switch import FRAMEWORKS, SGLANG, VLLM
from moesort_tune.operator.align_device import get_align_device
from moesort_tune.operator.torch_device import reset
from moesort_tune.tables import store
from moesort_tune.tables.schema import Kernels
from tests.integrations.align_frameworks import ALIGN_STAND_IN, TAKEN, Frameworks
from tests.integrations.conftest import MakeTable
from tests.sorting.align_cases import make_uniform
from tests.tables import examples

REGISTER = {"vllm": vllm.register, "sglang": sglang.register}

INT16 = {"dtype": torch.int16}


def take_two(topk_ids: Any, num_experts: Any) -> None:
    """Stand for a function of another version."""
    del topk_ids, num_experts


def call(frameworks: Frameworks, package: str, tokens: int = 8, experts: int = 32) -> None:
    """Align a few tokens by a framework's function."""
    if package == "vllm":
        frameworks.call_vllm(make_uniform(tokens, 4, experts, 16))
    else:
        frameworks.call_sglang(make_uniform(tokens, 4, experts, 16, framework="sglang"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the audit."""
    monkeypatch.setenv(reporter.VARIABLE, str(tmp_path / "audit"))
    return tmp_path / "audit"


def read_records(folder: Path) -> list[Record]:
    """Return what this process has written at its end."""
    reporter.stop_all()
    return [read(file) for file in sorted(folder.iterdir())]


@pytest.mark.parametrize("package", REGISTER)
@pytest.mark.parametrize("value", ["", "0"])
def test_nothing_happens_unless_it_is_asked_for(
    frameworks: Frameworks, monkeypatch: pytest.MonkeyPatch, package: str, value: str
) -> None:
    """Protects everybody else: with the variable unset or 0 the framework's own functions run, unwrapped."""
    monkeypatch.setenv(align_switch.VARIABLE, value)
    REGISTER[package]()
    call(frameworks, package)
    assert frameworks.theirs == [32]
    assert align.counts() == {}
    assert not hasattr(frameworks.vllm.moe_align_block_size, "__wrapped__")


def test_value_that_says_nothing_is_off_and_told_once(
    frameworks: Frameworks, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Protects against a typing error: nothing is replaced, and one line says what to set."""
    monkeypatch.setenv(align_switch.VARIABLE, "yes")
    with caplog.at_level(logging.WARNING, logger="moesort_tune"):
        vllm.register()
        vllm.register()
    assert [record.message for record in caplog.records] == [
        "MOESORT_TUNE_ALIGN is 'yes', which says nothing: set it to 1 or 0"
    ]
    call(frameworks, "vllm")
    assert frameworks.theirs == [32]


@pytest.mark.parametrize("package", REGISTER)
@pytest.mark.parametrize("is_early", [True, False])
def test_framework_is_wrapped_whenever_it_is_imported(frameworks: Frameworks, package: str, *, is_early: bool) -> None:
    """Protects the order of a server's start: the plugin comes before or after the module that aligns."""
    if is_early:
        _ = frameworks.vllm, frameworks.sglang
    REGISTER[package]()
    REGISTER[package]()  # a framework may do so again
    call(frameworks, package)
    assert frameworks.theirs == []
    assert align.counts() == {FRAMEWORKS[package].function: {TAKEN: 1}}


def test_function_that_others_have_kept_is_wrapped_and_restored(frameworks: Frameworks) -> None:
    """Protects modules that imported vLLM's function by name before: they follow, there and back."""
    original = frameworks.vllm.moe_align_block_size
    holder: Any = types.ModuleType("holder")
    holder.moe_align_block_size = original
    sys.modules["holder"] = holder
    try:
        vllm.register()
        kept = holder.moe_align_block_size
        assert kept is frameworks.vllm.moe_align_block_size is not original
        align.uninstall()
        assert holder.moe_align_block_size is frameworks.vllm.moe_align_block_size is original
        frameworks.vllm.moe_align_block_size = kept  # somebody may have kept the wrapper
        call(frameworks, "vllm")
        assert frameworks.theirs == [32]
    finally:
        del sys.modules["holder"]


def test_module_that_is_reloaded_is_wrapped_again(frameworks: Frameworks) -> None:
    """Protects against a wrap that a reload takes off."""
    vllm.register()
    importlib.reload(frameworks.vllm)
    call(frameworks, "vllm")
    assert frameworks.theirs == []
    assert align.counts() == {VLLM.function: {TAKEN: 1}}


@pytest.mark.parametrize(
    ("replacement", "words"),
    [
        (None, "its module vllm._custom_ops has no function moe_align_block_size on this platform"),
        (take_two, "its moe_align_block_size has no argument block_size and no"),
    ],
)
def test_framework_of_another_version_is_left_as_it_is(
    *,
    frameworks: Frameworks,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    replacement: Any,
    words: str,
) -> None:
    """Protects upgrades: a function that has changed is not replaced, a line says so, and the audit fails."""
    frameworks.vllm.moe_align_block_size = replacement
    with caplog.at_level(logging.WARNING, logger="moesort_tune"):
        vllm.register()
    assert frameworks.vllm.moe_align_block_size is replacement
    (record,) = caplog.records
    assert f"vLLM is left as it is: {words}" in record.message
    assert read_log([record.message]).faults == [record.message]
    (written,) = read_records(folder)
    assert written.is_faulty
    assert run_command(["audit", str(folder)]) == 1
    assert words in capsys.readouterr().out


def test_wrapper_that_somebody_takes_off_is_a_fault(frameworks: Frameworks, folder: Path) -> None:
    """Protects against a patch of somebody else's that calls would pass by."""
    vllm.register()
    frameworks.vllm.moe_align_block_size = lambda *_: None
    (written,) = read_records(folder)
    assert written.is_faulty
    assert "somebody has replaced vLLM's functions" in written.state


@pytest.mark.parametrize("package", REGISTER)
def test_audit_counts_the_calls_of_each_framework(
    frameworks: Frameworks, folder: Path, capsys: pytest.CaptureFixture[str], package: str
) -> None:
    """Protects the proof: calls taken and left, of which shape and why, with the share of a process and of all."""
    REGISTER[package]()
    for _ in range(9):
        call(frameworks, package)
    function = FRAMEWORKS[package].function
    (written,) = read_records(folder)
    assert (written.function, written.is_faulty, written.software[package]) == (function, False, VERSIONS[package])
    assert run_command(["audit", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f", {function}, started " in lines[0]
    assert f"the calls of {function} are counted here, and done where the kernels support them" in lines[1]
    assert lines[2].startswith(
        f"  32/4  9 calls, 8-8 tokens: {TAKEN}: wave (policy 3) for 8 tokens, 32 experts, topk 4"
    )
    assert lines[3:] == [
        "  taken: 9 of 9 calls (100.0%, 9 of them by a rule, not by a row)",
        f"1 process, of which 1 called {function}: the kernels of moesort-tune do 9 of 9 calls (100.0%, 9 of them by a"
        " rule, not by a row)",
    ]


@pytest.mark.parametrize("package", REGISTER)
def test_audit_says_which_rows_decide(
    *,
    frameworks: Frameworks,
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    package: str,
) -> None:
    """Protects the proof that a table is in use: exact rows and guesses from those of other shapes are kept apart."""
    kernels = get_align_device(frameworks.device).kernels
    device = examples.device(compute_units=kernels.limits.compute_units, lds_bytes=kernels.limits.lds_bytes)
    of_kernels = Kernels(provider="align", revision=kernels.revision)
    entry = examples.align_entry([examples.row(32, 4, switch=21)], device=device, kernels=of_kernels)
    store.save(tmp_path / "table.yaml", examples.table(entry, arch=kernels.limits.arch))
    monkeypatch.setenv("MOESORT_TUNE_TABLE", str(tmp_path / "table.yaml"))
    reset()  # of the dispatchers
    REGISTER[package]()
    call(frameworks, package)
    call(frameworks, package, experts=24)
    call(frameworks, package, experts=33)  # one more than the row's, as a mask of AITER's may have
    assert align.counts() == {FRAMEWORKS[package].function: {"taken: exact row": 1, "taken: nearest experts": 2}}
    reporter.stop_all()
    assert run_command(["audit", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "  taken: 3 of 3 calls (100.0%, 2 of them by a guess)" in out
    assert "  32/4  1 call, 8-8 tokens: taken: exact row\n" in out
    assert "taken: nearest experts: oneshot (policy 1) for 8 tokens, 24 experts, topk 4, moe_align_block_size: " in out


VERSIONS = {"vllm": "0.33.0", "sglang": "0.5.23"}


def test_audit_fails_where_calls_are_left(
    frameworks: Frameworks, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Protects deployments in which the kernels take nothing: the reason is in the report, and the status is 1."""
    vllm.register()
    case = make_uniform(8, 4, 32, 16)
    frameworks.call_vllm(case, topk_ids=torch.from_numpy(case.inputs.topk_ids).to(**INT16))
    frameworks.call_vllm(case)
    reporter.stop_all()
    assert run_command(["audit", str(folder)]) == 1
    out = capsys.readouterr().out
    assert "1 call, 8-8 tokens: left to the framework: not supported by the kernels: topk_ids must be" in out
    assert "do 1 of its 2 calls of moe_align_block_size of vLLM (50.0%), less than 0.9" in out
    assert run_command(["audit", str(folder), "--at-least", "0.5", "--json"]) == 0
    (process,) = json.loads(capsys.readouterr().out)["processes"]
    assert (process["uses"]["taken"], process["uses"]["left to the framework"]) == (1, 1)


def test_audit_fails_where_no_call_has_come(
    frameworks: Frameworks, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Protects against a variable without effect: layers that never call the function are no proof of anything."""
    vllm.register()
    _ = frameworks.vllm
    reporter.stop_all()
    assert run_command(["audit", str(folder)]) == 1
    assert "no process has called moe_align_block_size of vLLM: send a request" in capsys.readouterr().out


def test_process_that_never_imports_the_framework_is_not_judged(
    frameworks: Frameworks, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Protects launchers and API servers, in which the plugin runs too."""
    del frameworks
    vllm.register()
    (written,) = read_records(folder)
    assert (written.state, written.is_faulty) == ("vllm._custom_ops is not imported in this process", False)
    assert run_command(["audit", str(folder)]) == 1
    assert "1 process, of which 0 called moe_align_block_size of vLLM" in capsys.readouterr().out


def test_log_has_the_counts(
    frameworks: Frameworks, caplog: pytest.LogCaptureFixture, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Protects servers on which nobody has named a folder: counts and warnings are in the log."""
    case = make_uniform(8, 4, 32, 16)
    with caplog.at_level(logging.INFO, logger="moesort_tune"):
        vllm.register()
        frameworks.call_vllm(case, topk_ids=torch.from_numpy(case.inputs.topk_ids).to(**INT16))
        for _ in range(9):
            frameworks.call_vllm(case)
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == (
        "moesort-tune does moe_align_block_size of vLLM where its kernels support the call; unset MOESORT_TUNE_ALIGN "
        "to stop it"
    )
    log = tmp_path / "server.log"
    log.write_text("\n".join(lines) + "\n")
    assert run_command(["audit", "--log", str(log)]) == 0
    printed = capsys.readouterr()
    assert "the kernels of moesort-tune do 9 of 10 calls (90.0%, 9 of them by a rule, not by a row)" in printed.out
    assert "logged: the kernels of moesort-tune do not do an alignment of 32 experts, topk 4 for vLLM" in printed.err


def test_table_without_aiter_is_no_fault_where_alignments_are_taken(
    *,
    frameworks: Frameworks,
    no_aiter: None,
    make_table: MakeTable,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Protects NVIDIA machines: the table decides for the alignments there, and nobody expects AITER."""
    del no_aiter
    monkeypatch.setenv("MOESORT_TUNE_TABLE", str(make_table(examples.row(128, 4, switch=21), provider="builtin")))
    with caplog.at_level(logging.WARNING, logger="moesort_tune"):
        vllm.register()
    assert caplog.records == []
    call(frameworks, "vllm")
    assert [record.function for record in read_records(folder)] == [VLLM.function]


def test_failure_of_the_plugin_is_reported(
    frameworks: Frameworks, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Protects the server and its audit: a plugin that fails logs a line, and its process is found."""
    del frameworks

    def fail(_: str) -> bool:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(align, "install", fail)
    with caplog.at_level(logging.WARNING, logger="moesort_tune"):
        vllm.register()
    assert "does nothing in this process for moe_align_block_size of vLLM: a mistake" in caplog.text
    (written,) = read_records(folder)
    assert (written.function, written.is_faulty) == (VLLM.function, True)


def test_plugin_imports_neither_torch_nor_a_framework() -> None:
    """Protects the start of processes that never sort: the plugin costs them a few milliseconds."""
    code = (
        "import sys; from moesort_tune.integrations import sglang, vllm; vllm.register(); sglang.register();"
        "print([name for name in ('torch', 'vllm', 'sglang', 'numpy', 'hip', 'rocm') if name in sys.modules])"
    )
    environment = {"MOESORT_TUNE_ALIGN": "1", "PATH": "", "PYTHONPATH": ":".join(sys.path)}
    answer = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert (answer.stdout, answer.stderr) == ("[]\n", "")


PROGRAM = """
import multiprocessing, sys
import torch
from vllm import _custom_ops as ops

def align():
    ids = torch.arange(32, dtype=torch.int32).reshape(8, 4)
    ops.moe_align_block_size(ids, 32, 16, *(torch.empty(n, dtype=torch.int32) for n in (512, 32, 1)))
    integration = sys.modules.get("moesort_tune.integrations.align")
    print(integration.counts() if integration else "not taken", flush=True)

if __name__ == "__main__":
    align()
    for method in sys.argv[1:]:
        worker = multiprocessing.get_context(method).Process(target=align)
        worker.start()
        worker.join()
"""


def test_every_process_aligns_by_the_start_up_file_alone(tmp_path: Path) -> None:
    """Protects programs that load no plugins, and workers of either kind: each process takes and counts its own."""
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "sitecustomize.py").write_text(startup.LINE)  # as Python runs the file of site-packages
    environment = {name: value for name, value in os.environ.items() if name != "MOESORT_TUNE_TABLE"}
    environment |= {
        "PYTHONPATH": ":".join([str(tmp_path), str(ALIGN_STAND_IN), *sys.path]),
        "MOESORT_TUNE_RUNTIME": "host",
        "MOESORT_HOST_CHECK": "0",
        reporter.VARIABLE: str(tmp_path / "audit"),
    }

    def run(*methods: str, **variables: str) -> list[str]:
        command = [sys.executable, str(tmp_path / "program.py"), *methods]
        done = subprocess.run(
            command, env=environment | variables, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    assert run() == ["not taken"]
    assert run("spawn", "fork", MOESORT_TUNE_ALIGN="1") == [str({VLLM.function: {TAKEN: 1}})] * 3
    records = [read(file) for file in (tmp_path / "audit").iterdir()]
    assert len({record.process.pid for record in records}) == 3
    assert {sum(calls.calls for calls in record.calls) for record in records} == {1}


def test_start_up_file_waits_for_both_frameworks_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects virtual environments, whose Python reads the file twice: every import would pass twice the hooks."""
    waited: list[str] = []
    monkeypatch.setenv(align_switch.VARIABLE, "1")
    monkeypatch.delenv("MOESORT_TUNE_TABLE", raising=False)
    monkeypatch.setattr(import_hook.WhenImported, "start", lambda self: waited.append(self._name))
    startup.wait_for_alignments.cache_clear()
    startup.wait_for_frameworks()
    startup.wait_for_frameworks()
    startup.wait_for_alignments.cache_clear()
    assert waited == [VLLM.module, SGLANG.module]


def test_status_says_what_the_variables_ask_for(tmp_path: Path) -> None:
    """Protects whoever looks for why nothing is taken: file, variable and frameworks are on one screen."""
    environment = {"PATH": "", "PYTHONPATH": ":".join(sys.path)}

    def run(**variables: str) -> list[str]:
        command = [sys.executable, "-m", "moesort_tune.integrations", "status"]
        done = subprocess.run(command, env=environment | variables, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()[1:]

    assert run() == [
        "MOESORT_TUNE_TABLE: not set, so AITER is not steered",
        "MOESORT_TUNE_ALIGN: not set; vLLM and SGLang align by themselves",
    ]
    assert run(MOESORT_TUNE_ALIGN="yes")[1:] == [
        "MOESORT_TUNE_ALIGN: 'yes', which says nothing: set it to 1 or 0; vLLM and SGLang align by themselves",
    ]
    with_both = environment["PYTHONPATH"] + f":{ALIGN_STAND_IN}"
    assert run(MOESORT_TUNE_TABLE=str(tmp_path), MOESORT_TUNE_ALIGN="1", PYTHONPATH=with_both) == [
        f"MOESORT_TUNE_TABLE: {tmp_path}",
        "MOESORT_TUNE_ALIGN: on, for vLLM and SGLang",
    ]


def test_file_of_an_earlier_version_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects upgrades: the file of a version that knew no alignments still steers AITER, and status says so."""
    monkeypatch.setattr(startup, "get_path", lambda: tmp_path / startup.NAME)
    (tmp_path / startup.NAME).write_text(
        'import os; __import__("moesort_tune.integrations.startup").integrations.startup.wait_for_aiter()\n'
    )
    assert startup.is_installed()
    assert not startup.is_current()
    startup.install()
    assert startup.is_current()


def test_unknown_framework_is_refused() -> None:
    """Protects code of one's own from a typing error."""
    with pytest.raises(ValueError, match="must be vllm or sglang, got 'vlm'"):
        align.install("vlm")


def test_framework_without_alignments_is_none_of_the_hooks(frameworks: Frameworks) -> None:
    """Protects ATOM's processes, which have an AITER and no moe_align_block_size."""
    del frameworks
    plugin.register_align("atom")
    assert align.counts() == {}
