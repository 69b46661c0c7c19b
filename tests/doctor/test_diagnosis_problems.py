"""Doctor's problems for recorded states of machines."""

from dataclasses import replace

import pytest

from moesort_tune.device import remedies
from moesort_tune.device.amd_libraries import Candidate
from moesort_tune.device.installed import Package
from moesort_tune.device.kfd import KfdGpu
from moesort_tune.device.machine import Machine
from moesort_tune.device.remedies import REMEDIES, Symptom
from moesort_tune.doctor.diagnosis import (
    CacheState,
    CompilerState,
    Failure,
    MeasuredDevice,
    Problem,
    RuntimeState,
    State,
    TableState,
    find_problems,
)
from tests.doctor import states


def find_serious(state: State) -> list[Problem]:
    """Return the serious problems."""
    return [problem for problem in find_problems(state) if problem.serious]


def find_one(subject: str, state: State) -> Problem:
    """Return the only problem of a subject."""
    (found,) = [problem for problem in find_problems(state) if problem.subject == subject]
    return found


def test_machine_without_a_gpu_has_nothing_to_put_right() -> None:
    """Protects newcomers: a machine without a GPU is not broken."""
    assert find_serious(states.BARE) == []
    assert find_one("GPU", states.BARE).remedy.startswith("nothing is wrong: everything but a GPU's timings works")


def test_everything_that_is_said_has_a_remedy() -> None:
    """Protects the promise of the command: each line has a remedy."""
    dead = RuntimeState("amd", failure=Failure("its process ended with SIGSEGV"))
    for state in (states.BARE, states.CONTAINER, states.with_amd(dead), replace(states.BARE, hip_python=None)):
        assert all(problem.remedy for problem in find_problems(state))


def test_fitting_container_only_lacks_a_table() -> None:
    """Protects the machine that this project is for: the one thing left is to measure."""
    assert [problem.subject for problem in find_problems(states.CONTAINER)] == ["table"]
    assert find_one("table", states.CONTAINER).what == "there is none for gfx942 yet"


def test_failure_of_an_attached_gpu_is_serious_and_keeps_its_remedy() -> None:
    """Protects the remedy of the HIP error itself."""
    failure = Failure("hipGetDeviceCount failed with hipErrorNoDevice (100)", REMEDIES["kfd forbidden"])
    machine = replace(states.CONTAINER.machine, forbidden=("/dev/kfd",))
    found = find_one("amd runtime", states.with_amd(RuntimeState("amd", "/opt/rocm/x.so", failure=failure), machine))
    assert found == Problem("amd runtime", failure.what, REMEDIES["kfd forbidden"], serious=True)


def test_installed_rocm_without_a_gpu_is_not_a_problem() -> None:
    """Protects build machines: ROCm is installed, a GPU is neither attached nor expected."""
    failure = Failure("hipGetDeviceCount failed with hipErrorNoDevice (100)", REMEDIES["no kfd"])
    state = states.with_amd(RuntimeState("amd", "/opt/rocm/x.so", "7.2.53211", failure=failure), Machine())
    assert find_serious(state) == []
    assert find_one("GPU", state).what == "none is attached (there is no /dev/kfd)"


def test_gpu_without_kernels_is_named_but_not_serious() -> None:
    """Protects laptops whose processor has an AMD GPU: the host runtime is theirs."""
    machine = Machine(kfd=True, kfd_gpus=(KfdGpu(1, "gfx1103", 12, 65536),))
    state = replace(states.BARE, machine=machine)
    assert find_serious(state) == []
    assert find_one("GPU", state).what.startswith("a gfx1103 is attached; the kernels are for gfx90a, gfx942, gfx950")


def test_too_old_rocm_is_reported_by_what_it_lacks() -> None:
    """Protects distributions' old packages: the missing call is reported, not its consequences."""
    old = RuntimeState("amd", "/usr/lib/x.so.5", "5.2.21153", missing_calls=("hipGetDevicePropertiesR0600",))
    found = find_one("amd runtime", states.with_amd(old))
    assert found.what == "/usr/lib/x.so.5 (HIP 5.2.21153) lacks hipGetDevicePropertiesR0600"
    assert found.remedy == REMEDIES["missing call"]
    assert found.serious


