"""The host runtime's hiprtc and modules."""

import os
import shlex
from pathlib import Path

import pytest

from moesort_tune.device import native_library
from tests.runtimes.host_process import Host, run_on_host

EMPTY = 'extern "C" __global__ void kernel() {}'


def _compile(host: Host, source: str, options: list[str], headers: dict[str, str]) -> list[str]:
    code, log, _ = host.compile(source, *options, headers=headers)
    return [code, log]


def test_compiler_error_has_the_sources_own_line() -> None:
    """Protects whoever writes kernels: the log names their file and line, and no temporary folder."""
    code, log = run_on_host(_compile, "\nint broken = ;\n", [], {})
    assert code == "HIPRTC_ERROR_COMPILATION"
    assert log.startswith("kernels.hip:2:14: error:")


def test_error_in_a_header_has_the_headers_line() -> None:
    """Protects the same for headers in memory."""
    _, log = run_on_host(_compile, '#include "a/b.h"\n', [], {"a/b.h": '#include "a/c.h"\n', "a/c.h": "\n\nbroken\n"})
    assert "a/c.h:3:1: error:" in log


def test_static_lds_is_refused_with_the_way_out() -> None:
    """Protects what the runtime cannot do from compiling."""
    code, log = run_on_host(_compile, 'extern "C" __global__ void kernel() { __shared__ int x[4]; }', [], {})
    assert code == "HIPRTC_ERROR_COMPILATION"
    assert "HIP_DYNAMIC_SHARED(type, name)" in log


@pytest.mark.parametrize("name", ["../outside.h", "/tmp/outside.h", "a/../../outside.h"])
def test_header_that_leads_out_is_refused(name: str) -> None:
    """Protects the machine's files from a header's name."""
    code, log = run_on_host(_compile, EMPTY, [], {name: ""})
    assert code == "HIPRTC_ERROR_COMPILATION"
    assert name in log


def test_other_target_is_refused() -> None:
    """Protects a cache from host code under a GPU's name."""
    code, log = run_on_host(_compile, EMPTY, ["--offload-arch=gfx942"], {})
    assert code == "HIPRTC_ERROR_INVALID_OPTION"
    assert "--offload-arch=gfx942" in log


@pytest.mark.parametrize("compiler", ["/nowhere/c++", "no-such-compiler -O2"])
def test_missing_compiler_is_reported(compiler: str) -> None:
    """Protects machines without a compiler: the log says so, and a chosen one is never replaced quietly."""
    code, log = run_on_host(_compile, EMPTY, [], {}, CXX=compiler)
    assert code == "HIPRTC_ERROR_COMPILATION"
    assert log == f"the compiler CXX='{compiler}' was not found; unset CXX or set it to a C++ compiler"


def test_no_compiler_at_all_is_reported(tmp_path: Path) -> None:
    """Protects the fresh machine."""
    _, log = run_on_host(_compile, EMPTY, [], {}, CXX="", PATH=str(tmp_path))
    assert log == "no C++ compiler was found (tried c++, g++, clang++); install g++ or set CXX"


@pytest.mark.parametrize("quoted", ["'{}'", '"{}"', "{}"], ids=["apostrophes", "quotation marks", "backslashes"])
def test_compiler_is_a_command_as_a_shell_has_it(tmp_path: Path, quoted: str) -> None:
    """Protects CXX="'/opt/my tools/g++' -m64": the same words as the build of the runtime itself reads."""
    compiler = native_library.find_compiler(native_library.RECIPES["host"]).command
    path = tmp_path / "my tools" / "own"
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\nexec {shlex.join(compiler)} "$@"\n')
    path.chmod(0o755)
    text = str(path).replace(" ", "\\ ") if quoted == "{}" else quoted.format(path)
    source = f'static_assert(sizeof WORDS == sizeof "two words", "");\n{EMPTY}'
    code, log = run_on_host(_compile, source, [], {}, CXX=f"{text} '-DWORDS=\"two words\"'")
    assert (code, log) == ("HIPRTC_SUCCESS", "")


def test_compiler_that_writes_nothing_is_reported(tmp_path: Path) -> None:
    """Protects the cache from an empty kernel, and the reader from 'invalid image'."""
    path = tmp_path / "nothing"
    path.write_text("#!/bin/sh\nexit 0\n")
    path.chmod(0o755)
    code, log = run_on_host(_compile, EMPTY, [], {}, CXX=str(path))
    assert code == "HIPRTC_ERROR_COMPILATION"
    assert log == f"the compiler {path} wrote no shared library; set CXX to one that does"


