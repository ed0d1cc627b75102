"""Provides models of the catalogue to who needs them now, a demo for example: from this machine, else from the network.

What was pulled, or lies in another program's folders, is used where it is. Changes no settings and loads no weights.
What takes time is told on standard error.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from decoding.cli.fetching import ProgressLine, fetch, tell_another_source
from decoding.config import EngineConfig, models_directory
from decoding.errors import ModelError, TabcastError
from decoding.models.catalogue import KnownModel, known_model
from decoding.models.listed import at_other_programs, file_of, folder_of
from decoding.storage.discovery.found import Found
from decoding.storage.pulled import as_size, read_record


@dataclass(frozen=True, slots=True, kw_only=True)
class Provided:
    """A model of the catalogue that is at hand: its file, and the name by which it was found."""

    name: str
    path: str
    found_as: str


def provide(names: Sequence[str], config: EngineConfig) -> list[dict[str, Any]]:
    """Return the files of these models of the catalogue; those that are not on this machine are fetched first.

    Raises `ModelError` if a name is none of a single file, the models don't fit into memory together, or a file can't
    be had; nothing is fetched in vain.
    """
    wanted = [_known(name) for name in names]
    at_hand = {model.name: find_at_hand(model) for model in wanted}
    missing = [model for model in wanted if at_hand[model.name] is None]
    if missing:
        _check_memory(wanted, config)
        listed = " and ".join(f"{model.name} ({as_size(model.num_bytes)})" for model in missing)
        _tell(f"Fetching {listed}, once,\ninto {models_directory()}")
    for model in missing:
        pulled = fetch(model.name, None, ProgressLine(), tell_another_source)
        at_hand[model.name] = Provided(name=model.name, path=str(file_of(pulled)), found_as=model.name)
    return [asdict(provided) for provided in at_hand.values() if provided is not None]


def find_at_hand(model: KnownModel) -> Provided | None:
    """Return the file of a model that was pulled, or that another program keeps, else None."""
    pulled = read_record(folder_of(model.name))
    if pulled is not None and pulled.is_complete and file_of(pulled).is_file():
        return Provided(name=model.name, path=str(file_of(pulled)), found_as=model.name)
    candidates = [found for found in at_other_programs() if _may_be(found, model)]
    # The very file that the catalogue names goes before others of the same model.
    candidates.sort(key=lambda found: found.num_bytes != model.num_bytes)
    found = next((found for found in candidates if _is_same_model(found.path, model)), None)
    return None if found is None else Provided(name=model.name, path=str(found.path), found_as=found.name)


def _may_be(found: Found, model: KnownModel) -> bool:
    is_named = model.family.lower() in found.name.lower()
    return not found.problem and (is_named or found.num_bytes == model.num_bytes)


def _is_same_model(path: Path, model: KnownModel) -> bool:
    """Return whether a file holds as many weights, stored in the same way; it may share its embedding with its head."""
    from decoding.models.folder.summary import ModelSummary  # noqa: PLC0415 - brings torch

    try:
        found = ModelSummary.read(path)
        embedding = int(found.config["vocab_size"]) * int(found.config["hidden_size"])
    except (TabcastError, OSError, KeyError, TypeError, ValueError):
        return False
    return found.kind == model.kind and model.num_parameters - found.num_parameters in (0, embedding)


def _known(name: str) -> KnownModel:
    model = known_model(name)
    if model is None or not model.file:
        raise ModelError(f"{name} is no single file of the catalogue, which 'tabcast models' lists")
    return model


def _check_memory(models: Sequence[KnownModel], config: EngineConfig) -> None:
    """Raise `ModelError` if these models together don't fit into the memory of the device that the settings choose."""
    from decoding.models.loading.devices import choose_device  # noqa: PLC0415 - brings torch
    from decoding.models.loading.memory import free_bytes  # noqa: PLC0415 - brings torch

    device, dtype = choose_device(config)
    needed = sum(
        model.needed_bytes(config.context_tokens, dtype.itemsize, on_cpu=device.type == "cpu", is_draft=number > 0)
        for number, model in enumerate(models)
    )
    free = free_bytes(device)
    if free is not None and needed > free:
        listed = " and ".join(model.name for model in models)
        raise ModelError(
            f"{listed} need {as_size(needed)} of memory, and {device} has {as_size(free)} free: nothing was fetched"
        )


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
