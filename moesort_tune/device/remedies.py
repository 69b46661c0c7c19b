"""Remedies for the failures that real machines show: one table, for the code that raises and for `doctor`."""

from typing import Literal

from moesort_tune.device import releases
from moesort_tune.device.machine import Machine, inspect_machine
from moesort_tune.errors import MoesortTuneError

Symptom = Literal[
    "no GPU",
    "no kfd",
    "kfd forbidden",
    "no driver behind kfd",
    "GPU busy",
    "driver refuses",
    "GPU lost",
    "devices hidden",
    "no AMD GPU",
    "HIP sees no device",
    "no NVIDIA device",
    "unknown architecture",
    "code for another GPU",
    "no hiprtc",
    "compiler died",
    "no HIP library",
    "two HIP libraries",
    "replaced library",
    "missing call",
    "no hip-python",
    "out of memory",
    "launch failed",
    "refused launch",
    "runtime died",
    "no host compiler",
    "host compiler failed",
    "no offload compiler",
    "cache not writable",
    "cache locked",
    "not trusted",
    "overridden architecture",
    "no torch",
    "torch for another GPU",
    "no aiter",
    "aiter too old",
    "table refused",
    "table of other kernels",
    "table of another product",
    "table not the required one",
    "no table",
]

_CONTAINER = "in a container pass --device=/dev/kfd --device=/dev/dri --group-add=video"

