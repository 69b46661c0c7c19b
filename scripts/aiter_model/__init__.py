"""Model of the time of AITER's two sorting kernels on gfx950: emulated cycles, fitted to published times."""
