"""The end of `make demo`: shows the table that the sweep wrote and asks the dispatcher three questions."""

import subprocess
import sys
from pathlib import Path

from moesort_tune import runtime


def main() -> None:
    """Uses the newest table in ./tables, as a deployment would use the one shipped with it."""
    table = max(Path("tables").glob("*.yaml"), key=lambda path: path.stat().st_mtime)
    subprocess.run([sys.executable, "-m", "moesort_tune", "show", str(table)], check=True)
    dispatcher = runtime.Dispatcher.load(table)
    print(f"\nThree decisions from {table}:")
    for tokens, num_experts, topk in ((1, 128, 4), (300, 128, 4), (64, 96, 6)):
        print(f"  {tokens} tokens, {num_experts} experts, topk {topk}:")
        print(f"    {dispatcher.explain(tokens=tokens, num_experts=num_experts, topk=topk)}")


if __name__ == "__main__":
    main()
