"""Sets of kernels behind one boundary: facts that a serving process needs, and the work of running them."""
