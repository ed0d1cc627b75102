"""An engine where torch isn't installed: it writes the same text, and says what it can't do."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from decoding.errors import ModelError
from decoding.models.catalogue import ENGINE_BYTES, ENGINE_BYTES_WITHOUT_TORCH, engine_bytes
from decoding.small_torch import NeedsTorch, functions
from decoding.small_torch.tensor import Tensor
from tests.decoding.conftest import make_heads
from tests.gguf_models import tiny_gguf
from tests.without_torch import answers

REPOSITORY = Path(__file__).parents[2]
WAYS: list[dict[str, Any]] = [
    {"method": "plain"},
    {"method": "auto"},
    {"method": "draft"},
    {"method": "lookup+suffix"},
    {"method": "lookahead"},
    {"method": "heads"},
    {"method": "self"},
    {"method": "plain", "sampling": {"temperature": 0.8, "seed": 3}},
    {"method": "draft", "sampling": {"temperature": 0.8, "top_p": 0.9, "top_k": 50, "seed": 4}},
    {"method": "plain", "sampling": {"branch": 1, "branch_at": 70, "never_ids": [0, 5]}},
]
LIKE_MAIN = """
import sys
from tests.without_torch import hide_torch
hide_torch()
from decoding.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def engine(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The engine's command line where there is no torch."""
    return run(sys.executable, "-c", LIKE_MAIN, *arguments)


def test_the_text_is_the_same_without_torch(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    file = tiny_gguf(tmp_path / "tiny.gguf", tiny_models["llama"])
    make_heads(tmp_path / "tiny.gguf.heads", file, is_rounded=True)
    models = [
        {"model": str(tiny_models["llama"]), "draft": str(tiny_models["llama"]), "dtype": "bfloat16"},
        {"model": str(tiny_models["qwen2"]), "draft": "none", "dtype": "float32"},
        {"model": str(tiny_models["qwen3"]), "draft": "none", "dtype": "bfloat16", "quantize": "int4"},
        {"model": str(file), "draft": "none", "dtype": "bfloat16"},
    ]
    rng = random.Random(5)
    asked = {"models": models, "prompt": [rng.randrange(8, 500) for _ in range(70)], "ways": WAYS}
    found = run(sys.executable, "-m", "tests.without_torch", json.dumps(asked))
    assert found.returncode == 0, found.stderr
    told = json.loads(found.stdout)
    assert told["has"] == []
    for settings, written in zip(models, told["answers"], strict=True):
        assert written == answers(settings, asked["prompt"], WAYS), settings


@pytest.mark.parametrize("command", [("train", "draft"), ("bench", "decode")])
def test_a_command_that_needs_torch_says_how_it_is_installed(command: tuple[str, str]) -> None:
    found = engine(*command)
    assert found.returncode != 0
    assert found.stderr.startswith(
        f"tabcast: tabcast {command[0]} needs torch, which isn't installed: '{sys.executable} -m"
    )
    assert found.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("family", "settings", "needing"),
    [
        ("gpt_neox", (), "is computed by transformers"),
        ("llama", ("--quantize", "fp8"), "torch."),
        ("llama", ("--device", "cuda"), "device cuda"),
    ],
)
def test_a_model_that_needs_torch_is_refused_in_a_sentence(
    tiny_models: dict[str, Path], family: str, settings: tuple[str, ...], needing: str
) -> None:
    found = engine("doctor", "--json", "--model", str(tiny_models[family]), "--draft", "none", *settings)
    rows = json.loads(found.stdout)
    assert next(row for row in rows if row["name"] == "torch")["detail"].startswith("not installed")
    problem = rows[-1]
    assert not problem["ok"]
    assert needing in problem["detail"]
    assert "Traceback" not in found.stderr


def test_doctor_and_the_list_of_models_work_without_torch(tiny_model: Path) -> None:
    chosen = ("--model", str(tiny_model), "--draft", "none")
    found = engine("doctor", *chosen)
    assert found.returncode == 0, found.stdout + found.stderr
    shown = engine("models", "show", *chosen)
    assert "computed by" in shown.stdout, shown.stderr
    told_gib = float(re.search(r"memory +([\d.]+) GiB needed", shown.stdout)[1])  # type: ignore[index]
    assert told_gib == pytest.approx(ENGINE_BYTES_WITHOUT_TORCH / 2**30, abs=0.03)


def test_memory_is_told_with_torch_where_it_is_installed() -> None:
    assert engine_bytes() == ENGINE_BYTES > 2 * ENGINE_BYTES_WITHOUT_TORCH


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "float16", "float64"])
def test_numbers_are_converted_and_computed_as_torch_does(kind: str) -> None:
    generator = torch.Generator().manual_seed(1)
    wide = torch.randn(40, 30, generator=generator) * 100
    wide[0, :4] = torch.tensor([torch.inf, -torch.inf, torch.nan, 1e-40])
    theirs, ours = wide.to(getattr(torch, kind)), functions.from_numpy(wide.numpy()).to(getattr(functions, kind))
    steps: list[Callable[[Any], Any]] = [
        lambda x: x,
        lambda x: x.float(),
        lambda x: x.T.contiguous(),
        lambda x: x.view(4, 10, 30).transpose(0, 1).flatten(0, 1),
        lambda x: x.unflatten(0, (-1, 8))[:, 2:4],
        lambda x: x.chunk(3)[2],
        lambda x: x.split([10, 20, 10])[1],
        lambda x: x.isfinite(),
        lambda x: x[1:] * 2 - x[1:],
        lambda x: x[1:].argmax(dim=-1),
        lambda x: x[3].clone().topk(5).indices,
        lambda x: x[3].clone().sort(descending=True).values,
        lambda x: x[4].index_fill_(-1, x.argmax(dim=-1)[:1] * 0 + 3, -1.0),
    ]
    for number, step in enumerate(steps):
        theirs_now, ours_now = step(theirs.clone()), step(ours.clone())
        assert tuple(ours_now.shape) == tuple(theirs_now.shape), number
        assert repr(ours_now.dtype) == repr(theirs_now.dtype), number
        expected = theirs_now.float().numpy() if theirs_now.is_floating_point() else theirs_now.numpy()
        got = ours_now.float().numpy() if ours_now.is_floating_point() else ours_now.numpy()
        assert np.array_equal(got, expected, equal_nan=got.dtype.kind == "f"), number


def test_what_is_not_here_says_that_it_needs_torch() -> None:
    with pytest.raises(NeedsTorch, match="needs torch, which isn't installed"):
        _ = Tensor([1.0]).matmul
    assert issubclass(NeedsTorch, ModelError)


def test_an_installation_brings_no_torch_unless_it_is_asked_for() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    heavy = ("torch", "transformers")
    assert [name for name in project["dependencies"] if name.startswith(heavy)] == []
    assert len(project["optional-dependencies"]["torch"]) == 2
    assert "tabcast[torch]" in project["optional-dependencies"]["bench"]
