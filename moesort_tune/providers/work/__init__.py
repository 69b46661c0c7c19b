"""Each provider's kernels on a device: opened, checked, and enqueued to be timed."""
