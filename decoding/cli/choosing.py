"""Turns the names of a target and a draft into what config.toml says of them, once they are seen to fit together."""

from __future__ import annotations

from pathlib import Path

from decoding.config import model_folder
from decoding.errors import ModelError
from decoding.models.catalogue import known_model
from decoding.models.listed import find_model, folder_of
from decoding.protocol import BUNDLED_NAMES, NO_MODEL, is_model_name
from decoding.storage.pulled import read_record


def values_for(name: str, draft: str | None = None) -> dict[str, str]:
    """Return the values of `model` and `draft` for `[engine]`.

    Args:
        name: a model by any name that `tabcast models use` takes.
        draft: its draft, or None for the recommended one where that was pulled.

    Raises:
        ModelError: one of them is missing or broken, or their tokenizers differ.
    """
    from decoding.models.folder.model_config import read_config  # noqa: PLC0415 - brings torch
    from decoding.models.folder.tokenizer_files import load_with_vocabulary, why_not_alike  # noqa: PLC0415 - brings torch

    is_bundled = name in BUNDLED_NAMES
    draft_name = find_model(draft or ("bundled" if is_bundled else recommended_draft(name)))
    target = find_model(name)
    folder = model_folder(target, "target")
    read_config(folder)
    if draft_name != NO_MODEL:
        read_config(model_folder(draft_name, "draft"))
        folders = (folder, model_folder(draft_name, "draft"))
        problem = why_not_alike(*(load_with_vocabulary(found)[1] for found in folders))
        if problem:
            raise ModelError(f"{draft_name} can't draft for {name}, because it has another tokenizer: {problem}")
    return {"model": _written(target), "draft": _written(draft_name)}


def recommended_draft(name: str) -> str:
    """Return the recommended draft of a recommended target where it was pulled, else "none"."""
    known = known_model(name)
    draft = known.draft if known is not None else ""
    pulled = read_record(folder_of(draft)) if draft else None
    return draft if pulled is not None and pulled.is_complete else NO_MODEL


def _written(name: str) -> str:
    """Return a model's name as settings need it: folders absolute, because the engine runs in one of its own."""
    if is_model_name(name):
        return name
    return str(Path(name).expanduser().absolute())
