"""Adapts a draft to its user: it learns from the text that the target generated for them, never the other way round.

The last fifth of the answers is held out: a draft that guesses less of it than before is not written, and one that
guesses less than the draft it once began with is removed. What the editor shows never changes, as the target verifies.
Drafts that follow their traffic: Liu et al. 2023, Online Speculative Decoding (https://arxiv.org/abs/2310.07177). It
must not know the engine.
"""

from __future__ import annotations

import json
import logging
import random
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from filelock import FileLock, Timeout
from transformers import PreTrainedModel

from decoding.errors import TabcastError
from decoding.models.folder.model_folder import ModelFolder
from decoding.models.folder.safetensors_headers import count_parameters
from decoding.models.folder.tokenizer_files import load_with_vocabulary, why_not_alike
from decoding.models.loading.memory import free_bytes, needed_bytes
from decoding.storage.adaptation import AdaptationFolder, LoggedAnswer
from decoding.training import evaluate_draft, pretrain
from decoding.training.checkpoint import TrainingError
from decoding.training.distill import distillation_loss
from decoding.training.draft import BYTES_PER_TRAINED_PARAMETER, load_model
from decoding.training.export import export
from decoding.training.pretrain import hidden_states
from decoding.training.schedule import RunLength

log = logging.getLogger(__name__)