def test_compilation_leaves_nothing_behind(tmp_path: Path) -> None:
    """Protects temporary folders from filling up."""
    assert run_on_host(_compile, EMPTY, [], {}, TMPDIR=str(tmp_path))[0] == "HIPRTC_SUCCESS"
    assert list(tmp_path.iterdir()) == []


def _find_kernels(host: Host, source: str, names: list[str]) -> list[str]:
    module = host.module(source)
    return [host.code("hipModuleGetFunction", module, name.encode()) for name in names]


def test_kernels_are_found_by_name() -> None:
    """Protects the scan for kernels: comments, false branches, declarations and attributes do not confuse it."""
    source = """
      // __global__ void commented();
      #if 0
      extern "C" __global__ void excluded() {}
      #endif
      #define KERNEL(name) extern "C" __global__ void name
      extern "C" __global__ void twice(int);
      extern "C" __global__ void twice(int) {}
      KERNEL(made)(float* x) { *x = 0; }
      extern "C" __global__ void __launch_bounds__(64) bounded(const int* __restrict__ x) {}
      static const char* text = "__global__ void quoted() {}";
      __device__ int helper() { return text[0]; }
    """
    found = run_on_host(
        _find_kernels, source, ["twice", "made", "bounded", "commented", "excluded", "quoted", "helper"]
    )
    assert found == ["hipSuccess"] * 3 + ["hipErrorNotFound"] * 4


def _save_image(host: Host, path: str) -> None:
    Path(path).write_bytes(host.compile(EMPTY)[2])


def _load_images(host: Host, paths: list[str]) -> list[str]:
    return [host.code("hipModuleLoadData", Path(path).read_bytes()) for path in paths]


def _damage(image: bytes) -> dict[str, bytes]:
    middle = len(image) // 2
    return {
        "cut off": image[:middle],
        "one bit": image[:middle] + bytes([image[middle] ^ 1]) + image[middle + 1 :],
        "other abi": image[:-40] + bytes([image[-40] ^ 1]) + image[-39:],
        "no trailer": image[:-48] + b"\0" * 48,
        "text": b"not code" * 20,
        "foreign": Path(os.path.realpath("/proc/self/exe")).read_bytes(),
    }


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with code of this runtime."""
    path = tmp_path_factory.mktemp("code") / "image"
    run_on_host(_save_image, str(path))
    return path


def test_code_that_this_runtime_did_not_make_is_refused(image: Path, tmp_path: Path) -> None:
    """Protects the process from a cache's broken, outdated or foreign files: nothing of them runs."""
    damaged = _damage(image.read_bytes())
    for damage, code in damaged.items():
        (tmp_path / damage).write_bytes(code)
    answer = run_on_host(_load_images, [str(image), *(str(tmp_path / damage) for damage in damaged)])
    assert dict(zip(damaged, answer[1:], strict=True)) == dict.fromkeys(damaged, "hipErrorInvalidImage")
    assert answer[0] == "hipSuccess"


@pytest.mark.parametrize("setting", ["MOESORT_HOST_CHECK=1", "MOESORT_HOST_WAVEFRONT_SIZE=32"])
def test_code_of_another_mode_is_refused(setting: str, image: Path) -> None:
    """Protects checking mode, and waves of 32, from code that was compiled without."""
    name, value = setting.split("=")
    assert run_on_host(_load_images, [str(image)], **{name: value}) == ["hipErrorInvalidImage"]


def _get_image(host: Host, source: str) -> str:
    return host.compile(source)[2].hex()


def test_same_source_gives_the_same_code() -> None:
    """Protects caches and comparisons: the temporary folder leaves no trace."""
    assert run_on_host(_get_image, EMPTY) == run_on_host(_get_image, EMPTY)


def _replace_modules(host: Host) -> list[int]:
    out = host.allocate(1)
    answers = []
    for value in (1, 2, 3):
        module = host.module(f'extern "C" __global__ void kernel(int* out) {{ *out = {value}; }}')
        host.launch(host.ok("hipModuleGetFunction", module, b"kernel"), out)
        host.ok("hipModuleUnload", module)
        answers += host.read(out, 1)
    return answers


def test_module_that_follows_another_has_its_own_code() -> None:
    """Protects long processes: code is loaded by a path that the next module may have again."""
    assert run_on_host(_replace_modules) == [1, 2, 3]
