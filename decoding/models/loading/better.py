"""Finds a better code model than the one in use among those that lie on this machine, by names and sizes alone.

It takes milliseconds: folders are listed, and of one or two GGUF files the first kilobytes are read.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from decoding.errors import ModelError
from decoding.models.catalogue import OVERHEAD, ROUNDED_ABOVE, ROUNDED_BYTES
from decoding.models.gguf.architecture import ARCHITECTURES
from decoding.models.gguf.reader import read_beginning
from decoding.models.gguf.split_files import is_gguf
from decoding.models.listed import at_other_programs, file_of
from decoding.storage.pulled import pulled_models

# Families of code models that fill in the middle and whose files of all kinds are computed here.
FAMILIES: Final = re.compile(r"qwen-?2\.5-?coder|deepseek-?coder(?!-?v2)|seed-?coder|mellum", re.IGNORECASE)
SIZE: Final = re.compile(r"(?<![\d.])(\d{1,3}(?:\.\d{1,2})?)b(?![a-z])", re.IGNORECASE)
# chosen: of two models of a family, one with half as many weights again is clearly the better one.
FACTOR: Final = 1.5
# chosen: a processor reads some tens of gigabytes a second, so that larger weights would give less than ten tokens.
MAX_CPU_BYTES: Final = 2.5e9
USUAL_BYTES: Final = 0.6  # of a weight in four to five bits, where a name doesn't tell the size


@dataclass(frozen=True, slots=True, kw_only=True)
class BetterModel:
    """A model that is at hand; `name` is what `tabcast models use` takes."""

    name: str
    path: Path
    num_bytes: int

    @property
    def command(self) -> str:
        """Return the command that chooses the model."""
        return f"tabcast models use {shlex.quote(self.name)}"

    def __str__(self) -> str:
        return f"a better model is on this machine: '{self.command}' chooses it, 'tabcast setup' the best one"


def better_model(in_use: Path, num_weights: int, device: torch.device, free: int | None) -> BetterModel | None:
    """Return the largest code model at hand that this machine runs well, if it is clearly better than the one in use.

    Args:
        in_use: the target's folder or file.
        num_weights: of the target; 0 if it is no code model, or none that fills in the middle.
        device: where models are computed.
        free: bytes of memory on it, None if that isn't known.
    """
    limits = [MAX_CPU_BYTES] if device.type == "cpu" else []
    most = min([*limits, *([] if free is None else [free / OVERHEAD])], default=math.inf)
    sized = [
        (_num_weights(model), model)
        for model in _at_hand()
        if _held_bytes(model, device) <= most and model.path != in_use
    ]
    for weights, model in sorted(sized, key=lambda item: item[0], reverse=True):
        if weights < FACTOR * num_weights:
            return None
        if _is_computed(model.path):
            return model
    return None


def is_code_model(name: str) -> bool:
    """Return whether a name is that of a family of code models which fill in the middle."""
    return FAMILIES.search(name) is not None


def _at_hand() -> Iterator[BetterModel]:
    for pulled in pulled_models():
        if pulled.is_complete and is_code_model(pulled.name):
            yield BetterModel(name=pulled.name, path=file_of(pulled), num_bytes=pulled.num_bytes)
    for found in at_other_programs():
        if not found.problem and is_code_model(found.name):
            yield BetterModel(name=found.name, path=found.path, num_bytes=found.num_bytes)


def _num_weights(model: BetterModel) -> float:
    told = SIZE.findall(model.name)
    return float(told[-1]) * 1e9 if told else model.num_bytes / USUAL_BYTES


def _held_bytes(model: BetterModel, device: torch.device) -> float:
    """Return the bytes of a model's weights as they are held: on a CPU a large one that comes in numbers is rounded."""
    weights = _num_weights(model)
    is_rounded = device.type == "cpu" and not is_gguf(model.path) and weights > ROUNDED_ABOVE
    return weights * ROUNDED_BYTES if is_rounded else model.num_bytes


def _is_computed(path: Path) -> bool:
    if not is_gguf(path):
        return path.is_dir()
    try:
        return read_beginning(path).get("general.architecture") in ARCHITECTURES
    except ModelError:
        return False
