"""Computes our forward pass on a GPU: Triton kernels between the matrix products, recorded as CUDA graphs."""

from typing import Final

# What `tabcast doctor` says where there is a CUDA device, as docs/gpu.md does at its head; "" once a GPU has run it.
EXPERIMENTAL: Final = "experimental: nothing that is computed on a GPU has run on one yet"
