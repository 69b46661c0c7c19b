"""The cuda runtime's devices: what HIP reports of them, and which one is current."""

import threading

from tests.runtimes.cuda_process import Cuda, CudaProcess, text

# hipDeviceAttribute_t's names (less the prefix) whose value is also a field of hipDeviceProp_t: field, CUDA's number.
# The stand-in gives attribute n the value 1000 + n, but for those with a value of their own below.
FACTS = {
    "MaxThreadsPerBlock": ("maxThreadsPerBlock", 1),
    "WarpSize": ("warpSize", 10),
    "MultiprocessorCount": ("multiProcessorCount", 16),
    "L2CacheSize": ("l2CacheSize", 38),
    "PersistingL2CacheMaxSize": ("persistingL2CacheMaxSize", 108),
    "AccessPolicyMaxWindowSize": ("accessPolicyMaxWindowSize", 109),
    "ClockRate": ("clockRate", 13),
    "ClockInstructionRate": ("clockInstructionRate", 13),
    "MemoryClockRate": ("memoryClockRate", 36),
    "MemoryBusWidth": ("memoryBusWidth", 37),
    "MaxRegistersPerBlock": ("regsPerBlock", 12),
    "MaxRegistersPerMultiprocessor": ("regsPerMultiprocessor", 82),
    "MaxThreadsPerMultiProcessor": ("maxThreadsPerMultiProcessor", 39),
    "MaxBlocksPerMultiProcessor": ("maxBlocksPerMultiProcessor", 106),
    "SharedMemPerMultiprocessor": ("sharedMemPerMultiprocessor", 81),
    "MaxSharedMemoryPerMultiprocessor": ("maxSharedMemoryPerMultiProcessor", 81),
    "ReservedSharedMemPerBlock": ("reservedSharedMemPerBlock", 111),
    "TotalConstantMemory": ("totalConstMem", 9),
    "MaxPitch": ("memPitch", 11),
    "TextureAlignment": ("textureAlignment", 14),
    "TexturePitchAlignment": ("texturePitchAlignment", 51),
    "SurfaceAlignment": ("surfaceAlignment", 30),
    "DeviceOverlap": ("deviceOverlap", 15),
    "KernelExecTimeout": ("kernelExecTimeoutEnabled", 17),
    "Integrated": ("integrated", 18),
    "CanMapHostMemory": ("canMapHostMemory", 19),
    "ComputeMode": ("computeMode", 20),
    "ConcurrentKernels": ("concurrentKernels", 31),
    "EccEnabled": ("ECCEnabled", 32),
    "PciBusId": ("pciBusID", 33),
    "PciDeviceId": ("pciDeviceID", 34),
    "PciDomainID": ("pciDomainID", 50),
    "TccDriver": ("tccDriver", 35),
    "AsyncEngineCount": ("asyncEngineCount", 40),
    "UnifiedAddressing": ("unifiedAddressing", 41),
    "StreamPrioritiesSupported": ("streamPrioritiesSupported", 78),
    "GlobalL1CacheSupported": ("globalL1CacheSupported", 79),
    "LocalL1CacheSupported": ("localL1CacheSupported", 80),
    "ManagedMemory": ("managedMemory", 83),
    "IsMultiGpuBoard": ("isMultiGpuBoard", 84),
    "MultiGpuBoardGroupID": ("multiGpuBoardGroupID", 85),
    "HostNativeAtomicSupported": ("hostNativeAtomicSupported", 86),
    "SingleToDoublePrecisionPerfRatio": ("singleToDoublePrecisionPerfRatio", 87),
    "PageableMemoryAccess": ("pageableMemoryAccess", 88),
    "PageableMemoryAccessUsesHostPageTables": ("pageableMemoryAccessUsesHostPageTables", 100),
    "ConcurrentManagedAccess": ("concurrentManagedAccess", 89),
    "DirectManagedMemAccessFromHost": ("directManagedMemAccessFromHost", 101),
    "ComputePreemptionSupported": ("computePreemptionSupported", 90),
    "CanUseHostPointerForRegisteredMem": ("canUseHostPointerForRegisteredMem", 91),
    "CooperativeLaunch": ("cooperativeLaunch", 95),
    "CooperativeMultiDeviceLaunch": ("cooperativeMultiDeviceLaunch", 96),
    "HostRegisterSupported": ("hostRegisterSupported", 99),
    "MemoryPoolsSupported": ("memoryPoolsSupported", 115),
}
EXTENTS = {
    "MaxBlockDimX": 2,
    "MaxBlockDimY": 3,
    "MaxBlockDimZ": 4,
    "MaxGridDimX": 5,
    "MaxGridDimY": 6,
    "MaxGridDimZ": 7,
    "PhysicalMultiProcessorCount": 16,
}
OPT_IN_LIMIT = 232448


def _attribute(cuda: Cuda, name: str, ordinal: int = 0) -> int:
    attribute = getattr(cuda.hip.hipDeviceAttribute_t, f"hipDeviceAttribute{name}")
    return int(cuda.ok("hipDeviceGetAttribute", attribute, ordinal))


def _facts(cuda: Cuda) -> dict[str, list[int]]:
    properties = cuda.properties()
    return {name: [_attribute(cuda, name), int(getattr(properties, field))] for name, (field, _) in FACTS.items()}


