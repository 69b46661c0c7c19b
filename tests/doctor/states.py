"""Recorded states: what doctor found on machines of several kinds."""

from dataclasses import replace

from moesort_tune.device.amd_libraries import Candidate
from moesort_tune.device.installed import Package
from moesort_tune.device.kfd import KfdGpu
from moesort_tune.device.machine import Machine
from moesort_tune.device.remedies import REMEDIES
from moesort_tune.doctor.diagnosis import CacheState, CompilerState, DeviceState, Failure, RuntimeState, State

HOST_DEVICE = DeviceState(0, "moesort-tune host", "host", "host", 4, 64, 65536, 8 << 30)
MI300X_DEVICE = DeviceState(0, "AMD Instinct MI300X", "gfx942", "gfx942:sramecc+:xnack-", 304, 64, 65536, 192 << 30)
MI300X = KfdGpu(2, "gfx942", 304, 65536)

ABSENT_AMD = RuntimeState("amd", failure=Failure("not present: no /dev/kfd and no ROCm", REMEDIES["no kfd"]))
ABSENT_CUDA = RuntimeState("cuda", failure=Failure("not present: no NVIDIA driver", REMEDIES["no NVIDIA device"]))
HOST = RuntimeState("host", "/cache/libamdhip64.so", "7.0.0", "7.0.0", "hiprtc 7.0", (HOST_DEVICE,))
AMD = RuntimeState("amd", "/opt/rocm/lib/libamdhip64.so", "7.2.53211", "6.16.6", "hiprtc 7.2", (MI300X_DEVICE,))

REVISIONS = {"gfx942": "5c1e000000000000", "host": "40d6000000000000"}

ALIGN_REVISIONS = {"gfx942": "a11f000000000000", "host": "a11e000000000000"}

BARE = State(
    machine=Machine(),
    runtimes=(ABSENT_AMD, ABSENT_CUDA, HOST),
    compilers=(
        CompilerState("host runtime", "c++", "c++ (Debian 12.2.0-14) 12.2.0"),
        CompilerState("ahead of time", failure=Failure("no compiler for AMD GPUs was found; install ROCm")),
    ),
    rocm=(),
    cache=CacheState("/cache"),
    hip_python=Package("rocm-bindings-hip", "10.0.0.0.1.2", "/site/rocm"),
    revisions=REVISIONS,
    align_revisions=ALIGN_REVISIONS,
)
"""A laptop without any GPU, freshly set up."""

CONTAINER = replace(
    BARE,
    machine=Machine(kfd=True, kfd_gpus=(MI300X,)),
    runtimes=(AMD, ABSENT_CUDA, HOST),
    compilers=(BARE.compilers[0], CompilerState("ahead of time", "/opt/rocm/bin/amdclang++", "AMD clang version 22")),
    rocm=(Candidate("/opt/rocm/lib/libamdhip64.so", "/opt/rocm", "7.2.0"),),
    hip_python=Package("hip-python", "7.2.2.562.43", "/site/hip"),
    torch=Package("torch", "2.9.0a0+git1234", "/opt/venv/torch", "ROCm (HIP 7.2.26015)"),
    aiter=Package("aiter", "0.1.8", "/opt/venv/aiter"),
)
"""ROCm's PyTorch container on an MI300X, in which everything fits."""


def with_amd(runtime: RuntimeState, machine: Machine = CONTAINER.machine) -> State:
    """Return CONTAINER with another answer of the amd runtime."""
    return replace(CONTAINER, machine=machine, runtimes=(runtime, *CONTAINER.runtimes[1:]))
