"""Ways to spoil a model folder, and what has to be said of one that was spoiled."""

from __future__ import annotations

import json
import math
import re
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from decoding.config import EngineConfig
from decoding.errors import ModelError
from decoding.models.loading.model_set import load_models

WEIGHTS = "model.safetensors"


def longer(tensor: Tensor) -> Tensor:
    return torch.cat([tensor, tensor[: max(1, len(tensor) // 2)]])


def much_longer(tensor: Tensor) -> Tensor:
    return torch.cat([tensor] * 16)


def shorter(tensor: Tensor) -> Tensor:
    return tensor[:-1].clone()


def wider(tensor: Tensor) -> Tensor:
    return torch.cat([tensor, tensor], dim=-1)


def turned(tensor: Tensor) -> Tensor:
    return tensor.T.contiguous() if tensor.ndim == 2 and len(tensor) != tensor.shape[1] else tensor[None].clone()


def scalar(tensor: Tensor) -> Tensor:
    return tensor.flatten()[0].clone()


def empty(tensor: Tensor) -> Tensor:
    return tensor[:0].clone()


def integers(tensor: Tensor) -> Tensor:
    return tensor.to(torch.int32)


def bytes_without_factors(tensor: Tensor) -> Tensor:
    return tensor.to(torch.int8)


def truths(tensor: Tensor) -> Tensor:
    return tensor > 0


def with_nan(tensor: Tensor) -> Tensor:
    changed = tensor.clone()
    changed.view(-1)[-1] = math.nan
    return changed


def with_both_infinities(tensor: Tensor) -> Tensor:
    changed = tensor.clone()
    changed.view(-1)[:2] = torch.tensor([math.inf, -math.inf])
    return changed


SPOILED = (
    longer, much_longer, shorter, wider, turned, scalar, empty, integers, bytes_without_factors, truths, with_nan,
    with_both_infinities,
)  # fmt: skip


def assert_refused(path: Path, *named: str, **settings: Any) -> str:
    """Load a folder, which must be refused by a sentence that names file or key."""
    with pytest.raises(ModelError) as caught:
        load_models(EngineConfig(model=str(path), device="cpu", **{"dtype": "float32", **settings}))
    return assert_sentence(str(caught.value), *named)


def assert_sentence(message: str, *named: str) -> str:
    for name in named:
        assert name in message
    assert not re.search(r"\w(Error|Exception)\b|Traceback|\n|<class|object at 0x", message), message
    assert len(message) < 700
    return message


def assert_left_out(target: Path, heads: Path, *named: str) -> None:
    models, _ = load_models(EngineConfig(model=str(target), heads=str(heads), device="cpu"))
    assert models.heads is None
    assert_sentence(*models.notices, *named)


def change_config(path: Path, changes: dict[str, object]) -> None:
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    (path / "config.json").write_text(json.dumps({**config, **changes}), encoding="utf-8")


def header_of(described: object, *, data: bytes = b"", length: int | None = None) -> bytes:
    text = described if isinstance(described, bytes) else json.dumps(described).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data
