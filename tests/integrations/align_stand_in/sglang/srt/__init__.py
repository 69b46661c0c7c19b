"""A stand-in for the modules of SGLang 0.5.23 that align."""
