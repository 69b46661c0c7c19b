"""What runs each provider's kernels on a device: checks them, and enqueues them to be timed."""
