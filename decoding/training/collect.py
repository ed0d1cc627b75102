"""Collects hidden states by the engine's own forward pass, whatever computes it: also of weights in four bits on a CPU.

A text is a row of the user's code in the engine's layout of prompts, of which the last part may be what the target
itself writes there: heads will have to guess that.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from decoding.models.language_model import Cache, LanguageModel
from decoding.training.checkpoint import TrainingInterrupted
from decoding.training.dataloader import DataLoader
from decoding.training.states import NUM_LIKELIEST, Record, StatesFolder, record_type

log = logging.getLogger(__name__)

TELL_EVERY_S: Final = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The texts to collect: `split` begins their names, and the target writes `own_share` of each, its end."""

    split: str
    num_texts: int
    own_share: float


class Collector:
    """Computes texts with a target and keeps them; `norm_eps` is of the target's last norm."""

    def __init__(self, target: LanguageModel, folder: StatesFolder, norm_eps: float) -> None:
        self._target, self._folder, self._norm_eps = target, folder, norm_eps

    def collect(
        self,
        feed: DataLoader,
        wanted: Wanted,
        is_stopped: Callable[[], bool],
        is_late: Callable[[], bool] = lambda: False,
    ) -> list[Record]:
        """Return the wanted texts, fewer once it is late; those that are there already are not computed again.

        Raises `TrainingInterrupted` if it is stopped.
        """
        names = [f"{wanted.split}-{number:05d}" for number in range(wanted.num_texts)]
        missing = [name for name in names if not self._folder.has(name)]
        began = told = time.monotonic()
        num_made = 0
        found: list[Record] = []
        for name in names:
            ids = feed.batch(1)[0]
            if self._folder.has(name):
                found.append(self._folder.read(name))
                continue
            if found and is_late():
                log.info("the time to collect is over: training goes on with %d of %d texts", len(found), len(names))
                break
            if is_stopped():
                raise TrainingInterrupted(
                    f"interrupted after {len(names) - len(missing) + num_made} of {len(names)} texts; "
                    f"the same command goes on from {self._folder.folder}"
                )
            self._folder.write(name, self.compute(ids, int(len(ids) * wanted.own_share)))
            found.append(self._folder.read(name))
            num_made += 1
            if (now := time.monotonic()) - told > TELL_EVERY_S or num_made == 1:
                told = now
                left_min = (now - began) / num_made * (len(missing) - num_made) / 60
                done = len(names) - len(missing) + num_made
                log.info("collected %d of %d texts, about %.0f minutes left", done, len(names), left_min)
        return found

    @torch.inference_mode()
    def compute(self, ids: NDArray[np.int64], num_own: int) -> Record:
        """Return the records of a text whose last `num_own` tokens are replaced by the target's own."""
        cache = self._target.new_cache()
        records = np.zeros(len(ids), record_type(self._target.hidden_width))
        num_given = len(ids) - num_own
        width = self._target.capabilities.step_width
        at = 0
        while at < len(ids):
            is_own = at >= num_given
            piece = [int(records["choices"][at - 1, 0])] if is_own else ids[at : min(at + width, num_given)].tolist()
            part = records[at : at + len(piece)]
            part["id"], part["is_own"] = piece, is_own
            self._step(piece, cache, part)
            at += len(piece)
        return records

    def _step(self, piece: list[int], cache: Cache, part: Record) -> None:
        logits = self._target.step(piece, cache)[: len(piece)]
        hidden = self._target.hidden()
        assert hidden is not None  # such models are refused before
        part["state"] = self._normed(hidden[: len(piece)])
        shares, choices = logits.float().softmax(-1).topk(NUM_LIKELIEST)
        part["choices"], part["shares"] = choices.cpu().numpy(), shares.cpu().numpy()
        cache.commit(piece)

    def _normed(self, hidden: Tensor) -> NDArray[np.float32]:
        """Return states (N, C) as the last norm makes them, without its weight: bounded, so that float16 is enough."""
        x = hidden.float().cpu().numpy()
        normed: NDArray[np.float32] = x / np.sqrt(np.square(x).mean(-1, keepdims=True) + self._norm_eps)
        return normed
