"""The settings of the front end and their only defaults.

They come from the editor, so from a place that a workspace may have filled: nothing here chooses an engine, a model,
an executable or a remote. It must not know documents or the wire.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

logger = logging.getLogger(__name__)

SECTION: Final = "tabcast"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a user can set in the editor, in camel case there (`maxLineTokens`).

    `deadline_ms`: after that long an answer is made of the lines that have come.
    `prefix_chars` and `suffix_chars` bound how much of the file goes with a request.
    """

    enabled: bool = True
    disabled_languages: tuple[str, ...] = ()
    max_line_tokens: int = 48
    max_block_tokens: int = 160
    deadline_ms: int = 5000
    prefix_chars: int = 6000
    suffix_chars: int = 2000


LOW: Final = {"max_line_tokens": 1, "max_block_tokens": 1, "deadline_ms": 50, "prefix_chars": 200, "suffix_chars": 0}
HIGH: Final = {
    "max_line_tokens": 1024,
    "max_block_tokens": 4096,
    "deadline_ms": 600_000,
    "prefix_chars": 100_000,
    "suffix_chars": 100_000,
}


def read_settings(options: object) -> tuple[Settings, list[str]]:
    """Settings from an editor's options, `{"tabcast": {...}}` or flat, and what was wrong with them.

    What is wrong keeps its default; nothing raises.
    """
    if isinstance(options, Mapping) and SECTION in options:
        options = options[SECTION]
    if options is None:
        return Settings(), []
    if not isinstance(options, Mapping):
        return Settings(), [f"the options are not an object but {type(options).__name__}"]
    names = {_camel_case(field.name): field.name for field in fields(Settings)}
    chosen: dict[str, Any] = {}
    problems: list[str] = []
    for key, value in options.items():
        if key not in names:
            problems.append(f"{key}: no such setting (engine and models are chosen in the user's configuration file)")
        elif problem := _problem(names[key], value):
            problems.append(f"{key}: {problem}")
        else:
            chosen[names[key]] = tuple(value) if isinstance(value, list) else value
    return Settings(**chosen), problems


def settings_from(options: object) -> Settings:
    """Settings from an editor's options; what is wrong with them is said once, in the log."""
    settings, problems = read_settings(options)
    if problems:
        logger.warning("ignored settings: %s", "; ".join(problems))
    return settings


def _problem(name: str, value: object) -> str:
    default = getattr(Settings(), name)
    if isinstance(default, bool):
        return "" if isinstance(value, bool) else "expected true or false"
    if isinstance(default, tuple):
        is_texts = isinstance(value, list) and all(isinstance(item, str) for item in value)
        return "" if is_texts else "expected a list of texts"
    if isinstance(value, bool) or not isinstance(value, int) or not LOW[name] <= value <= HIGH[name]:
        return f"expected a whole number from {LOW[name]} to {HIGH[name]}"
    return ""


def _camel_case(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
