"""Find the rivals' sources in a folder that a person made, and cut single definitions out of them, unchanged.

A rival's file cannot be compiled whole: it includes PyTorch, and a run-time compiler takes no host code. So the
kernels, and the device functions that they call, are taken from it by name.
"""

import re
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "MOESORT_RIVALS"

HOW_TO_GET = f"""\
Set {VARIABLE} to a folder with checkouts in it; what is missing there is left out of the run:
  vllm*/    git clone --depth 1 https://github.com/vllm-project/vllm  (or: pip download vllm --no-deps --no-binary vllm)
            and beside it, for the stable one-block path, as vllm-48032:
            git fetch https://github.com/vllm-project/vllm pull/48032/head
  sglang*/  git fetch https://github.com/sgl-project/sglang pull/34131/head
            and, for the kernel in Triton: pull/32395/head, or a release from 0.5.23 on"""


class RivalsError(Exception):
    """Sources that are not there, or that are no longer what this script knows how to launch."""


def find_folder(environment: Mapping[str, str]) -> Path:
    """Return the folder of the rivals' checkouts. Raise RivalsError with what to do."""
    name = environment.get(VARIABLE, "")
    if not name:
        raise RivalsError(f"{VARIABLE} is not set\n{HOW_TO_GET}")
    folder = Path(name)
    if not folder.is_dir():
        raise RivalsError(f"{VARIABLE} names {name}, which is not a folder\n{HOW_TO_GET}")
    return folder


def find_source(folder: Path, checkouts: str, file: str, definition: str) -> Path | None:
    """Return the first file called `file` that defines `definition`; None without one.

    checkouts: pattern of the checkouts' folders, like 'vllm*'.
    """
    paths = (path for checkout in sorted(folder.glob(checkouts)) for path in sorted(checkout.rglob(file)))
    return next((path for path in paths if has_definition(path.read_text(), definition)), None)


def has_definition(text: str, name: str) -> bool:
    """Return whether `text` defines the function or struct."""
    return _find_head(text, name) is not None


def take_definition(text: str, name: str) -> str:
    """Return the whole definition of a function or struct, its template line included. Raise RivalsError."""
    head = _find_head(text, name)
    if head is None:
        raise RivalsError(f"there is no definition of {name} in the rival's source; it may have been renamed")
    end = _find_closing_brace(text, text.index("{", head.end()))
    return text[head.start() : end + 1] + (";" if "struct " in head.group() else "") + "\n"


def take_line(text: str, beginning: str) -> str:
    """Return the line that begins so, like a macro of one line. Raise RivalsError."""
    match = re.search(rf"^{re.escape(beginning)}.*\n", text, re.MULTILINE)
    if match is None:
        raise RivalsError(f"no line of the rival's source begins with {beginning!r}")
    return match.group()


def instantiate(definition: str, *arguments: str) -> str:
    """Return the explicit instantiation of a kernel template for these template arguments."""
    template, signature = definition[: definition.index("{")].split("\n", 1)
    parameters = re.findall(r"(\w+)\s*[,>]", template)
    for parameter, argument in zip(parameters, arguments, strict=True):
        signature = re.sub(rf"\b{parameter}\b", argument, signature)
    return "template " + re.sub(r"(\w+)\(", rf"\1<{', '.join(arguments)}>(", signature.rstrip(), count=1) + ";\n"


def list_parameters(definition: str) -> list[str]:
    """Return the names of a kernel's parameters, in order. Its signature must have no parentheses of its own."""
    signature = definition[: definition.index("{")]
    inside = signature[signature.rindex("(") + 1 : signature.rindex(")")]
    return [re.split(r"[\s*&]+", part.strip())[-1] for part in inside.split(",")]


def find_symbol(code: bytes, kernel: str) -> str:
    """Return the mangled name of a kernel template's only instance in device code. Raise RivalsError."""
    marker = f"{len(kernel)}{kernel}I".encode()
    names = {name for name in re.findall(rb"_ZN\w+", code) if marker in name}
    if not names:
        raise RivalsError(f"the compiled code has no instance of {kernel}")
    return min(names, key=len).decode()


def _find_head(text: str, name: str) -> re.Match[str] | None:
    return re.search(rf"^(?:template <[^\n]*>\n)?(?:\w+ )*(?:void|int|struct) {name}\b(?=\(| \{{)", text, re.MULTILINE)


def _find_closing_brace(text: str, opening: int) -> int:
    """Return the place of the brace that closes the one at `opening`; those in comments do not count."""
    depth = 0
    for match in re.compile(r"//[^\n]*|/\*.*?\*/|[{}]", re.DOTALL).finditer(text, opening):
        depth += {"{": 1, "}": -1}.get(match.group(), 0)
        if not depth:
            return match.start()
    raise RivalsError("a definition in the rival's source has no end")