def test_missing_hiprtc_is_serious_where_there_is_a_device() -> None:
    """Protects a GPU for which nothing can be compiled."""
    state = states.with_amd(replace(states.AMD, compiler="", compiler_failure=Failure("libhiprtc.so is not there")))
    assert find_one("amd run-time compiler", state).remedy == REMEDIES["no hiprtc"]
    assert find_serious(state) == [find_one("amd run-time compiler", state)]


@pytest.mark.parametrize(
    ("version", "release", "command", "is_serious"),
    [
        ("10.0.0.0.1.2", "7.2.0", "pip install 'hip-python~=7.2.0'", True),
        ("7.2.2.562.43", "6.4.1", "pip install 'hip-python~=6.4.0'", True),
        ("7.1.0.555.40", "7.2.0", "pip install 'hip-python~=7.2.0'", False),
    ],
)
def test_hip_python_of_another_release_is_answered_with_the_command(
    version: str, release: str, command: str, is_serious: bool
) -> None:
    """Protects the exact pip command for the ROCm that is there."""
    state = replace(
        states.CONTAINER,
        hip_python=Package("hip-python", version, "/site"),
        rocm=(Candidate("/opt/rocm/lib/libamdhip64.so", "/opt/rocm", release),),
    )
    found = find_one("hip-python", state)
    assert (found.remedy, found.serious) == (command, is_serious)
    assert found.what.startswith(f"{version} was not made for ROCm")


def test_rocm_that_hides_its_release_is_reported_by_its_hip_version() -> None:
    """Protects distributions' ROCm, which has no .info/version."""
    rocm = (Candidate("libamdhip64.so.6", "the loader"),)
    state = replace(states.with_amd(replace(states.AMD, hip_version="6.4.43483")), rocm=rocm)
    assert find_one("hip-python", state).remedy == "pip install 'hip-python~=6.4.0'"


def test_hip_version_of_rocm_10_is_not_taken_for_its_release() -> None:
    """Protects ROCm 10, whose HIP calls itself 7.15."""
    rocm = (Candidate("libamdhip64.so.7", "the loader"),)
    state = replace(states.with_amd(replace(states.AMD, hip_version="7.15.26333")), rocm=rocm)
    assert state.rocm_release is None
    assert not any(problem.subject == "hip-python" for problem in find_problems(state))


def test_missing_hip_python_is_said_once() -> None:
    """Protects against the same cause under the name of every runtime."""
    failed = tuple(RuntimeState(name, failure=Failure("hip-python cannot be imported")) for name in ("amd", "cuda"))
    state = replace(states.CONTAINER, hip_python=None, runtimes=(*failed, states.HOST))
    assert [(problem.subject, problem.remedy) for problem in find_serious(state)] == [
        ("hip-python", "pip install 'hip-python~=7.2.0'")
    ]


def test_torch_for_another_gpu_is_named_on_an_amd_machine() -> None:
    """Protects the common accident: pip's own torch over the container's ROCm build."""
    torch = Package("torch", "2.13.0", "/site/torch", "CUDA 13.0")
    found = find_one("torch", replace(states.CONTAINER, torch=torch))
    assert found.what == "2.13.0 is a CUDA 13.0 build on a machine with an AMD GPU"


def test_aiter_that_is_too_old_is_reported_with_the_version_to_install() -> None:
    """Protects a sweep of AITER's kernels from an error at its end: doctor reports beforehand what is missing."""
    old = Package("aiter", "0.1.13", "/opt/venv/aiter", lacks="the argument workspace of moe_sorting_opus_fwd")
    found = find_one("aiter", replace(states.BARE, aiter=old))
    what = "0.1.13 in /opt/venv/aiter lacks the argument workspace of moe_sorting_opus_fwd"
    assert found == Problem("aiter", what, REMEDIES["aiter too old"], serious=False)
    assert "v0.1.14" in found.remedy


