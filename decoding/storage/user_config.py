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

from decoding.errors import ConfigError

HEADER = re.compile(r"\s*\[\s*engine\s*\]\s*(#.*)?")
ANY_HEADER = re.compile(r"\s*\[")


def set_engine_values(path: Path, values: Mapping[str, str]) -> None:
    """Set keys of the `[engine]` table; file and table are made if they are missing.

    Raises `ConfigError` if the file can't be read, edited or written; then it stays as it was.
    """
    try:
        before = path.read_text(encoding="utf-8") if path.is_file() else ""
        expected = tomllib.loads(before)
        expected["engine"] = {**expected.get("engine", {}), **values}
        after = _edit(before, values)
        understood = tomllib.loads(after) == expected
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{path}: {error}") from None
    if not understood:
        lines = "; ".join(_line(key, value) for key, value in values.items())
        raise ConfigError(f"{path} has an unusual form and was left alone; write into its [engine] table: {lines}")
    _replace(path, after)


def _edit(text: str, values: Mapping[str, str]) -> str:
    lines = text.splitlines()
    begin = next((i for i, line in enumerate(lines) if HEADER.fullmatch(line)), None)
    if begin is None:
        lines += [*([""] if lines else []), "[engine]"]
        begin = len(lines) - 1
    for place, (key, value) in enumerate(values.items(), begin + 1):
        end = next((i for i in range(begin + 1, len(lines)) if ANY_HEADER.match(lines[i])), len(lines))
        found = next((i for i in range(begin + 1, end) if re.match(rf"\s*{key}\s*=", lines[i])), None)
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


def _replace(path: Path, text: str) -> None:
    """Replace the file whole or not at all, keeping its mode, and the target of a link."""
    path = path.resolve()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.write_text(text, encoding="utf-8")
        if path.exists():
            draft.chmod(path.stat().st_mode & 0o777)
        draft.replace(path)
    except OSError as error:
        raise ConfigError(f"{path} can't be written: {error.strerror}") from None
