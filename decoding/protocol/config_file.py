"""Edits the text of the user's config.toml line by line, so that every other line stays as it is.

Who edits reads the result back: a file in an unusual form may come out with another meaning.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_ANY_HEADER: Final = re.compile(r"\s*\[")

Value = str | int | bool | None


def edited_config(text: str, table: str, values: Mapping[str, Value]) -> str:
    """Return the text with keys of a table set, or removed where they are None; the table is made if it is missing."""
    header = re.compile(r"\s*\[\s*" + r"\s*\.\s*".join(map(re.escape, table.split("."))) + r"\s*\]\s*(#.*)?")
    lines = text.splitlines()
    begin = next((i for i, line in enumerate(lines) if header.fullmatch(line)), None)
    if begin is None:
        lines += [*([""] if lines else []), f"[{table}]"]
        begin = len(lines) - 1
    for place, (key, value) in enumerate(values.items(), begin + 1):
        end = next((i for i in range(begin + 1, len(lines)) if _ANY_HEADER.match(lines[i])), len(lines))
        found = next((i for i in range(begin + 1, end) if re.match(rf"\s*{key}\s*=", lines[i])), None)
        if value is None:
            if found is not None:
                del lines[found]
            continue
        if found is None:
            lines.insert(min(place, end), config_line(key, value))
            continue
        # Matches a value in plain quotes, and keeps the rest of the line, mostly a comment.
        behind = re.fullmatch(r"\s*\w+\s*=\s*(?:\"[^\"\\]*\"|'[^']*')(.*)", lines[found])
        lines[found] = config_line(key, value) + (behind[1] if behind else "")
    return "\n".join(lines) + "\n"


def config_line(key: str, value: Value) -> str:
    """Return the line that sets a key."""
    # TOML reads JSON's string escapes.
    return f"{key} = {json.dumps(value, ensure_ascii=False)}"


def replace_config(path: Path, text: str) -> None:
    """Replace the file whole or not at all, keeping its mode, and the target of a link. Raises `OSError`."""
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes(text.encode())
    if path.exists():
        draft.chmod(path.stat().st_mode & 0o777)
    draft.replace(path)
