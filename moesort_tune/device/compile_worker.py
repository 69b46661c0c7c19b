"""The child process of compiler.py: reads a request on standard input, writes device code to standard output."""

import json
import os
import sys

from moesort_tune.device import hip, libraries, sources
from moesort_tune.device.compiler import Unit
from moesort_tune.errors import MoesortTuneError


def main() -> int:
    """Return exit status 0 with the code on standard output, or 1 with the reason on standard error."""
    request = json.load(sys.stdin)
    unit = Unit(**request["unit"])
    output = os.dup(1)
    os.dup2(2, 1)  # keeps a compiler's output out of the code
    try:
        libraries.adopt(libraries.RuntimeLibraries(**request["libraries"]))
        code = hip.compile_source(
            name=unit.file,
            source=sources.read_source(unit.file),
            headers=sources.read_headers(unit.target),
            options=unit.options,
        )
    except MoesortTuneError as error:
        print(error, file=sys.stderr)
        return 1
    with os.fdopen(output, "wb") as file:
        file.write(code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
