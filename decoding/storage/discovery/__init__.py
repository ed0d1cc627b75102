"""Finds the models that other programs keep on this machine: names and files; nothing is opened as a model or copied.

One file for each program. No tree is walked: each program's folders have a known depth, and a folder with very many
entries is read in part.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from decoding.storage.discovery import hugging_face, llama_cpp, lm_studio, ollama
from decoding.storage.discovery.found import Found

MAX_FOUND = 200
KINDS = (ollama, lm_studio, llama_cpp, hugging_face)


def found_models(environ: Mapping[str, str], home: Path) -> list[Found]:
    """Return what all programs keep, Ollama's first; of two places with the same name, the first counts."""
    found: dict[str, Found] = {}
    for program in KINDS:
        for model in program.find(environ, home):
            # A name is shown in a terminal, and may be anything that a folder holds.
            if len(found) < MAX_FOUND and model.name.isprintable():
                found.setdefault(model.name, model)
    return list(found.values())
