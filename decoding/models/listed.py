"""Turns the names that `tabcast models` lists into the files they stand for, wherever one is named. Needs no torch."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from decoding.config import EngineConfig, models_directory
from decoding.errors import ModelError
from decoding.models.catalogue import CATALOGUE, known_model
from decoding.protocol import is_listed_name
from decoding.storage.discovery import found_models
from decoding.storage.discovery.found import Found
from decoding.storage.pulled import Pulled, pulled_models

# chosen: a name with one wrong word is offered the right one, and one with nothing in common gets no offer.
LIKENESS = 0.6
MOST_OFFERS = 3
DEFAULT_TAG = ":latest"
LISTS = "'tabcast models' lists what there is"


def resolved(config: EngineConfig) -> EngineConfig:
    """Return settings whose target and draft are paths where they had listed names.

    A name without a usable file stays; whoever reads that model gets the sentence of `find_model`.
    """
    return replace(config, model=_path_or_name(config.model), draft=_path_or_name(config.draft))


def _path_or_name(name: str) -> str:
    try:
        return find_model(name)
    except ModelError:
        return name


def find_model(name: str) -> str:
    """Return the path of a model of another program, or of a pulled file of the catalogue; other names as they are.

    Raises `ModelError` if a listed name has no usable file.
    """
    if not is_listed_name(name):
        return name
    if known_model(name) is not None:
        pulled = next((pulled for pulled in pulled_models() if pulled.name == name), None)
        if pulled is None or not pulled.is_complete:
            raise ModelError(f"the model {name} was not pulled: 'tabcast models pull {name}' fetches it")
        return str(file_of(pulled))
    found = {model.name: model for model in at_other_programs()}
    model = found.get(name) or found.get(name + DEFAULT_TAG)
    if model is None:
        raise ModelError(f"{name} was not found on this machine: {_offer(name) or LISTS}")
    if model.problem:
        raise ModelError(f"{model.name}: {model.problem}")
    return str(model.path)


def at_other_programs() -> list[Found]:
    """Return what other programs keep on this machine."""
    return found_models(os.environ, Path.home())


def listed_as(path: Path) -> str:
    """Return the name that the list gives to a file or a folder, "" if it isn't listed."""
    pulled = {file_of(model): model.name for model in pulled_models()}
    return pulled.get(path) or next((model.name for model in at_other_programs() if model.path == path), "")


def why_missing(path: Path) -> str:
    """Return one sentence about a path at which there is no folder and no file, and what to do."""
    if models_directory() in path.parents:
        name = path.relative_to(models_directory()).as_posix()
        if not is_listed_name(name):
            near = _offer(name)
            advice = f"'tabcast models pull {name}' fetches it, and ./{name} would name a folder"
            return f"the model {name} was not pulled: {advice}{near and f'; {near}'}"
        try:
            return f"{name} stands for {find_model(name)}: name that"
        except ModelError as error:
            return str(error)
    if path.name.startswith("sha256-"):
        return f"Ollama no longer has the model {path}: {LISTS}"
    return f"there is no model at {path}: {_beside(path) or _offer(path.name) or LISTS}"


def _beside(path: Path) -> str:
    """Return which files or folders at its place are named like a missing one, "" where none is."""
    try:
        names = [entry.name for entry in path.parent.iterdir() if _may_be_model(entry)]
    except OSError:
        return ""
    near = _nearest(path.name, names)
    return f"{path.parent} holds {near}" if near else ""


def _may_be_model(entry: Path) -> bool:
    return entry.suffix == ".gguf" or (entry / "config.json").is_file()


def _nearest(name: str, names: Iterable[str]) -> str:
    """Return the names that are like this one, for a sentence, "" where none is."""
    by_form = {known.casefold(): known for known in sorted(names) if known.isprintable()}
    near = difflib.get_close_matches(name.casefold(), by_form, MOST_OFFERS, LIKENESS)
    return " and ".join(by_form[form] for form in near)


def _offer(name: str) -> str:
    """Return which listed names are like this one, "" where none is."""
    names = {model.name for model in CATALOGUE} | {model.name for model in pulled_models()}
    names |= {model.name for model in at_other_programs() if not model.problem}
    near = _nearest(name, names)
    return f"'tabcast models' lists {near}" if near else ""


def file_of(pulled: Pulled) -> Path:
    """Return what a pulled model is loaded from: its folder, or the one GGUF file in it."""
    known = known_model(pulled.name)
    return pulled.folder / known.file if known is not None and known.file else pulled.folder


def folder_of(name: str) -> Path:
    """Return where the files of a model that is pulled go; a file of the catalogue gets a folder of its own."""
    known = known_model(name)
    return models_directory() / ("catalogue" if known is not None and known.file else "") / name
