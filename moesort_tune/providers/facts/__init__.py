"""What is known of each provider's kernels without running them. Standard library only."""
