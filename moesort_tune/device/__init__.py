"""The one path to a GPU: which HIP runtime, checked calls, compiling, architecture facts."""
