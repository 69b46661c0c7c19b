"""The cuda runtime's hiprtc calls, over a stand-in for NVRTC whose log is its arguments."""

from pathlib import Path
from typing import Any

from tests.runtimes.conftest import STAND_INS, build_stand_in, hide
from tests.runtimes.cuda_process import Cuda, CudaProcess, text

SOURCE = b"kernel"
NVRTC_NAMES = ("libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so")

# An option of hiprtc: what NVRTC is reported instead.
OPTIONS = {
    "--offload-arch=sm_90": ["--gpu-architecture=sm_90"],
    "-std=c++17": ["-std=c++17"],
    "-std=gnu++17": ["--std=c++17"],
    "-DNAME=1": ["-DNAME=1"],
    "-ffast-math": ["--use_fast_math"],
    "-ffp-contract=off": ["--fmad=false"],
    "-ffp-contract=fast": [],
    "-fgpu-rdc": ["-fgpu-rdc"],
    "-fno-signed-zeros": [],
    "-g": ["--generate-line-info"],
    "-O3": [],
    "-mcumode": [],
    "-Wall": [],
    "-mllvm": [],
    "-amdgpu-early-inline-all=true": [],
    "-Xclang": [],
    "-disable-llvm-passes": [],
    "--maxrregcount=32": ["--maxrregcount=32"],
}


def _log(cuda: Cuda, program: object) -> list[str]:
    log = bytearray(cuda.ok("hiprtcGetProgramLogSize", program))
    cuda.ok("hiprtcGetProgramLog", program, log)
    return log.rstrip(b"\0").decode().splitlines()


def _compile(cuda: Cuda, source: bytes, options: list[bytes]) -> tuple[str, list[str], bytes]:
    """Return the code's name, log, code object."""
    names, headers = [b"platform/platform.h", b"wave.h"], [b"first header", b"second header"]
    program = cuda.ok("hiprtcCreateProgram", source, b"sort.hip", 2, headers, names)
    code, _ = cuda.call("hiprtcCompileProgram", program, len(options), options)
    log = _log(cuda, program)
    cubin = bytearray(cuda.ok("hiprtcGetCodeSize", program))
    cuda.ok("hiprtcGetCode", program, cubin)
    cuda.ok("hiprtcDestroyProgram", program.createRef() if hasattr(program, "createRef") else program)
    return code, log, bytes(cubin)


def _options(cuda: Cuda) -> list[str]:
    _, log, _ = _compile(cuda, SOURCE, [option.encode() for option in OPTIONS])
    return [line.removeprefix("option ") for line in log if line.startswith("option ")]


def test_options_are_said_in_nvrtcs_words(cuda: CudaProcess) -> None:
    """One list of options serves every runtime: what only clang has is left out, what nobody knows NVRTC refuses."""
    assert cuda.run(_options) == [option for options in OPTIONS.values() for option in options]


def _program(cuda: Cuda) -> list[object]:
    code, log, cubin = _compile(cuda, SOURCE, [b"--offload-arch=sm_80"])
    return [code, log, cubin.decode()]


def test_program_gets_its_headers_and_gives_its_code(cuda: CudaProcess) -> None:
    """Headers in memory keep their names, which the sources include them by."""
    assert cuda.run(_program) == [
        "HIPRTC_SUCCESS",
        [
            "program sort.hip",
            "header platform/platform.h: first header",
            "header wave.h: second header",
            "option --gpu-architecture=sm_80",
        ],
        "cubin of sm_80\0",
    ]


def _default_architectures(cuda: Cuda) -> list[str]:
    first = _compile(cuda, SOURCE, [])[2]
    cuda.ok("hipSetDevice", 1)
    return [first.decode(), _compile(cuda, SOURCE, [])[2].decode()]


def test_architecture_defaults_to_the_current_device(cuda: CudaProcess) -> None:
    """As with hiprtc on AMD, code is for the GPU at hand where nobody says otherwise."""
    assert cuda.run(_default_architectures) == ["cubin of sm_90\0", "cubin of sm_80\0"]


def _load(cuda: Cuda) -> str:
    _, _, cubin = _compile(cuda, SOURCE, [b"--offload-arch=sm_90"])
    return cuda.call("hipModuleLoadData", cubin)[0]


def test_compiled_code_loads(cuda: CudaProcess) -> None:
    """What hiprtcGetCode gives is what hipModuleLoadData takes."""
    assert cuda.run(_load) == "hipSuccess"


def _failures(cuda: Cuda) -> list[list[str]]:
    sources = [b"#error here", b"#error disk"]
    return [[_compile(cuda, source, [b"--offload-arch=sm_90"])[0], cuda.problem()] for source in sources]


def test_compiler_errors_become_hiprtcs(cuda: CudaProcess) -> None:
    """Codes that only NVRTC has are internal errors; its own name for them is in the problem."""
    assert cuda.run(_failures) == [
        ["HIPRTC_ERROR_COMPILATION", "nvrtcCompileProgram returned NVRTC_ERROR_COMPILATION (6)"],
        ["HIPRTC_ERROR_INTERNAL_ERROR", "nvrtcCompileProgram returned NVRTC_ERROR (12)"],
    ]


