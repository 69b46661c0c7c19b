"""MoE token sorting: the problem, its reference, and the two kernels' sizes and launches."""