def test_refused_table_is_serious_and_reported_with_its_reason() -> None:
    """Protects a deployment against a table that is silently not used."""
    table = TableState("t.yaml", "MOESORT_TUNE_TABLE", refused="t.yaml: tables[0].rows[3].topk: expected int >= 1")
    found = find_one("table", replace(states.BARE, tables=(table, _make_table("host", REVISIONS["host"]))))
    assert (found.what, found.serious) == (table.refused, True)


def test_table_of_other_kernels_is_reported_by_their_revision() -> None:
    """Protects against stale tables: the file exists, but none of its decisions are used."""
    state = replace(states.BARE, tables=(_make_table("host", "older"),))
    assert find_one("table", state).what == "host.yaml was measured with other kernels than these (40d6000000000000)"


@pytest.mark.parametrize(
    ("measured", "what"),
    [
        ([("AMD Instinct MI300X VF", "0x74b5")], None),
        ([("AMD Instinct MI325X", "0x74a5"), ("AMD Instinct MI300X", "0x74a1")], None),
        ([("AMD Instinct MI300X", "")], None),
        ([("AMD Instinct MI325X", "0x74a5")], "t.yaml was measured on MI325X (0x74a5), and this is MI300X (0x74a1)"),
        ([("AMD Instinct MI325X", "")], "t.yaml was measured on AMD Instinct MI325X, and this is MI300X (0x74a1)"),
    ],
)
def test_table_of_another_product_is_a_note(measured: list[tuple[str, str]], what: str | None) -> None:
    """Its decisions are used; only a product that has no entry of its own is worth a word."""
    devices = tuple(MeasuredDevice(name, 304, device_id) for name, device_id in measured)
    amd = replace(states.AMD, devices=(replace(states.MI300X_DEVICE, device_id="0x74a1"),))
    state = replace(states.with_amd(amd), tables=(TableState("t.yaml", "./tables", "gfx942", (304,), devices=devices),))
    expected = [Problem("table", what, REMEDIES["table of another product"], serious=False)] if what else []
    assert [problem for problem in find_problems(state) if problem.subject == "table"] == expected


def test_table_that_nobody_measured_does_not_count_where_only_its_folder_is_known() -> None:
    """Protects the note that a sweep is missing, and a product from a table that was 'measured on' another."""
    devices = (MeasuredDevice("AMD Instinct MI325X", 304, "0x74a5", "modelled"),)
    amd = replace(states.AMD, devices=(replace(states.MI300X_DEVICE, device_id="0x74a1"),))
    table = TableState("t.yaml", "./tables", "gfx942", (304,), devices=devices)
    state = replace(states.with_amd(amd), tables=(table,))
    assert find_one("table", state).what == "there is none for gfx942 yet"
    named = replace(state, tables=(replace(table, origin="MOESORT_TUNE_TABLE", is_named=True),))
    assert not any(problem.subject == "table" for problem in find_problems(named))


def test_published_table_is_not_called_stale() -> None:
    """Protects tables of published figures, which carry no revision."""
    state = replace(states.BARE, tables=(TableState("p.yaml", "shipped", "host", (4,), ()),))
    assert not any(problem.subject == "table" for problem in find_problems(state))


def test_folder_that_cannot_be_written_is_serious() -> None:
    """Protects read-only containers: nothing can be compiled there."""
    state = replace(
        states.BARE, cache=CacheState("/cache", Failure("cannot write into /cache (Read-only file system)"))
    )
    assert find_one("cache", state).remedy == REMEDIES["cache not writable"]
    assert find_one("cache", state).serious


def test_complete_cache_need_not_be_written() -> None:
    """Protects read-only images that contain all compiled code: nothing has to be fixed."""
    read_only = CacheState("/cache", Failure("cannot write into /cache (Permission denied)"), is_readable=True)
    complete = replace(states.HOST, is_compiled=True)
    state = replace(states.BARE, cache=read_only, runtimes=(states.ABSENT_AMD, states.ABSENT_CUDA, complete))
    assert find_serious(state) == []
    assert [problem.subject for problem in find_serious(replace(state, runtimes=states.BARE.runtimes))] == ["cache"]
    untrusted = CacheState("", Failure("/cache can be written by others (mode 0777)"))
    assert [problem.subject for problem in find_serious(replace(state, cache=untrusted))] == ["cache"]