REMEDIES: dict[Symptom, str] = {
    "no GPU": (
        "nothing is wrong: everything but a GPU's timings works on the embedded host runtime, so try "
        "`moesort-tune sweep`; docs/run-on-amd.md explains how to make a table for an AMD GPU"
    ),
    "no kfd": f"load the amdgpu kernel driver (modprobe amdgpu); {_CONTAINER}",
    "kfd forbidden": (
        f"become a member of the groups that own the device files (sudo usermod -aG render,video $USER) and log in "
        f"again; {_CONTAINER}"
    ),
    "no driver behind kfd": (
        "the device file is left from a driver or a GPU that is gone: load the amdgpu kernel driver "
        f"(modprobe amdgpu) and look into dmesg | grep amdgpu; {_CONTAINER}, and recreate it after loading the driver"
    ),
    "GPU busy": (
        "another process or a virtual machine holds the GPU exclusively, or it is being reset or repartitioned: see "
        "fuser -v /dev/kfd and amd-smi process, then try again"
    ),
    "driver refuses": (
        "the amdgpu kernel driver rejects this process: look for the reason in dmesg | grep -e amdgpu -e kfd, "
        "and see whether rocminfo runs outside of this container or sandbox"
    ),
    "GPU lost": (
        "the GPU does not answer its driver: look into dmesg | grep amdgpu, then reset it (amd-smi reset --gpureset) "
        "or start the machine again"
    ),
    "devices hidden": "unset the variable, or name an existing device (they are counted from 0)",
    "no AMD GPU": "check that the machine has one (lspci | grep -i amd) and that it was passed to this container",
    "HIP sees no device": (
        "the driver lists a GPU that this ROCm does not know: install a newer ROCm (gfx950 needs 7.0), and see whether "
        "rocminfo lists the GPU"
    ),
    "no NVIDIA device": "see whether nvidia-smi lists a GPU; in a container pass --gpus=all",
    "unknown architecture": "use a GPU that the kernels are built for, or set MOESORT_TUNE_RUNTIME=host to try things",
    "code for another GPU": (
        "this code was compiled for another GPU: build it for this one with `moesort-tune build --arch ...`, or unset "
        "MOESORT_TUNE_CODE_OBJECTS to have it compiled at run time"
    ),
    "no hiprtc": (
        "install the run-time compiler of the same ROCm (it comes with the package hip-runtime-amd), or compile ahead "
        "of time with `moesort-tune build --arch ... --out DIR` and set MOESORT_TUNE_CODE_OBJECTS=DIR"
    ),
    "compiler died": (
        "this ROCm is probably too old for the GPU: install a newer one (gfx950 needs 7.0), or compile ahead of time "
        "with `moesort-tune build --arch ... --out DIR` and set MOESORT_TUNE_CODE_OBJECTS=DIR"
    ),
    "no HIP library": "install ROCm (package hip-runtime-amd), or set ROCM_PATH to its folder",
    "two HIP libraries": (
        "set ROCM_PATH to the ROCm that torch uses, or import torch before anything else that uses the GPU, "
        "so that only one is loaded"
    ),
    "replaced library": "ROCm was updated under this process: start it again",
    "missing call": (
        "install ROCm 6.2 or newer and the hip-python of the same release (for 7.2 pip install 'hip-python~=7.2.0')"
    ),
    "no hip-python": "pip install hip-python",
    "out of memory": (
        "see what else holds device memory (amd-smi process, nvidia-smi), or ask for less: fewer --tokens, "
        "a smaller --model-dim, another --device"
    ),
    "launch failed": (
        "the running work is lost and this process can no longer use the GPU: look for the cause in the kernel's log "
        "(dmesg | grep amdgpu), then start again; --resume continues a sweep where it stopped"
    ),
    "refused launch": "report it with the output of `moesort-tune doctor --json`: a launch that does not fit is a bug",
    "runtime died": (
        "the driver and the ROCm in user space probably do not match: compare cat /sys/module/amdgpu/version "
        "with the requirements of the ROCm release, and see whether rocminfo runs"
    ),
    "no host compiler": "install one (Debian and Ubuntu: apt-get install g++), or set CXX (C++) or CC (C)",
    "host compiler failed": "set CXX (C++) or CC (C) to another one; GCC 9, clang 10 and newer work",
    "no offload compiler": "only `moesort-tune build` needs one",
    "cache not writable": "free space there, or set MOESORT_TUNE_CACHE to a writable folder",
    "cache locked": "end that process (fuser, of the package psmisc, shows its number), then try again",
    "not trusted": (
        "its content is run as code, so make it yours alone (chown, chmod go-w), or set MOESORT_TUNE_CACHE to a "
        "folder that nobody else may write"
    ),
    "overridden architecture": "unset it before a sweep: its table would be filed under the wrong architecture",
    "no torch": (
        "only the torch operator needs it; on an AMD machine use the ROCm build that the container brings "
        "(a virtual environment made with --system-site-packages sees it)"
    ),
    "torch for another GPU": (
        "install the ROCm build of torch, or use the container's (python -m venv --system-site-packages)"
    ),
    "no aiter": "only needed to measure or steer AITER's own kernels; vLLM's and SGLang's ROCm containers bring it",
    "aiter too old": "install AITER v0.1.14 or newer to measure its kernels",
    "table refused": "fix the named place, or measure the table again with `moesort-tune sweep`",
    "table of other kernels": "its decisions are not used; measure it again with `moesort-tune sweep`",
    "table not the required one": (
        "name the table with this digest by MOESORT_TUNE_TABLE (`moesort-tune show` prints a table's digest), or unset "
        "MOESORT_TUNE_REQUIRE"
    ),
    "table of another product": "its decisions are used; a sweep of this product puts its own entry beside them",
    "no table": "measure one: `moesort-tune sweep`; until then the kernels' own rule decides",
}

_NO_DEVICE = {"hipErrorNoDevice", "hipErrorNotInitialized", "hipErrorInsufficientDriver"}

