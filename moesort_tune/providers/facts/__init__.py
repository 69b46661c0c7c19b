"""Facts of each provider's kernels, known without running them; base.py says what they may import."""
