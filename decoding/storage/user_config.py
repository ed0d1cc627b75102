"""Writes models into the user's own config.toml, and leaves every other line as it is.

It edits lines and then reads the result back: a file in a form that this doesn't understand is left alone, and the user
is told what to write.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from decoding.errors import ConfigError

HEADER = re.compile(r"\s*\[\s*engine\s*\]\s*(#.*)?")
ANY_HEADER = re.compile(r"\s*\[")


def set_engine_values(path: Path, values: Mapping[str, str | None]) -> None:
    """Set keys of the `[engine]` table, or remove those that are None; file and table are made if they are missing.

    Raises `ConfigError` if the file can't be read, edited or written; then it stays as it was.
    """
    write_config(path, with_engine_values(path, values))


def with_engine_values(path: Path, values: Mapping[str, str | None]) -> str:
    """Return what the file would be with these values, and write nothing. Raises `ConfigError` as above."""
    try:
        before = read_config(path) or ""
        expected = tomllib.loads(before)
        engine = {**expected.get("engine", {}), **values}
        expected["engine"] = {key: value for key, value in engine.items() if value is not None}
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path}: {error}") from None
    after = _edit(before, values)
    if not _means(after, expected):
        lines = "; ".join(_line(key, value) for key, value in values.items() if value is not None)
        raise ConfigError(f"{path} has an unusual form and was left alone; write into its [engine] table: {lines}")
    return after


def _means(text: str, expected: Mapping[str, Any]) -> bool:
    try:
        return tomllib.loads(text) == expected
    except tomllib.TOMLDecodeError:
        return False


def read_config(path: Path) -> str | None:
    """Return the file's text, line ends and all, None where there is none. Raises `ConfigError`."""
    try:
        return path.read_bytes().decode() if path.is_file() else None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from None


def write_config(path: Path, text: str | None) -> None:
    """Replace the file whole or not at all, keeping its mode, and the target of a link; None removes it.

    Raises `ConfigError`.
    """
    path = path.resolve()
    try:
        if text is None:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.write_bytes(text.encode())
        if path.exists():
            draft.chmod(path.stat().st_mode & 0o777)
        draft.replace(path)
    except OSError as error:
        raise ConfigError(f"{path} can't be written: {error.strerror}") from None


def _edit(text: str, values: Mapping[str, str | None]) -> str:
    lines = text.splitlines()
    begin = next((i for i, line in enumerate(lines) if HEADER.fullmatch(line)), None)
    if begin is None:
        lines += [*([""] if lines else []), "[engine]"]
        begin = len(lines) - 1
    for place, (key, value) in enumerate(values.items(), begin + 1):
        end = next((i for i in range(begin + 1, len(lines)) if ANY_HEADER.match(lines[i])), len(lines))
        found = next((i for i in range(begin + 1, end) if re.match(rf"\s*{key}\s*=", lines[i])), None)
        if value is None:
            if found is not None:
                del lines[found]
            continue
        if found is None:
            lines.insert(min(place, end), _line(key, value))
            continue
        # Matches a value in plain quotes, and keeps the rest of the line, mostly a comment.
        behind = re.fullmatch(r"\s*\w+\s*=\s*(?:\"[^\"\\]*\"|'[^']*')(.*)", lines[found])
        lines[found] = _line(key, value) + (behind[1] if behind else "")
    return "\n".join(lines) + "\n"


def _line(key: str, value: str) -> str:
    # TOML reads JSON's string escapes.
    return f"{key} = {json.dumps(value, ensure_ascii=False)}"
