"""Turns the names that `tabcast models` lists into the files they stand for."""

from __future__ import annotations

import os
from pathlib import Path

from decoding.config import models_directory
from decoding.errors import ModelError
from decoding.models.catalogue import known_model
from decoding.storage.discovery import PREFIXES, found_models
from decoding.storage.pulled import Pulled, pulled_models


def find_model(name: str) -> str:
    """Return the path of a model of another program, or of a pulled file of the catalogue; other names as they are.

    Raises `ModelError` if a listed name has no usable file.
    """
    known = known_model(name)
    if known is not None and known.file:
        pulled = next((pulled for pulled in pulled_models() if pulled.name == name), None)
        if pulled is None or not pulled.is_complete:
            raise ModelError(f"the model {name} was not pulled: 'tabcast models pull {name}' fetches it")
        return str(file_of(pulled))
    if name.partition(":")[0] not in PREFIXES:
        return name
    found = next((model for model in found_models(os.environ, Path.home()) if model.name == name), None)
    if found is None:
        raise ModelError(f"{name} was not found on this machine: 'tabcast models' lists what was")
    if found.problem:
        raise ModelError(f"{name}: {found.problem}")
    return str(found.path)


def file_of(pulled: Pulled) -> Path:
    """Return what a pulled model is loaded from: its folder, or the one GGUF file in it."""
    known = known_model(pulled.name)
    return pulled.folder / known.file if known is not None and known.file else pulled.folder


def folder_of(name: str) -> Path:
    """Return where the files of a model that is pulled go; a file of the catalogue gets a folder of its own."""
    known = known_model(name)
    return models_directory() / ("catalogue" if known is not None and known.file else "") / name
