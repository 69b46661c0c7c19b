"""The vocabulary that every room shares: kernels and policies, shapes, settings, limits. Standard library only."""
