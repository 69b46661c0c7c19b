"""A stand-in for the modules of vLLM 0.33.0 that align."""

__version__ = "0.33.0"
