"""The forward pass on a CPU as kernels of our own, compiled by numba when they are first needed."""
