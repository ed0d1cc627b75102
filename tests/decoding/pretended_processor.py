"""Run as a program: prints the bits of products as a processor without some features computes them.

LLVM is told of fewer features before anything is compiled, so that all code is made for that processor.
"""

from __future__ import annotations

import hashlib
import sys

import llvmlite.binding as llvm

TYPES = ("Q4_K", "Q6_K", "Q8_0")


def without(prefixes: tuple[str, ...], name: str) -> None:
    """Pretend to be another processor."""
    features = llvm.get_host_cpu_features()
    for feature in features:
        if feature.startswith(prefixes):
            features[feature] = False
    llvm.get_host_cpu_features = lambda: features
    llvm.get_host_cpu_name = lambda: name


def digest() -> str:
    """Compute rounded rows and their products with blocks, by the best path; what compiles is imported here."""
    import numpy as np

    from decoding.models.cpu.block_repacking import repacked
    from decoding.models.cpu.quantized_matmul import multiply_address
    from tests.decoding import test_quantized_products as products
    from tests.decoding.test_quantized_rows import rounded

    found = hashlib.sha256()
    for type_name in TYPES:
        panels = repacked(products.extreme_blocks(type_name, 40, 512), type_name, 40, 512)
        rows = rounded(products.extreme_rows(9, 512))
        found.update(rows.tobytes())
        found.update(np.ascontiguousarray(products.product(panels, rows, multiply_address(panels.kind))).tobytes())
    return found.hexdigest()


if __name__ == "__main__":
    without(tuple(sys.argv[2:]), sys.argv[1])
    from decoding.models.cpu.integer_dots import HERE

    sys.stdout.write(f"{HERE[0]} {digest()}\n")
