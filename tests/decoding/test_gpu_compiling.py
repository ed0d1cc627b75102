"""The Triton kernels are compiled for a GPU that isn't there: no register may spill, keys and values come in wide."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("triton", reason="Triton is not installed")

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from decoding.models.cuda import kernels
from decoding.models.cuda.operations import STEP_SPLITS

if triton.knobs.runtime.interpret:
    pytest.skip("Triton interprets instead of compiling", allow_module_level=True)

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
HOPPER = GPUTarget("cuda", 90, 32)
TYPES = {
    "width": "i32",
    "num_rows": "i32",
    "layer_offset": "i32",
    "tail_offset": "i32",
    "eps": "fp32",
    "scale": "fp32",
    "words": "*i64",
}
IN_FULL = ("mixed", "highest", "total", "rotary")
PIECES = {"NEAR": STEP_SPLITS.near, "NUM_NEAR": STEP_SPLITS.num_near, "FAR": STEP_SPLITS.far}


def compiled(tmp_path: Path, kernel: Any, constants: dict[str, Any], warps: int) -> str:
    """What the assembler made of a kernel: its use of registers, and its code."""
    names = kernel.arg_names
    usual = {name: TYPES.get(name, "*fp32" if name in IN_FULL else "*bf16") for name in names}
    source = ASTSource(
        kernel,
        {name: "constexpr" if name in constants else usual[name] for name in names},
        {(names.index(name),): value for name, value in constants.items()},
        {
            (i,): [["tt.divisibility", 16]]
            for i, name in enumerate(names)
            if usual[name] != "fp32" and name not in constants
        },
    )
    file = tmp_path / "kernel.cubin"
    file.write_bytes(triton.compile(source, target=HOPPER, options={"num_warps": warps}).asm["cubin"])
    dump = [
        subprocess.check_output([TOOLS / "cuobjdump", option, file], text=True) for option in ("-res-usage", "-sass")
    ]
    return "".join(dump)


@pytest.mark.parametrize(
    ("name", "constants", "warps"),
    [
        ("add_norm", {"HAS_DELTA": True, "WIDE": 4096}, 8),
        ("gate", {"WIDE": 1024}, 4),
        ("rotate_and_write", {"HEADS": 28, "KV_HEADS": 4, "HEAD_DIM": 128, "HAS_NORM": True}, 1),
        ("combine", {"HEADS": 28, "HEAD_DIM": 128, **PIECES}, 1),
    ],
)
@pytest.mark.parametrize("is_chains", [False, True])
def test_nothing_spills(tmp_path: Path, name: str, constants: dict[str, Any], warps: int, is_chains: bool) -> None:
    kernel = getattr(kernels, name)
    own = {"IS_CHAINS": is_chains} if "IS_CHAINS" in kernel.arg_names else {}
    found = compiled(tmp_path, kernel, constants | own, warps)
    assert re.findall(r"STACK:(\d+)", found) == ["0"]


@pytest.mark.parametrize("heads", [(28, 4, 128), (40, 8, 128), (14, 2, 64)])
@pytest.mark.parametrize(("queries", "warps", "unit"), [(128, 8, "HGMMA"), (16, 4, "HMMA")])
@pytest.mark.parametrize("is_chains", [False, True])
def test_attention_reads_wide_and_uses_the_matrix_unit(
    tmp_path: Path, heads: tuple[int, int, int], queries: int, warps: int, unit: str, is_chains: bool
) -> None:
    sizes = dict(zip(("HEADS", "KV_HEADS", "HEAD_DIM"), heads, strict=True))
    constants = {**sizes, "QUERIES": queries, "PRECISION": "tf32", "IS_CHAINS": is_chains}
    found = compiled(tmp_path, kernels.attend_piece, constants | PIECES, warps)
    assert re.findall(r"STACK:(\d+)", found) == ["0"]
    assert "LDGSTS.E.BYPASS.128" in found
    assert re.search(rf"\b{unit}", found)
