"""The rivals that scripts/bench_rivals.py measures beside this project's kernels. Nothing of theirs is in here."""
