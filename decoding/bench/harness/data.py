"""Reads evaluation files, and says which row and which field is wrong. Knows no model."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from decoding.errors import TabcastError


class DataError(TabcastError):
    """A data file has another form; the text names file, row and field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InfillingRow:
    """A hole in a file: OpenAI's HumanEval-Infilling form (Bavarian et al. 2022)."""

    name: str
    prompt: str
    suffix: str
    gold: str

    @property
    def behind(self) -> str:
        """Return the text behind an editor's cursor: a hole that takes its line end along leaves an empty line."""
        takes_end = self.gold.endswith("\n") and not self.suffix.startswith(("\n", "\r\n"))
        return "\n" + self.suffix if takes_end else self.suffix


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayRow:
    """An insertion of whole lines that a commit made, with the other files as they were before it."""

    name: str
    repository: str
    commit: str
    path: str
    kind: str
    prefix: str
    suffix: str
    gold: str
    open_files: tuple[tuple[str, str], ...]


def read_infilling(path: Path, limit: int | None = None) -> list[InfillingRow]:
    """Read rows with `prompt`, `suffix` and `canonical_solution`. Raises `DataError`."""
    return [
        InfillingRow(
            name=str(row.value.get("task_id", row.number)),
            prompt=row.text("prompt"),
            suffix=row.text("suffix"),
            gold=row.text("canonical_solution"),
        )
        for row in _rows(path, limit)
    ]


def read_replay(path: Path, limit: int | None = None) -> list[ReplayRow]:
    """Read rows with `before_prefix`, `added`, `before_suffix` and `recent_files`.

    The files' texts lie in `*-context.jsonl.gz`. Raises `DataError`.
    """
    context_path = path.with_name(path.name.replace(".jsonl", "-context.jsonl"))
    texts = {row.text("blob"): row.text("text") for row in _rows(context_path, None)} if context_path.is_file() else {}
    rows = []
    for row in _rows(path, limit):
        named = row.objects("recent_files")
        rows.append(
            ReplayRow(
                name=str(row.value.get("id", row.number)),
                repository=row.text("repo"),
                commit=row.text("commit"),
                path=row.text("path"),
                kind=row.text("kind"),
                prefix=row.text("before_prefix"),
                suffix=row.text("before_suffix"),
                gold=row.text("added"),
                open_files=tuple((str(f.get("path", "")), texts[f["blob"]]) for f in named if f.get("blob") in texts),
            )
        )
    return rows


def read_prompts(path: Path, limit: int | None = None) -> list[tuple[str, str]]:
    """Read (name, prompt) of rows with `prompt`. Raises `DataError`."""
    return [(str(row.value.get("task_id", row.number)), row.text("prompt")) for row in _rows(path, limit)]


def read_spec_bench(path: Path, limit: int | None = None) -> list[tuple[str, str]]:
    """Read (name, first turn) of Spec-Bench's rows that are about code: `question_id`, `category`, `turns`.

    Xia et al. 2024 (https://arxiv.org/abs/2401.07851); there are ten. Raises `DataError`.
    """
    rows = [row for row in _rows(path, None) if row.text("category") == "coding"]
    return [(str(row.value.get("question_id", row.number)), row.first_text("turns")) for row in rows[:limit]]


def read_rewrites(path: Path, limit: int | None = None) -> list[tuple[str, str, str]]:
    """Read (name, before, after) of rows with these fields: a whole file and its new form. Raises `DataError`."""
    return [(row.text("name"), row.text("before"), row.text("after")) for row in _rows(path, limit)]


@dataclass(frozen=True, slots=True)
class _Row:
    path: Path
    number: int
    value: dict[str, Any]

    def text(self, field: str) -> str:
        found = self.value.get(field)
        if not isinstance(found, str):
            kind = "it is missing" if field not in self.value else f"found {type(found).__name__}"
            raise DataError(f"{self.path}, row {self.number}: field {field!r} should be a text, {kind}")
        return found

    def first_text(self, field: str) -> str:
        found = self.value.get(field)
        if not isinstance(found, list) or not found or not isinstance(found[0], str):
            raise DataError(f"{self.path}, row {self.number}: field {field!r} should be a list of texts")
        return found[0]

    def objects(self, field: str) -> list[dict[str, Any]]:
        found = self.value.get(field) or []
        if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
            raise DataError(f"{self.path}, row {self.number}: field {field!r} should be a list of objects")
        return found


def _rows(path: Path, limit: int | None) -> Iterator[_Row]:
    if not path.is_file():
        raise DataError(f"no data file {path}")
    number = 0
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
            for line in lines:
                if not line.strip():
                    continue
                if limit is not None and number >= limit:
                    return
                number += 1
                yield _Row(path, number, _parse(path, number, line))
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: can't be read behind row {number} ({error})") from None
    if number == 0:
        raise DataError(f"{path} is empty: expected a JSON object on each line")


def _parse(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise DataError(f"{path}, row {number}: not JSON ({error})") from None
    if not isinstance(value, dict):
        raise DataError(f"{path}, row {number}: expected a JSON object, found {type(value).__name__}")
    return value