def test_missing_compiler_is_said_where_an_earlier_build_is_used() -> None:
    """Protects machines whose compiler was removed: all works until the sources change."""
    missing = CompilerState("host runtime", failure=Failure("no compiler was found", REMEDIES["no host compiler"]))
    state = replace(states.BARE, compilers=(missing, states.BARE.compilers[1]))
    found = find_one("compiler for the host", state)
    assert (found.what, found.serious) == ("no compiler was found; what was built before is used", False)
    failed = replace(states.HOST, devices=(), failure=Failure("no compiler was found"))
    state = replace(state, runtimes=(states.ABSENT_AMD, states.ABSENT_CUDA, failed))
    assert [problem.subject for problem in find_serious(state)] == ["host runtime"]


@pytest.mark.parametrize("name", ["HSA_OVERRIDE_GFX_VERSION", "HSA_OVERRIDE_GFX_VERSION_2"])
def test_overridden_architecture_is_pointed_out(name: str) -> None:
    """Protects tables from being filed under an architecture that is not there, of all GPUs or of one."""
    machine = replace(states.CONTAINER.machine, environment={name: "9.4.2"})
    assert f"{name}=9.4.2" in find_one("environment", replace(states.CONTAINER, machine=machine)).what


@pytest.mark.parametrize(
    ("error", "words", "symptom"),
    [
        ("EACCES", "Permission denied", "kfd forbidden"),
        ("EPERM", "Operation not permitted", "kfd forbidden"),
        ("ENODEV", "No such device", "no driver behind kfd"),
        ("ENXIO", "No such device or address", "no driver behind kfd"),
        ("EBUSY", "Device or resource busy", "GPU busy"),
        ("EINVAL", "Invalid argument", "driver refuses"),
        ("EIO", "Input/output error", "GPU lost"),
    ],
)
def test_device_file_that_cannot_be_opened_is_reported_with_its_cause(error: str, words: str, symptom: Symptom) -> None:
    """Protects the cause in the report: HIP returns 'no device' for all of them."""
    failed = RuntimeState("amd", failure=Failure("hipGetDeviceCount failed with hipErrorNoDevice (100)"))
    machine = replace(states.CONTAINER.machine, broken={"/dev/kfd": error})
    found = find_one("device file", states.with_amd(failed, machine))
    assert found == Problem("device file", f"/dev/kfd cannot be opened ({words})", REMEDIES[symptom], serious=True)
    assert remedies.diagnose_no_device("amd", machine) == symptom


def test_broken_neighbour_of_a_working_gpu_is_only_good_to_know() -> None:
    """Protects a machine with eight GPUs of which one is lost: the others can be measured."""
    machine = replace(states.CONTAINER.machine, broken={"/dev/dri/renderD129": "EIO"})
    assert not find_one("device file", states.with_amd(states.AMD, machine)).serious


def test_device_file_that_cannot_be_looked_at_is_not_called_absent() -> None:
    """Protects against 'there is no /dev/kfd' where that is unknown; sweeping on the host is fine meanwhile."""
    state = replace(states.BARE, machine=Machine(forbidden=("/dev/kfd",)))
    assert not any(problem.subject == "GPU" for problem in find_problems(state))
    assert find_one("device file", state).remedy == REMEDIES["kfd forbidden"]
    assert find_serious(state) == []


def test_serious_problems_come_first() -> None:
    """Protects the reader of a long report."""
    found = find_problems(states.with_amd(RuntimeState("amd", failure=Failure("its process ended with SIGSEGV"))))
    assert [problem.serious for problem in found] == sorted((problem.serious for problem in found), reverse=True)
    assert found[0].remedy == REMEDIES["runtime died"]


REVISIONS = states.REVISIONS


def _make_table(arch: str, revision: str) -> TableState:
    return TableState(f"{arch}.yaml", "./tables", arch, (4,), (revision,), own_revisions=(REVISIONS[arch],))
