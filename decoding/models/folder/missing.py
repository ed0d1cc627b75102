"""Says why a model's folder isn't there, and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from decoding.config import models_directory
from decoding.models.catalogue import known_model
from decoding.storage.discovery import PREFIXES

OLLAMA_BLOB: Final = "sha256-"


def why_missing(folder: Path) -> str:
    """Return one sentence about a path at which there is no folder and no file."""
    if models_directory() in folder.parents:
        name = str(folder.relative_to(models_directory()))
        advice = f"'tabcast models pull {name}' fetches it, and ./{name} would name a folder"
        return f"the model {name} was not pulled: {advice}"
    if folder.name.startswith(OLLAMA_BLOB):
        return f"Ollama no longer has the model {folder}: 'tabcast models' lists what there is"
    for number, part in enumerate(folder.parts):
        if part.partition(":")[0] in PREFIXES and ":" in part:
            name = "/".join(folder.parts[number:])
            return f"{name} is a name for 'tabcast models use {name}', which writes down the file that it stands for"
    if known_model(folder.name) is not None:
        name = folder.name
        return f"{name} is a name for 'tabcast models pull {name}', and then 'tabcast models use {name}'"
    return f"no model folder at {folder}"
