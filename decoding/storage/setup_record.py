"""Remembers what config.toml was before `tabcast setup` wrote it, in a file beside it, so that it can be put back.

One entry for each state that setup replaced and that somebody else had written, oldest first. A run that follows
another, without a change in between, extends its entry: undoing it leads back to before both.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from decoding.errors import ConfigError
from decoding.protocol import write_private

MAX_ENTRIES: Final = 20
MAX_BYTES: Final = 2**22


@dataclass(frozen=True, slots=True, kw_only=True)
class Replaced:
    """The file's text `before` setup, None if there was no file, and the text that setup has `written`."""

    before: str | None
    written: str


def record_path(config: Path) -> Path:
    """Return the file that belongs to a configuration file."""
    return config.with_name(f"{config.stem}-before-setup.json")


def read_replaced(config: Path) -> list[Replaced]:
    """Return the entries; none where nothing was replaced, or the file can't be read."""
    try:
        with record_path(config).open("rb") as opened:
            entries = json.loads(opened.read(MAX_BYTES))
        return [Replaced(before=_text(entry["before"]), written=_text(entry["written"]) or "") for entry in entries]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


def note_replaced(config: Path, before: str | None, written: str) -> None:
    """Note what is about to be replaced, and by what. Raises `ConfigError`."""
    entries = read_replaced(config)
    if entries and entries[-1].written == before:
        entries[-1] = replace(entries[-1], written=written)
    else:
        entries.append(Replaced(before=before, written=written))
    write_replaced(config, entries)


def write_replaced(config: Path, entries: list[Replaced]) -> None:
    """Write the latest entries, or remove the file where none is left. Raises `ConfigError`."""
    path = record_path(config)
    try:
        if not entries:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps([asdict(entry) for entry in entries[-MAX_ENTRIES:]], indent=1)
        write_private(path, text.encode(), is_kept=True)
    except OSError as error:
        raise ConfigError(f"{path} can't be written: {error.strerror or error}") from None


def _text(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(value)
    return value
