"""Facts of each provider's kernels, known without running them. Standard library only."""
