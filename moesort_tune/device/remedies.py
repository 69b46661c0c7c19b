"""What to do about each failure that real machines show: one table, for the code that raises and for `doctor`."""

from typing import Literal

from moesort_tune.device import releases
from moesort_tune.device.machine import Machine, this_machine
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
    "no table",
]

_CONTAINER = "in a container pass --device=/dev/kfd --device=/dev/dri --group-add=video"

REMEDIES: dict[Symptom, str] = {
    "no GPU": (
        "nothing is wrong: everything but a GPU's timings works on the embedded host runtime, so try "
        "`moesort-tune sweep`; docs/run-on-amd.md says how a table for an AMD GPU is made"
    ),
    "no kfd": f"load the amdgpu kernel driver (modprobe amdgpu); {_CONTAINER}",
    "kfd forbidden": (
        f"become a member of the groups that own the device files (sudo usermod -aG render,video $USER) and log in "
        f"again; {_CONTAINER}"
    ),
    "no driver behind kfd": (
        "the device file is left from a driver or a GPU that is gone: load the amdgpu kernel driver "
        f"(modprobe amdgpu) and look into dmesg | grep amdgpu; {_CONTAINER}, made again since the driver was loaded"
    ),
    "GPU busy": (
        "another process or a virtual machine holds the GPU for itself, or it is being reset or partitioned anew: see "
        "fuser -v /dev/kfd and amd-smi process, then try again"
    ),
    "driver refuses": (
        "the amdgpu kernel driver does not take this process: look for the reason in dmesg | grep -e amdgpu -e kfd, "
        "and see whether rocminfo runs outside of this container or sandbox"
    ),
    "GPU lost": (
        "the GPU does not answer its driver: look into dmesg | grep amdgpu, then reset it (amd-smi reset --gpureset) "
        "or start the machine again"
    ),
    "devices hidden": "unset the variable, or name a device that is there (they are counted from 0)",
    "no AMD GPU": "check that the machine has one (lspci | grep -i amd) and that it was handed to this container",
    "HIP sees no device": (
        "the driver lists a GPU that this ROCm does not know: install a newer ROCm (gfx950 needs 7.0), and see whether "
        "rocminfo lists the GPU"
    ),
    "no NVIDIA device": "see whether nvidia-smi lists a GPU; in a container pass --gpus=all",
    "unknown architecture": "take a GPU that the kernels are built for, or MOESORT_TUNE_RUNTIME=host to try things out",
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
    "no HIP library": "install ROCm (package hip-runtime-amd), or name the folder where it lies in ROCM_PATH",
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
        "what was running is lost and this process can no longer use the GPU: look for the cause in the kernel's log "
        "(dmesg | grep amdgpu), then start again; a sweep goes on where it stopped with --resume"
    ),
    "refused launch": "report it with the output of `moesort-tune doctor --json`: a launch that does not fit is a bug",
    "runtime died": (
        "the driver and the ROCm in user space probably do not fit each other: compare cat /sys/module/amdgpu/version "
        "with what the ROCm release asks for, and see whether rocminfo runs"
    ),
    "no host compiler": "install one (Debian and Ubuntu: apt-get install g++), or name it in CXX (C++) or CC (C)",
    "host compiler failed": "name another one in CXX (C++) or CC (C); GCC 9, clang 10 and newer do",
    "no offload compiler": "only `moesort-tune build` needs one",
    "cache not writable": "make room there, or set MOESORT_TUNE_CACHE to a folder that can be written",
    "cache locked": "end that process (its number: fuser, of the package psmisc, tells it), then try again",
    "not trusted": (
        "what lies there is run as code, so make it yours alone (chown, chmod go-w), or set MOESORT_TUNE_CACHE to a "
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
    "table refused": "repair the place that is named, or measure the table anew with `moesort-tune sweep`",
    "table of other kernels": "its decisions are not used; measure it anew with `moesort-tune sweep`",
    "no table": "measure one: `moesort-tune sweep`; until then AITER's rule decides",
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
"""What HIP's error names say by themselves; those of _NO_DEVICE are said by the machine."""

_OF_LAUNCHES: set[Symptom] = {"launch failed", "refused launch"}
"""What the host runtime mostly explains itself, by kernel, workgroup and place."""


class DeviceError(MoesortTuneError):
    """A failure below or around the GPU. what: what happened; remedy: what to do about it, '' where none is known."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(f"{what}; {remedy}" if remedy else what)
        self.what = what
        self.remedy = remedy


def of_hip_error(name: str, runtime: str, machine: Machine | None = None, *, explained: bool = False) -> str:
    """What to do about HIP's error `name` on `machine` (by default this one); '' where nothing is known.

    explained: the runtime said itself which kernel did what, so that there is nothing to look up elsewhere.
    """
    if name in _NO_DEVICE and runtime != "host":
        return REMEDIES[why_no_device(runtime, machine or this_machine())]
    symptom = _SYMPTOMS.get(name)
    if symptom is None or (explained and symptom in _OF_LAUNCHES):
        return ""
    return REMEDIES[symptom]


def why_no_device(runtime: str, machine: Machine) -> Symptom:
    """Which of the causes it is that 'amd' or 'cuda' has no device: HIP has one error for all of them."""
    if runtime == "cuda":
        return "devices hidden" if "CUDA_VISIBLE_DEVICES" in machine.environment else "no NVIDIA device"
    if not machine.kfd:
        return "no kfd"
    if machine.forbidden:
        return "kfd forbidden"
    if machine.broken:
        return why_not_opened(next(iter(machine.broken.values())))
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


def why_not_opened(error: str) -> Symptom:
    """What an error's name, 'EBUSY', says of the device file that could not be opened."""
    return _DEVICE_FILE_SYMPTOMS.get(error, "driver refuses")


def why_no_call(message: str, *, is_hiprtc: bool) -> Symptom:
    """What is missing where hip-python raised instead of calling: the library, or the call in it."""
    if "failed to dlopen" in message:
        return "no hiprtc" if is_hiprtc else "no HIP library"
    return "missing call"


def of_missing_call(hip_python_version: str, rocm_version: str) -> str:
    """What to do about a call that the library lacks. The versions may be ''."""
    mine, rocm = releases.parse_release(hip_python_version), releases.parse_release(rocm_version)
    if mine and rocm and releases.fit(mine, rocm) != "same":
        return hip_python(rocm)
    return REMEDIES["missing call"]


def hip_python(rocm: releases.Release) -> str:
    """What to do about a hip-python that does not fit this ROCm: the exact command, or a newer ROCm."""
    command = releases.pip_command(rocm)
    if command is None:
        return f"install ROCm {releases.text(releases.OLDEST)} or newer: {releases.text(rocm)} lacks needed calls"
    return command
