"""Writes models into the user's own config.toml, and leaves every other line of it as it is.

Edits lines and then reads the result back: a file in a form that this doesn't understand is left alone, and the user
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
    """Set keys of the `[engine]` table, making file and table where they are missing.

    Raises `ConfigError` if the file can't be read, edited or written; it is as it was then.
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
        # A value in plain quotes, and what stands behind it: most often a comment.
        behind = re.fullmatch(r"\s*\w+\s*=\s*(?:\"[^\"\\]*\"|'[^']*')(.*)", lines[found])
        lines[found] = _line(key, value) + (behind[1] if behind else "")
    return "\n".join(lines) + "\n"


def _line(key: str, value: str) -> str:
    # What JSON escapes in a string, TOML reads alike.
    return f"{key} = {json.dumps(value, ensure_ascii=False)}"


def _replace(path: Path, text: str) -> None:
    """Whole or not at all, keeping the file's mode and the place that a link names."""
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
