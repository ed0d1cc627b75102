"""Our forward pass on a GPU: Triton kernels between the matrix products, recorded as CUDA graphs and replayed."""

from typing import Final

# What `tabcast doctor` says where there is a CUDA device, and the head of docs/gpu.md; "" once a GPU has run it.
EXPERIMENTAL: Final = "experimental: what is computed on a GPU was rehearsed without one and has never run on one"
