"""Names the weights of a model for people, wherever they are shown: what the model is called, and how it is stored."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from decoding.config import BUNDLED
from decoding.models.folder.safetensors_headers import Entry
from decoding.models.listed import listed_as

SHIPPED_PAIR: Final = "the shipped pair"
SHIPPED_DRAFT: Final = "the shipped draft"
MAX_CHARS: Final = 60  # chosen: a file may give itself a name of any length, and a status bar has a line
# Endings of a file's name that tell its mixture of types, which is named beside it.
MIXTURE: Final = re.compile(r"[-_.](?:i?q\d\w*|f16|bf16|f32)(?:-\d{5}-of-\d{5})?$", re.IGNORECASE)
HUB_CACHE: Final = "models--"  # of Hugging Face's libraries, in which a model's folder is named by its revision


def title_of(path: Path, config: Mapping[str, Any]) -> str:
    """Return what a model is called: by its own file, else by the name of its file or folder.

    Args:
        path: of the GGUF file or the folder.
        config: its config.json, or what a GGUF file has in its place.
    """
    if path.is_relative_to(BUNDLED):
        return SHIPPED_PAIR if path.name == "target" else SHIPPED_DRAFT
    own = str((config.get("tabcast") or {}).get("name") or "")
    name = own or _name_of_place(path)
    return "".join(letter for letter in name if letter.isprintable())[:MAX_CHARS] or "a model without a name"


def kind_of(config: Mapping[str, Any], entries: Mapping[str, Entry]) -> str:
    """Return how weights are stored: the name of a mixture of types, such as Q4_K_M, or the commonest type."""
    counts: Counter[str] = Counter()
    for entry in entries.values():
        counts[entry.dtype] += math.prod(entry.shape)
    commonest = max(counts, key=lambda kind: counts[kind], default="")
    return str((config.get("tabcast") or {}).get("weights") or commonest)


def _name_of_place(path: Path) -> str:
    for folder in path.parents:
        if folder.name.startswith(HUB_CACHE) and not path.suffix:
            return folder.name.rpartition("--")[2]
    if path.name.startswith("sha256-"):
        return listed_as(path)
    return MIXTURE.sub("", path.name.removesuffix(".gguf"))
