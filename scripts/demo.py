"""End `make demo`: show the table that the sweep wrote and ask the dispatcher for three decisions."""

import subprocess
import sys
from pathlib import Path

from moesort_tune import runtime


def main() -> None:
    """Use the newest table in ./tables, as a deployment uses a shipped one."""
    table = max(Path("tables").glob("*.yaml"), key=lambda path: path.stat().st_mtime)
    subprocess.run([sys.executable, "-m", "moesort_tune", "show", str(table)], check=True)
    dispatcher = runtime.Dispatcher.load(table)
    print(f"\nThree decisions from {table}:")
    for tokens, num_experts, topk in ((1, 128, 4), (300, 128, 4), (64, 96, 6)):
        print(f"  {tokens} tokens, {num_experts} experts, topk {topk}:")
        print(f"    {dispatcher.explain(tokens=tokens, num_experts=num_experts, topk=topk)}")


if __name__ == "__main__":
    main()
