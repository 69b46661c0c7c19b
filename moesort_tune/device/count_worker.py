"""The child process that counts the devices of a runtime, so that its parent need not load a driver.

python -m moesort_tune.device.count_worker RUNTIME (empty for that of the attached device)
"""

import json
import os
import sys

from moesort_tune.device import hip, libraries
from moesort_tune.errors import MoesortTuneError


def main(runtime: str) -> int:
    """Write the number of devices to standard output; return exit status 1 with the reason on standard error."""
    output = os.dup(1)
    os.dup2(2, 1)  # keeps a driver's output out of the answer
    try:
        libraries.choose(runtime or None)
        count = hip.count_devices()
    except MoesortTuneError as error:
        print(error, file=sys.stderr)
        return 1
    with os.fdopen(output, "w") as file:
        json.dump(count, file)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
