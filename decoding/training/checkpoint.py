"""Saves the state of a run in a file, written aside and renamed, so that a failed write leaves the last one whole."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from decoding.errors import Interrupted, TabcastError

log = logging.getLogger(__name__)


class TrainingError(TabcastError):
    """A run can't go on; the text says why, and what is left of it."""


class TrainingInterrupted(Interrupted, TrainingError):  # noqa: N818 - it says what is the case
    """Somebody ended a run, whose state was saved."""


@dataclass(slots=True, kw_only=True)
class Progress:
    """The progress of a run; `spent_s` sums the seconds of all its stretches, `loss` is smoothed, in nats a token."""

    step: int = 0
    spent_s: float = 0.0
    loss: float = 0.0
    data: dict[str, Any] = field(default_factory=dict)


def save(path: Path, progress: Progress, model: torch.nn.Module, optimizers: list[torch.optim.Optimizer]) -> None:
    """Write everything that `load` needs.

    Raises:
        TrainingError: the disk is full or the folder can't be written; an older file stands.
    """
    partial = path.with_suffix(".partial")
    state = {
        "model": model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "step": progress.step,
        "spent": progress.spent_s,
        "loss": progress.loss,
        "data": progress.data,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, partial)
        partial.replace(path)
    except (OSError, RuntimeError) as error:  # torch's writer raises RuntimeError where the disk is full
        partial.unlink(missing_ok=True)
        kept = "the one before stands" if path.exists() else "there is none yet"
        raise TrainingError(f"the checkpoint {path} can't be written ({error}); {kept}") from None


def load(path: Path, model: torch.nn.Module, optimizers: list[torch.optim.Optimizer]) -> Progress:
    """Load a saved state into `model` and `optimizers`; return a fresh `Progress` where there is no file.

    Raises:
        TrainingError: the file is of another model or no checkpoint.
    """
    if not path.exists():
        return Progress()
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        progress = Progress(step=state["step"], spent_s=state["spent"], loss=state["loss"], data=state.get("data", {}))
    except (RuntimeError, ValueError, KeyError, TypeError, OSError, EOFError, UnpicklingError) as error:
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise TrainingError(f"{path} is no checkpoint of this model ({reason}); give another file") from None
    log.info("continuing from step %d of %s", progress.step, path)
    return progress
