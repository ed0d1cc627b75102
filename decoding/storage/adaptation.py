"""Keeps what a draft can learn from: the latest answers, and the draft that was made of them.

Off unless the user's own settings say `online`. The answers are token ids of the user's text: they lie in a bounded
file that only the user can read, on this machine, until `tabcast train online --reset`. Knows no tensor.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from decoding.config import EngineConfig, online_directory

log = logging.getLogger(__name__)

MAX_ANSWERS = 512
MIN_ANSWER_TOKENS = 4
# chosen: only so many tokens at the end of prompt and answer are kept; small drafts have no use for more.
MAX_TOKENS = 2048
# chosen: prompts that differ by fewer tokens belong to one place that is being typed at.
SAME_PLACE_TOKENS = 12
ANSWERS_FILE = "answers.jsonl"
DRAFT_FOLDER = "draft"
REPORT_FILE = "report.json"


class LoggedAnswer(NamedTuple):
    """An answer that the target generated; the number counts all that were ever kept."""

    number: int
    prompt_ids: Sequence[int]
    answer_ids: Sequence[int]


@dataclass(frozen=True, slots=True)
class AdaptationFolder:
    """The folder of one pair's adaptation; another pair, or other files of the pair, has another folder."""

    folder: Path

    @classmethod
    def of(cls, target: Path, draft: Path) -> AdaptationFolder:
        """Return the folder for these two model folders, which need not exist."""
        digest = hashlib.sha256()
        for model in (target.resolve(), draft.resolve()):
            digest.update(str(model).encode())
            files = [model] if model.is_file() else [*model.glob("*.safetensors"), *model.glob("tokenizer.json")]
            for path in sorted(files):
                status = path.stat()
                digest.update(f"{path.name} {status.st_size} {status.st_mtime_ns}".encode())
        return cls(online_directory() / f"{target.resolve().name}-{digest.hexdigest()[:12]}")

    @property
    def answers(self) -> Path:
        """The path of the file of `LoggedAnswer`, a JSON list a line, oldest first."""
        return self.folder / ANSWERS_FILE

    @property
    def report(self) -> Path:
        """The path of the last adaptation's report, in JSON."""
        return self.folder / REPORT_FILE

    @property
    def draft(self) -> Path:
        """The folder of the adapted draft, or None if there is none."""
        return self.folder / DRAFT_FOLDER

    def read_answers(self) -> list[LoggedAnswer]:
        """Read the latest answers, oldest first; a line that a crash cut short is skipped."""
        try:
            lines = self.answers.read_bytes().splitlines()[-MAX_ANSWERS:]
        except OSError:
            return []
        return [written for line in lines if (written := _read(line)) is not None]

    def num_written(self) -> int:
        """Return how many answers were ever kept, read from the file's end alone."""
        try:
            with self.answers.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - 64 * MAX_TOKENS))
                lines = file.read().splitlines()
        except OSError:
            return 0
        return next((written.number for line in reversed(lines) if (written := _read(line)) is not None), 0)

    def num_learnt(self) -> int:
        """Return how many answers there were when the draft learnt last."""
        try:
            return int(json.loads(self.report.read_text(encoding="utf-8"))["num_written"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0

    def make(self) -> None:
        """Create the folder for this user alone. Raises `OSError`."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.chmod(0o700)


class AnswerLog:
    """Keeps the latest answers; belongs to one thread.

    While the user types at one place, request follows request: of those only the longest answer is kept. A file that
    can't be written ends the keeping, and nothing else.
    """

    def __init__(self, home: AdaptationFolder) -> None:
        self._home = home
        self._number = home.num_written()
        self._num_lines = len(home.read_answers())
        self._last = LoggedAnswer(0, (), ())
        self._is_broken = False

    def note(self, prompt_ids: Sequence[int], answer_ids: Sequence[int]) -> None:
        """Take a prompt and its answer, as far as it got."""
        if len(answer_ids) < MIN_ANSWER_TOKENS:
            return
        written = LoggedAnswer(0, prompt_ids, answer_ids)
        if not is_same_place(self._last.prompt_ids, prompt_ids):
            self.flush()
        if len(answer_ids) > len(self._last.answer_ids):
            self._last = written

    def flush(self) -> None:
        """Write the answer that is held back until the next place is known."""
        last, self._last = self._last, LoggedAnswer(0, (), ())
        if not last.answer_ids or self._is_broken:
            return
        room = max(0, MAX_TOKENS - len(last.answer_ids))
        prompt_ids = list(last.prompt_ids)[-room:] if room else []
        self._number += 1
        line = json.dumps([self._number, prompt_ids, list(last.answer_ids)[:MAX_TOKENS]]) + "\n"
        try:
            self._home.make()
            _append(self._home.answers, line)
            self._num_lines += 1
            if self._num_lines >= 2 * MAX_ANSWERS:
                self._shorten()
        except OSError as error:
            self._is_broken = True
            log.warning("answers are not kept for learning any more: %s", error)

    def _shorten(self) -> None:
        kept = self._home.answers.read_bytes().splitlines(keepends=True)[-MAX_ANSWERS:]
        aside = self._home.answers.with_suffix(".partial")
        aside.unlink(missing_ok=True)
        _append(aside, b"".join(kept).decode())
        aside.replace(self._home.answers)
        self._num_lines = len(kept)


def is_same_place(before_ids: Sequence[int], after_ids: Sequence[int]) -> bool:
    """Return whether two prompts differ by no more than what is typed in a moment, anywhere in them."""
    shortest = min(len(before_ids), len(after_ids))
    same = next((i for i in range(shortest) if before_ids[i] != after_ids[i]), shortest)
    behind = next((i for i in range(shortest - same) if before_ids[-1 - i] != after_ids[-1 - i]), shortest - same)
    return max(len(before_ids), len(after_ids)) - same - behind <= SAME_PLACE_TOKENS


def _append(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a", encoding="ascii") as file:
        file.write(text)


def _read(line: bytes) -> LoggedAnswer | None:
    try:
        number, prompt_ids, answer_ids = json.loads(line)
        is_whole = isinstance(number, int) and all(isinstance(i, int) for i in (*prompt_ids, *answer_ids))
    except (ValueError, TypeError):
        return None
    return LoggedAnswer(number, prompt_ids, answer_ids) if is_whole and answer_ids else None


def answer_log(config: EngineConfig) -> AnswerLog | None:
    """Return the log of answers if the user wants it and there is a draft to learn from it, else None."""
    draft = config.draft_path
    return AnswerLog(AdaptationFolder.of(config.model_path, draft)) if config.online and draft is not None else None