_SYMPTOMS: dict[str, Symptom] = {
    "hipErrorOutOfMemory": "out of memory",
    "hipErrorNoBinaryForGpu": "code for another GPU",
    "hipErrorInvalidImage": "code for another GPU",
    "hipErrorInvalidKernelFile": "code for another GPU",
    "hipErrorSharedObjectInitFailed": "code for another GPU",
    "hipErrorInvalidDeviceFunction": "code for another GPU",
    "hipErrorLaunchFailure": "launch failed",
    "hipErrorLaunchTimeOut": "launch failed",
    "hipErrorIllegalAddress": "launch failed",
    "hipErrorECCNotCorrectable": "launch failed",
    "hipErrorLaunchOutOfResources": "refused launch",
    "hipErrorInvalidConfiguration": "refused launch",
}
"""Symptoms implied by HIP's error names; those of _NO_DEVICE depend on the machine."""

_OF_LAUNCHES: set[Symptom] = {"launch failed", "refused launch"}
"""Symptoms that the host runtime mostly explains itself, by kernel, workgroup and source line."""


class DeviceError(MoesortTuneError):
    """A failure of the GPU or its software. what: what happened; remedy: the next step, '' where none is known."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(f"{what}; {remedy}" if remedy else what)
        self.what = what
        self.remedy = remedy


def suggest_for_hip_error(name: str, runtime: str, machine: Machine | None = None, *, explained: bool = False) -> str:
    """Return the remedy for HIP's error `name` on `machine` (by default this one); '' where none is known.

    explained: the runtime already named the kernel and the cause, so no further look-up is needed.
    """
    if name in _NO_DEVICE and runtime != "host":
        return REMEDIES[diagnose_no_device(runtime, machine or inspect_machine())]
    symptom = _SYMPTOMS.get(name)
    if symptom is None or (explained and symptom in _OF_LAUNCHES):
        return ""
    return REMEDIES[symptom]


def diagnose_no_device(runtime: str, machine: Machine) -> Symptom:
    """Return why 'amd' or 'cuda' has no device: HIP reports all causes by the same error."""
    if runtime == "cuda":
        return "devices hidden" if "CUDA_VISIBLE_DEVICES" in machine.environment else "no NVIDIA device"
    if not machine.kfd:
        return "no kfd"
    if machine.forbidden:
        return "kfd forbidden"
    if machine.broken:
        return diagnose_open_error(next(iter(machine.broken.values())))
    if machine.kfd_gpus == ():
        return "no AMD GPU"
    return "devices hidden" if machine.hiding else "HIP sees no device"


_DEVICE_FILE_SYMPTOMS: dict[str, Symptom] = {
    "EACCES": "kfd forbidden",
    "EPERM": "kfd forbidden",
    "ENODEV": "no driver behind kfd",
    "ENXIO": "no driver behind kfd",
    "EBUSY": "GPU busy",
    "EAGAIN": "GPU busy",
    "EIO": "GPU lost",
}


def diagnose_open_error(error: str) -> Symptom:
    """Return the symptom behind an error name, 'EBUSY', of a device file that could not be opened."""
    return _DEVICE_FILE_SYMPTOMS.get(error, "driver refuses")


def diagnose_no_call(message: str, *, is_hiprtc: bool) -> Symptom:
    """Return what is missing where hip-python raised instead of calling: the library, or the call in it."""
    if "failed to dlopen" in message:
        return "no hiprtc" if is_hiprtc else "no HIP library"
    return "missing call"


def suggest_for_missing_call(hip_python_version: str, rocm_version: str) -> str:
    """Return the remedy for a call that the library lacks. The versions may be ''."""
    mine, rocm = releases.parse_release(hip_python_version), releases.parse_release(rocm_version)
    if mine and rocm and releases.rate_fit(mine, rocm) != "same":
        return suggest_hip_python(rocm)
    return REMEDIES["missing call"]


def suggest_hip_python(rocm: releases.Release) -> str:
    """Return the remedy for a hip-python that does not fit this ROCm: the exact command, or a newer ROCm."""
    command = releases.format_pip_command(rocm)
    if command is None:
        oldest, present = releases.format_release(releases.OLDEST), releases.format_release(rocm)
        return f"install ROCm {oldest} or newer: {present} lacks needed calls"
    return command
