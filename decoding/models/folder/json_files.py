"""Reads a JSON file of a model folder. Anybody may have made it, so its size and its depth are bounded.

Any problem with such a file is reported in a sentence that begins with its path.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from decoding.errors import ModelError
from decoding.storage.plain_files import read_plain

MIB: Final = 2**20
MAX_DEPTH: Final = 32
MAX_SHOWN: Final = 60


def read_json(path: Path, *, most_bytes: int, most_depth: int = MAX_DEPTH) -> Any:
    """Read a file and return its value.

    Args:
        path: of a regular file.
        most_bytes: a longer file is refused.
        most_depth: how deeply tables and lists may be nested.

    Raises:
        ModelError: the file can't be read, is too long, is no JSON, or is nested too deeply.
    """
    try:
        text = read_plain(path, most_bytes)
    except OSError as error:
        raise ModelError(f"{path} can't be read: {error.strerror}") from None
    if text is None:
        raise ModelError(f"{path} has more than {most_bytes:,} bytes, and no more are read")
    return parse_json(text, path, most_depth=most_depth)


def parse_json(text: bytes, path: Path, *, most_depth: int = MAX_DEPTH) -> Any:
    """Return the value of a text in UTF-8 that was read from `path`. Raises `ModelError`."""
    try:
        value = json.loads(text.decode("utf-8"))
    except RecursionError:  # the parser counts its calls, so no depth can overflow the stack
        raise ModelError(f"{path} holds tables within tables, nested too deeply to be read") from None
    except UnicodeDecodeError:
        raise ModelError(f"{path}: not JSON (it isn't UTF-8)") from None
    except ValueError as error:
        raise ModelError(f"{path}: not JSON ({error})") from None
    if _is_deeper(value, most_depth):
        raise ModelError(f"{path} holds tables within tables, nested more than {most_depth} deep")
    return value


def shown(value: object) -> str:
    """Format a value for a message: as JSON, a long one cut short, and nothing that a terminal would obey."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    if not text.isprintable():
        text = json.dumps(value, default=str)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def printable(text: str) -> str:
    """Replace in a library's words what a terminal would obey, or that no stream can encode."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def _is_deeper(value: Any, most: int) -> bool:
    level = [value]
    for _ in range(most + 1):
        level = [
            child
            for item in level
            if isinstance(item, (dict, list))
            for child in (item.values() if isinstance(item, dict) else item)
            if isinstance(child, (dict, list))
        ]
        if not level:
            return False
    return True
