"""Our forward pass on a GPU: Triton kernels between the matrix products, recorded as CUDA graphs and replayed."""
