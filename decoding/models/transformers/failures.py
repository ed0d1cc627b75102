"""Puts errors of transformers, which are made for programmers, into words for people."""

from __future__ import annotations

import re
from typing import Final

from decoding.models.folder.json_files import printable

MAX_ERROR: Final = 300
EXCEPTION_NAMES: Final = re.compile(r"\b(?:\w+\.)*[A-Z]\w*(?:Error|Exception)\b[:(]?|<class '[\w.]+'>")


def in_words(error: Exception) -> str:
    """Return what went wrong inside of a library: its own text, without the names of exceptions in it.

    Some errors have no text but the name of what was looked for.
    """
    text = printable(" ".join(EXCEPTION_NAMES.sub("", str(error)).split()))
    if isinstance(error, MemoryError) or not text:
        return "there is too little memory" if isinstance(error, MemoryError) else "it fits no form that is known"
    return f"{text} is missing or not known" if isinstance(error, KeyError) else text[:MAX_ERROR]
