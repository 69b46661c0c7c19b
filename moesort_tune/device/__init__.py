"""Access to a GPU: the HIP runtime, checked calls, compilation and architecture facts."""
