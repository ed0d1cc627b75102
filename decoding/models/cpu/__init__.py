"""Computes the forward pass on a CPU by kernels of our own, which numba compiles at first use."""
