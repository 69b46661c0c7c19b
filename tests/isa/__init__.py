"""The kernels' machine code for gfx90a, gfx942 and gfx950, executed instruction by instruction without a GPU."""