MIN_ANSWERS = 40
HELD_OUT_SHARE = 0.2
NUM_STEPS = 150
MINUTES = 3.0
ROW_LEN = 1024
NUM_ROWS = 2
RATE_SCALE = 0.1
GIB = 2**30
CHECKPOINT_FILE = "run.pt"
LOCK_FILE = "lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """The limits of a run, by steps and by minutes, whichever is reached first, and the scale of its learning rate."""

    steps: int = NUM_STEPS
    minutes: float = MINUTES
    rate_scale: float = RATE_SCALE
    device: str = "cpu"
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapted:
    """The result of a run on held-out answers.

    `first` is the draft that it all began with, `before` the one in use until now, `after` the newly learnt one; `kept`
    names the one of them that the engine loads from its next start on.
    """

    first: evaluate_draft.Agreement
    before: evaluate_draft.Agreement
    after: evaluate_draft.Agreement
    kept: str
    num_learnt_from: int
    num_held_out: int
    num_written: int
    steps: int
    spent_s: float

    def to_json(self) -> dict[str, Any]:
        """Return the report that is written beside the draft."""
        return asdict(self)


class Rows:
    """An endless stream of rows that each begin with a whole prompt and its answer; equal seeds give equal rows."""

    def __init__(self, written: Sequence[LoggedAnswer], *, row_len: int, seed: int) -> None:
        self._ids = [[*found.prompt_ids, *found.answer_ids][-row_len:] for found in written]
        self._row_len = row_len
        self._random = random.Random(seed)  # noqa: S311 - sampling, not secrets

    def batch(self, num_rows: int) -> npt.NDArray[np.int64]:
        """Return the next rows, shape (num_rows, row_len)."""
        return np.asarray([self._row() for _ in range(num_rows)], dtype=np.int64)

    def state(self) -> dict[str, Any]:
        """Return the stream's position, for `restore`."""
        return {"random": self._random.getstate()}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a position that `state` returned, with all answers that were added since."""
        self._random.setstate(state["random"])

    def _row(self) -> list[int]:
        row: list[int] = []
        while len(row) < self._row_len:
            row += self._random.choice(self._ids)
        return row[: self._row_len]


def adapt(home: AdaptationFolder, target: Path, draft: Path, effort: Effort) -> Adapted:
    """Learn once from the kept answers, and keep the better draft.

    Raises:
        TabcastError: there are too few answers, another process is learning, memory is short, a model of a kind that
            can't learn, a draft of another tokenizer, or what `pretrain.run` raises. The draft in use stays in use.
    """
    if problem := why_not_alike(load_with_vocabulary(target)[1], load_with_vocabulary(draft)[1]):
        raise TabcastError(f"{draft} can't learn from {target}, which has another tokenizer: {problem}")
    answers = home.read_answers()
    if len(answers) < MIN_ANSWERS:
        raise TabcastError(
            f"{len(answers)} answers were kept so far, and {MIN_ANSWERS} are needed to learn from; "
            "they are kept while an engine runs with the setting online = true"
        )
    _check_memory(target, draft, effort.device)
    home.make()
    lock = FileLock(home.folder / LOCK_FILE, timeout=0)
    try:
        with lock:
            return _adapt(home, answers, target, draft, effort)
    except Timeout:
        raise TabcastError("another process adapts this draft already") from None


def reset(home: AdaptationFolder) -> bool:
    """Remove the adapted draft and all that it learnt from; return whether there was anything.

    Raises `TabcastError` if files can't be removed.
    """
    if not home.folder.exists():
        return False
    try:
        shutil.rmtree(home.folder)
    except OSError as error:
        raise TabcastError(f"{home.folder} can't be removed: {error.strerror}") from None
    return True


def _adapt(
    home: AdaptationFolder, answers: Sequence[LoggedAnswer], target: Path, draft: Path, effort: Effort
) -> Adapted:
    began = time.monotonic()
    num_held_out = max(1, round(HELD_OUT_SHARE * len(answers)))
    # The latest answers are held out, since they are most like the ones to come.
    learnt_from, held_out = answers[:-num_held_out], answers[-num_held_out:]
    first = load_model(draft, effort.device)
    has_adapted = home.draft.is_dir()
    student = load_model(home.draft, effort.device) if has_adapted else first
    agreed = {"first": agreement(first, held_out)}
    agreed["before"] = agreement(student, held_out) if has_adapted else agreed["first"]
    teacher = load_model(target, effort.device, _teacher_type(effort.device))
    steps = _learn(home, student, teacher, learnt_from, effort)
    agreed["after"] = agreement(student, held_out)
    kept = max(("first", "before", "after"), key=lambda name: agreed[name].share)
    made = Adapted(
        **agreed,
        kept="first" if kept == "before" and not has_adapted else kept,
        num_learnt_from=len(learnt_from),
        num_held_out=len(held_out),
        num_written=answers[-1].number,
        steps=steps,
        spent_s=round(time.monotonic() - began, 1),
    )
    if made.kept == "after":
        export(student, draft, home.draft)
    elif made.kept == "first":
        shutil.rmtree(home.draft, ignore_errors=True)
    _write_report(home, made)
    return made


def _check_memory(target: Path, draft: Path, device: str) -> None:
    """Raise if there is no room to load the target once more, beside an engine, to compute its distributions."""
    needed = needed_bytes(ModelFolder.read(target), _teacher_type(device), NUM_ROWS * ROW_LEN)
    needed += BYTES_PER_TRAINED_PARAMETER * count_parameters(draft)
    free = free_bytes(torch.device(device))
    if free is not None and needed > free:
        raise TabcastError(
            f"learning needs {needed / GIB:.1f} GiB on {device}, where {free / GIB:.1f} GiB are free; "
            "another --device may have more"
        )


def _teacher_type(device: str) -> torch.dtype:
    return torch.bfloat16 if device.startswith("cuda") else torch.float32


def _learn(
    home: AdaptationFolder,
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    answers: Sequence[LoggedAnswer],
    effort: Effort,
) -> int:
    """Train in place, from where an interrupted run stopped; return the number of steps."""
    limits = [model.config.max_position_embeddings for model in (student, teacher)]
    row_len = min(ROW_LEN, *limits)
    recipe = pretrain.Recipe(
        length=RunLength(steps=effort.steps, minutes=effort.minutes), num_rows=NUM_ROWS, rate_scale=effort.rate_scale
    )
    rows = Rows(answers, row_len=row_len, seed=effort.seed)
    torch.manual_seed(effort.seed)
    checkpoint = home.folder / CHECKPOINT_FILE
    loss_of = distillation_loss(teacher)
    result = pretrain.run(student, rows, recipe, checkpoint, loss_of=loss_of, name="adapting")
    checkpoint.unlink(missing_ok=True)
    return result.num_steps


@torch.no_grad()
def agreement(draft: PreTrainedModel, answers: Sequence[LoggedAnswer]) -> evaluate_draft.Agreement:
    """Return how much of the target's text the draft guesses, each token after the true text before it."""
    draft.eval()
    most = draft.config.max_position_embeddings
    stood: list[bool] = []
    num_steps = 0
    for written in answers:
        ids = torch.tensor([[*written.prompt_ids, *written.answer_ids][-most:]], device=draft.device)
        num_answered = min(len(written.answer_ids), ids.shape[1] - 1)
        with torch.autocast(draft.device.type, dtype=torch.bfloat16):
            guessed = draft.lm_head(hidden_states(draft, ids)[0, -num_answered - 1 : -1]).argmax(-1)
        found: list[bool] = (guessed == ids[0, -num_answered:]).tolist()
        stood += found
        num_steps += evaluate_draft.steps_for(found)
    return evaluate_draft.Agreement(share=sum(stood) / len(stood), tokens_per_step=len(stood) / num_steps)


def _write_report(home: AdaptationFolder, made: Adapted) -> None:
    aside = home.report.with_suffix(".partial")
    try:
        aside.write_text(json.dumps(made.to_json(), indent=1) + "\n", encoding="utf-8")
        aside.replace(home.report)
    except OSError as error:
        raise TrainingError(f"{home.report} can't be written: {error.strerror}") from None