def _names(cuda: Cuda) -> list[str]:
    program = cuda.ok("hiprtcCreateProgram", SOURCE, b"sort.hip", 0, None, None)
    before, _ = cuda.call("hiprtcGetLoweredName", program, b"kernel<int>")
    cuda.ok("hiprtcAddNameExpression", program, b"kernel<int>")
    return [before, text(cuda.ok("hiprtcGetLoweredName", program, b"kernel<int>"))]


def test_name_expressions_are_passed_on(cuda: CudaProcess) -> None:
    """Template kernels are found by their mangled names."""
    assert cuda.run(_names) == ["HIPRTC_ERROR_NAME_EXPRESSION_NOT_VALID", "_Z6kernelIiEvv"]


def _compiler_version(cuda: Cuda) -> list[Any]:
    code, version = cuda.call("hiprtcVersion")
    return [code, version if code == "HIPRTC_SUCCESS" else None, cuda.problem()]


def test_compiler_works_without_a_driver(cuda: CudaProcess, tmp_path: Path) -> None:
    """Code for a GPU can be made on a machine that has none."""
    hide(tmp_path, "libcuda.so.1", "libnvrtc.so.13")
    build_stand_in(STAND_INS / "nvrtc", tmp_path / "libnvrtc.so.12", "-DNVRTC_MAJOR=12")
    code, version, _ = CudaProcess(cuda.runtime, tmp_path).run(_compiler_version)
    assert [code, version] == ["HIPRTC_SUCCESS", [12, 2]]


def test_compiler_newer_than_the_driver_is_passed_over(cuda: CudaProcess, stand_ins: Path, tmp_path: Path) -> None:
    """The driver would refuse the code of a newer CUDA release, so the next older compiler is taken."""
    (tmp_path / "libcuda.so.1").symlink_to(stand_ins / "libcuda.so.1")
    build_stand_in(STAND_INS / "nvrtc", tmp_path / "libnvrtc.so.13", "-DNVRTC_MAJOR=14")
    build_stand_in(STAND_INS / "nvrtc", tmp_path / "libnvrtc.so.12", "-DNVRTC_MAJOR=12")
    assert CudaProcess(cuda.runtime, tmp_path).run(_compiler_version)[:2] == ["HIPRTC_SUCCESS", [12, 2]]


def test_forced_compiler_is_the_one_used(cuda: CudaProcess, tmp_path: Path) -> None:
    """MOESORT_CUDA_NVRTC names a file, and that file alone is tried."""
    library = tmp_path / "compiler.so"
    build_stand_in(STAND_INS / "nvrtc", library, "-DNVRTC_MAJOR=11")
    assert cuda.run(_compiler_version, MOESORT_CUDA_NVRTC=str(library))[:2] == ["HIPRTC_SUCCESS", [11, 2]]
    assert cuda.run(_compiler_version, MOESORT_CUDA_NVRTC="")[:2] == ["HIPRTC_SUCCESS", [13, 2]]
    code, _, problem = cuda.run(_compiler_version, MOESORT_CUDA_NVRTC=str(tmp_path / "none.so"))
    assert code == "HIPRTC_ERROR_INTERNAL_ERROR"
    assert str(tmp_path / "none.so") in problem
    assert "pip install nvidia-cuda-nvrtc" in problem


def test_wheel_beside_mapped_packages_is_found(cuda: CudaProcess, tmp_path: Path) -> None:
    """NVIDIA's wheels are on no library path; any extension module mapped from their folder leads to them."""
    hide(tmp_path, "libcuda.so.1", *NVRTC_NAMES)
    packages = tmp_path / "lib" / "site-packages"
    for folder, major in (("cu13", 13), ("cuda_nvrtc", 12)):
        (packages / "nvidia" / folder / "lib").mkdir(parents=True)
        library = packages / "nvidia" / folder / "lib" / f"libnvrtc.so.{major}"
        build_stand_in(STAND_INS / "nvrtc", library, f"-DNVRTC_MAJOR={major}")
    build_stand_in(STAND_INS / "nvrtc", packages / "extension.so", "-DNVRTC_MAJOR=1")
    environment = {"LD_PRELOAD": str(packages / "extension.so")}
    assert CudaProcess(cuda.runtime, tmp_path).run(_compiler_version, **environment)[:2] == [
        "HIPRTC_SUCCESS",
        [13, 2],
    ]


def test_toolkit_is_found_by_cuda_home(cuda: CudaProcess, tmp_path: Path) -> None:
    """A toolkit that is on no library path is named by CUDA_HOME."""
    hide(tmp_path, "libcuda.so.1", *NVRTC_NAMES)
    (tmp_path / "lib64").mkdir()
    build_stand_in(STAND_INS / "nvrtc", tmp_path / "lib64" / "libnvrtc.so", "-DNVRTC_MAJOR=13")
    answer = CudaProcess(cuda.runtime, tmp_path).run(_compiler_version, CUDA_HOME=str(tmp_path))
    assert answer[:2] == ["HIPRTC_SUCCESS", [13, 2]]