def test_device_facts_are_cudas(cuda: CudaProcess) -> None:
    """Every attribute asks CUDA's counterpart, and every field lies where hip-python reads it."""
    assert cuda.run(_facts) == {name: [1000 + number] * 2 for name, (_, number) in FACTS.items()}


def _extents(cuda: Cuda) -> list[object]:
    properties = cuda.properties()
    extents = {name: _attribute(cuda, name) for name in EXTENTS}
    return [extents, list(properties.maxThreadsDim), list(properties.maxGridSize)]


def test_launch_extents_are_cudas(cuda: CudaProcess) -> None:
    """The limits of workgroup and grid come in x, y, z order, in attributes and in the struct's arrays."""
    extents = {name: 1000 + number for name, number in EXTENTS.items()}
    assert cuda.run(_extents) == [extents, [1002, 1003, 1004], [1005, 1006, 1007]]


def _identity(cuda: Cuda) -> list[list[object]]:
    devices = []
    for ordinal in range(cuda.ok("hipGetDeviceCount")):
        properties = cuda.properties(ordinal)
        architecture = [text(properties.gcnArchName), properties.major, properties.minor]
        devices.append([text(properties.name), *architecture, properties.totalGlobalMem])
    return devices


def test_device_identity_names_the_architecture(cuda: CudaProcess) -> None:
    """gcnArchName is what `--offload-arch` takes, from the compute capability."""
    memory = 80 << 30
    assert cuda.run(_identity) == [["Stand-in 0", "sm_90", 9, 0, memory], ["Stand-in 1", "sm_80", 8, 0, memory]]


def _lds(cuda: Cuda) -> list[int]:
    properties = cuda.properties()
    attributes = [_attribute(cuda, name) for name in ("MaxSharedMemoryPerBlock", "SharedMemPerBlockOptin")]
    return [*attributes, properties.sharedMemPerBlock, properties.sharedMemPerBlockOptin]


def test_lds_per_workgroup_is_the_opt_in_limit(cuda: CudaProcess) -> None:
    """What a workgroup can have, not the 48 KiB that CUDA gives without asking, decides which shapes oneshot serves."""
    assert cuda.run(_lds) == [OPT_IN_LIMIT] * 4


def _unknown_attribute(cuda: Cuda) -> list[object]:
    attribute = cuda.hip.hipDeviceAttribute_t.hipDeviceAttributeHdpMemFlushCntl
    code, _ = cuda.call("hipDeviceGetAttribute", attribute, 0)
    return [code, cuda.problem()]


def test_attribute_without_counterpart_is_refused(cuda: CudaProcess) -> None:
    """An attribute that only AMD has is an error, not a number that means something else."""
    assert cuda.run(_unknown_attribute) == [
        "hipErrorInvalidValue",
        "CUDA has no counterpart of hipDeviceAttribute_t 10005",
    ]


def _without_context(cuda: Cuda) -> list[str]:
    cuda.ok("hipGetDeviceCount")
    cuda.ok("hipGetDevice")
    cuda.properties()
    return [call for call in cuda.driver_calls() if "Ctx" in call]


def test_questions_make_no_context(cuda: CudaProcess) -> None:
    """Looking at a machine's GPUs takes no memory of theirs, and no device from another process."""
    assert cuda.run(_without_context) == []


def _current_devices(cuda: Cuda) -> list[object]:
    before = cuda.ok("hipGetDevice")
    cuda.ok("hipSetDevice", 1)
    here = cuda.ok("hipGetDevice")
    cuda.driver_calls()
    elsewhere: list[object] = []

    def in_a_new_thread() -> None:
        cuda.ok("hipMalloc", 16)
        elsewhere.append(cuda.ok("hipGetDevice"))

    thread = threading.Thread(target=in_a_new_thread)
    thread.start()
    thread.join()
    calls = cuda.driver_calls()
    return [before, here, elsewhere, calls, cuda.ok("hipGetDevice")]


def test_new_thread_starts_on_device_0(cuda: CudaProcess) -> None:
    """Each thread has a current device of its own, the primary context's, which its first call makes current."""
    calls = ["cuDeviceGet(0)", "cuDevicePrimaryCtxRetain(0)", "cuCtxSetCurrent(device 0)", "cuMemAlloc_v2(16)"]
    assert cuda.run(_current_devices) == [0, 1, [0], calls, 1]


def _missing_device(cuda: Cuda) -> list[object]:
    return [cuda.call("hipSetDevice", ordinal)[0] for ordinal in (2, -1)]


def test_missing_device_is_invalid(cuda: CudaProcess) -> None:
    """An ordinal that no device has is reported as by HIP."""
    assert cuda.run(_missing_device) == ["hipErrorInvalidDevice"] * 2


def _versions(cuda: Cuda) -> list[object]:
    return [cuda.ok("hipRuntimeGetVersion"), cuda.ok("hipDriverGetVersion"), cuda.ok("hiprtcVersion")]


def test_versions_are_cudas_in_hips_notation(cuda: CudaProcess) -> None:
    """CUDA 13.1 reads as 13.1 by whoever reads HIP's version numbers."""
    assert cuda.run(_versions) == [13_01_00000, 13_01_00000, [13, 2]]
