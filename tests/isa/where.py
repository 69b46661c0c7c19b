"""Which source lines the instructions of a launch's busiest wave come from."""

import json
import re
import shutil
import subprocess
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

from tests.isa.counts import LaunchCost, classify
from tests.isa.program import EmulatedLaunch

LINES_SHOWN = 15


def report(launch: EmulatedLaunch, cost: LaunchCost, code: bytes) -> str:
    """Return the instructions of the busiest wave by function that the kernel calls, and by source line.

    code: the code object, built with line tables.
    """
    trace = launch.trace.waves[cost.workgroup][cost.wave]
    frames = _list_frames(code, sorted({executed.address - launch.base for executed in trace}))
    by_function: dict[str, Counter[str]] = defaultdict(Counter)
    by_line: Counter[tuple[str, str]] = Counter()
    for executed in trace:
        chain = frames[executed.address - launch.base]
        # The two outermost functions below the kernel: a template's body, and the step inside it.
        function = " > ".join(_demangle(name) for name, _ in chain[-2:-4:-1]) or launch.kernel
        by_function[function][classify(launch.trace.code[executed.address].name)] += 1
        by_line[chain[0][1], function] += 1
    lines = [f"  {launch.kernel}: {cost.instructions} in wave {cost.wave} of workgroup {cost.workgroup[0]}"]
    for function, classes in sorted(by_function.items(), key=lambda item: -item[1].total()):
        parts = " ".join(f"{kind}={count}" for kind, count in classes.most_common())
        lines.append(f"  {classes.total():6} {function:44} {parts}")
    lines += [f"        {count:6} {line} in {function}" for (line, function), count in by_line.most_common(LINES_SHOWN)]
    return "\n".join(lines)


def _list_frames(code: bytes, offsets: list[int]) -> dict[int, list[tuple[str, str]]]:
    """Return (function, file:line) of each offset, innermost inlined function first."""
    with tempfile.NamedTemporaryFile(suffix=".co") as file:
        file.write(code)
        file.flush()
        command = [_find_symbolizer(), f"--obj={file.name}", "--output-style=JSON", "--no-demangle", *map(hex, offsets)]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    answers = json.loads(text)
    return {
        offset: [
            (frame["FunctionName"], f"{Path(frame['FileName']).name}:{frame['Line']}") for frame in answer["Symbol"]
        ]
        for offset, answer in zip(offsets, answers, strict=True)
    }


def _find_symbolizer() -> str:
    names = ("llvm-symbolizer", *(f"llvm-symbolizer-{release}" for release in range(30, 14, -1)))
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        raise FileNotFoundError("llvm-symbolizer is not installed (Debian and Ubuntu: apt-get install llvm)")
    return found


def _demangle(symbol: str) -> str:
    """Return the names in a mangled C++ symbol: 'Share::first' for _ZNK5Share5firstEv."""
    rest, names = re.sub(r"^_ZL?(NK?)?", "", symbol), []
    while match := re.match(r"\d+", rest):
        length = int(match[0])
        names.append(rest[match.end() : match.end() + length])
        rest = rest[match.end() + length :]
    return "::".join(names) or symbol
