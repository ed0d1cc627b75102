"""Writes models into the user's own config.toml, and leaves every other line as it is.

It edits lines and then reads the result back: a file in a form that this doesn't understand is left alone, and the user
is told what to write.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from decoding.errors import ConfigError
from decoding.protocol import config_line, edited_config, replace_config


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
    after = edited_config(before, "engine", values)
    if not _means(after, expected):
        lines = "; ".join(config_line(key, value) for key, value in values.items() if value is not None)
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
    try:
        if text is None:
            path.resolve().unlink(missing_ok=True)
        else:
            replace_config(path, text)
    except OSError as error:
        raise ConfigError(f"{path} can't be written: {error.strerror}") from None
