"""Tells a model's name from a path: both sides must agree, because only a path depends on the working directory."""

from __future__ import annotations

import re
from typing import Final

BUNDLED_NAMES: Final = ("", "bundled", "tabcast-bundled")
NO_MODEL: Final = "none"
# The programs whose models are listed, as `PROGRAM:NAME`.
PROGRAMS: Final = ("ollama", "lmstudio", "llama.cpp", "hf")
# The catalogue's GGUF files; their names have no owner, so that only a list tells them from folders.
CATALOGUE_FILES: Final = ("qwen2.5-coder-0.5b-q4", "qwen2.5-coder-1.5b-q4")


def is_model_name(name: str) -> bool:
    """Return whether a setting names a model and no path: nothing in a working directory can stand in for it."""
    return name in (*BUNDLED_NAMES, NO_MODEL) or is_listed_name(name) or is_hub_name(name)


def is_listed_name(name: str) -> bool:
    """Return whether a name is one that only `tabcast models` gives: `qwen2.5-coder-1.5b-q4`, `ollama:codellama:7b`."""
    program, colon, _ = name.partition(":")
    return name in CATALOGUE_FILES or (colon == ":" and program in PROGRAMS)


def is_hub_name(name: str) -> bool:
    """Return whether a name has the form `owner/model`.

    A folder two deep is written with `./` before it, and what ends in `.gguf` is a file.
    """
    return not name.endswith(".gguf") and re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name) is not None
