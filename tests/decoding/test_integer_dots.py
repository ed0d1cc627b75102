"""Which instructions a processor is taken to have, and that code for other processors can be made and has them."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys

import pytest

from decoding.models.cpu.integer_dots import HERE, PATHS, PLAIN, supported
from decoding.models.cpu.quantized_forms import FORMS
from tests.decoding.pretended_processor import digest

ZEN_4 = dict.fromkeys(["avx512f", "avx512bw", "avx512vl", "avx512vnni", "avx2", "fma", "f16c"], True)
ALDER_LAKE = dict.fromkeys(["avx2", "fma", "f16c", "avxvnni"], True)
HASWELL = dict.fromkeys(["avx2", "fma", "f16c"], True)
M1 = dict.fromkeys(["neon", "dotprod"], True)


@pytest.mark.parametrize(
    ("features", "processor", "paths"),
    [
        (ZEN_4, "znver4", ["avx512vnni", "avxvnni", "avx2", PLAIN]),
        (ALDER_LAKE, "alderlake", ["avxvnni", "avx2", PLAIN]),
        ({**ZEN_4, "avx512vnni": False}, "skylake-avx512", ["avx2", PLAIN]),
        ({**ALDER_LAKE, "avx2": False}, "odd", [PLAIN]),
        (HASWELL, "haswell", ["avx2", PLAIN]),
        ({"avx": True}, "sandybridge", [PLAIN]),
        (M1, "apple-m1", ["dotprod", PLAIN]),
        ({}, "apple-m3", ["dotprod", PLAIN]),
        ({**M1, "i8mm": True}, "neoverse-v2", ["i8mm", "dotprod", PLAIN]),
        ({}, "", [PLAIN]),
    ],
)
def test_paths_are_those_whose_instructions_are_there(
    features: dict[str, bool], processor: str, paths: list[str]
) -> None:
    assert list(supported(features, processor)) == paths


def test_the_plain_path_is_everywhere_and_the_last() -> None:
    assert HERE[-1] == PLAIN
    assert set(HERE) <= set(PATHS)


def test_told_to_do_without_avx_no_such_instruction_is_used() -> None:
    """LLVM would end the process at it."""
    script = "from decoding.models.cpu import integer_dots, simd; print(integer_dots.HERE, simd.HAS_PAIRS)"
    for setting in ({"NUMBA_ENABLE_AVX": "0"}, {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}):
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={**_environment(), **setting},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == "('plain',) False", setting


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}


CROSS_COMPILE = """
import sys
import llvmlite.binding as llvm
from llvmlite import ir
from decoding.models.cpu.integer_dots import PATHS
from decoding.models.cpu.quantized_forms import FORMS
from decoding.models.cpu.quantized_tile import Operands, tile
from decoding.models.cpu.simd import INT64

triple, processor, path = sys.argv[1:]
by = PATHS[path]
llvm.initialize_all_targets()
llvm.initialize_all_asmprinters()
machine = llvm.Target.from_triple(triple).create_target_machine(cpu=processor, opt=3)
for kind, form in FORMS.items():
    module = ir.Module()
    module.triple = triple
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [INT64] * 8), "multiply")
    builder = ir.IRBuilder(function.append_basic_block())
    tile(builder, by, form, by.max_rows, Operands(*function.args))
    builder.ret_void()
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    print("KIND", machine.emit_assembly(parsed))
"""
X86, ARM, ARM_MAC = "x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "arm64-apple-macosx14.0.0"


@pytest.mark.parametrize(
    ("triple", "processor", "path", "instruction", "absent"),
    [
        (X86, "icelake-server", "avx512vnni", r"vpdpbusd.*%zmm", r"call"),
        (X86, "alderlake", "avxvnni", r"\{vex\}\s+vpdpbusd", r"call|zmm"),
        (X86, "haswell", "avx2", r"vpmaddubsw", r"call|zmm"),
        (X86, "x86-64", PLAIN, r"pmulld|pmuludq|pmaddwd|pmullw", r"hfsf|h2f|ymm"),
        (ARM, "neoverse-n1", "dotprod", r"\bsdot\b", r"\bbl\b|usdot"),
        (ARM_MAC, "apple-m1", "dotprod", r"\bsdot", r"\bbl\b|usdot"),
        (ARM, "neoverse-v1", "i8mm", r"\busdot\b", r"\bbl\b|\bsdot"),
        (ARM_MAC, "apple-m2", "i8mm", r"\busdot", r"\bbl\b|\bsdot"),
        (ARM, "cortex-a72", PLAIN, r"\bmla|\bmul", r"\bbl\b|dot"),
    ],
)
def test_code_for_other_processors_has_their_instructions(
    triple: str, processor: str, path: str, instruction: str, absent: str
) -> None:
    """In a process of its own, since LLVM ends it at what it can't express."""
    command = [sys.executable, "-c", CROSS_COMPILE, triple, processor, path]
    done = subprocess.run(command, env=_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    _, *kinds = done.stdout.split("KIND")
    assert len(kinds) == len(FORMS)
    for code in kinds:
        assert len(re.findall(instruction, code)) >= 8, code
        assert not re.search(absent, code), code


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="features of another processor are named")
@pytest.mark.parametrize(
    ("processor", "missing", "path"),
    [
        ("haswell", ["avx512", "avxvnni"], "avx2"),
        ("x86-64-v2", ["avx", "fma", "f16c", "bmi", "vaes", "vpcl", "gfni"], PLAIN),
    ],
)
def test_a_processor_that_can_do_less_computes_the_same_bits(processor: str, missing: list[str], path: str) -> None:
    """All code is compiled for it, the rounding of rows and vectors of another width included."""
    if path not in HERE:
        pytest.skip("this processor can do even less")
    command = [sys.executable, "-m", "tests.decoding.pretended_processor", processor, *missing]
    done = subprocess.run(command, env=_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [path, digest()]
