"""MoE token sorting: the problem, its reference, and the builtin kernels' sizes and launches."""
