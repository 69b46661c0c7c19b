// Stands for the binding of AITER's sorting kernels.
