"""Lists the models at hand and those that can be fetched, with what each needs and whether this machine holds it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from decoding.config import BUNDLED, EngineConfig
from decoding.errors import TabcastError
from decoding.models.catalogue import CATALOGUE, KnownModel, known_model
from decoding.models.folder.summary import ModelSummary
from decoding.models.listed import file_of
from decoding.models.loading.better import better_model, is_code_model
from decoding.models.loading.devices import choose_device
from decoding.models.loading.memory import free_bytes
from decoding.models.loading.parts import planned_bytes
from decoding.models.loading.weight_forms import would_round
from decoding.models.sharding.layer_split import GIB
from decoding.storage.discovery import found_models
from decoding.storage.pulled import as_size, pulled_models

Row = dict[str, Any]


def list_models(config: EngineConfig) -> list[Row]:
    """Return the models at hand, those of other programs, then those of the catalogue that can be fetched.

    All have `name`, `role`, `path`, `selected` and `note`; `better` is the command that chooses one which is clearly
    better than the one in use, "" of others. Those at hand also have `architecture`, `kind`, `called`, `megabytes`,
    `needs_gib` and whether that `fits`, or `ok` False and `error`. Those to fetch have what the catalogue says of them.
    """
    places = [("bundled", "target", BUNDLED / "target"), ("bundled", "draft", BUNDLED / "draft")]
    pulled = pulled_models()
    places += [(model.name, "pulled", file_of(model)) for model in pulled]
    found = found_models(os.environ, Path.home())
    known = {path for _, _, path in places} | {model.path for model in found if not model.problem}
    chosen = {"target": (config.model, config.model_path), "draft": (config.draft, config.draft_path)}
    for role, (name, path) in chosen.items():
        if path is not None and path not in known:
            places.append((name, role, path))
    cut_off = {model.name for model in pulled if not model.is_complete}
    rows = [
        _cut_off_row(name, path, config) if name in cut_off else _model_row(name, role, path, config)
        for name, role, path in places
    ]
    for model in found:
        if model.problem:
            rows.append(_row(model.name, "found", model.path, config) | {"ok": False, "error": model.problem})
        else:
            rows.append(_model_row(model.name, "found", model.path, config))
    _mark_better(rows, config)
    at_hand = {name for name, _, _ in places}
    return rows + [_catalogue_row(model, config) for model in CATALOGUE if model.name not in at_hand]


def _mark_better(rows: list[Row], config: EngineConfig) -> None:
    device, _ = choose_device(config)
    in_use = next((row for row in rows if row["path"] == str(config.model_path)), {})
    is_for_code = in_use.get("role") == "bundled" or is_code_model(in_use.get("called", ""))
    num_weights = in_use.get("num_weights", 0) if is_for_code else 0
    better = better_model(config.model_path, num_weights, device, free_bytes(device))
    for row in rows:
        row["better"] = better.command if better is not None and row["name"] == better.name else ""


def _row(name: str, role: str, path: Path, config: EngineConfig) -> Row:
    selected = path in (config.model_path, config.draft_path)
    return {"name": name, "role": role, "path": str(path), "selected": selected, "better": ""}


def _cut_off_row(name: str, path: Path, config: EngineConfig) -> Row:
    error = f"the pull of {name} was cut off: 'tabcast models pull {name}' goes on with it"
    return _row(name, "pulled", path, config) | {"ok": False, "error": error}


def _model_row(name: str, role: str, path: Path, config: EngineConfig) -> Row:
    row = _row(name, role, path, config)
    try:
        model = ModelSummary.read(path)
        device, dtype = choose_device(config)
        needed = planned_bytes(model, config, device, dtype)
        num_bytes = model.num_bytes
    except TabcastError as error:
        return {**row, "ok": False, "error": str(error)}
    except OSError as error:
        return {**row, "ok": False, "error": f"{path} can't be read: {error.strerror}"}
    fits, note = _whether_it_fits(needed, free_bytes(device))
    return {
        **row,
        "architecture": model.architecture,
        "kind": model.kind,
        "called": model.title,
        "num_weights": model.num_parameters,
        "megabytes": round(num_bytes / 1e6, 1),
        "needs_gib": round(needed / GIB, 1),
        "fits": fits,
        "note": f"{model.architecture}, {model.kind}; {note}",
    }


def _catalogue_row(model: KnownModel, config: EngineConfig) -> Row:
    device, dtype = choose_device(config)
    draft = known_model(model.draft)
    needs = {
        length: sum(
            item.needed_bytes(
                length,
                dtype.itemsize,
                on_cpu=device.type == "cpu",
                is_draft=item is draft,
                is_rounded=would_round(item.num_parameters, config, device),
            )
            for item in (model, draft)
            if item is not None
        )
        for length in (2048, 8192)
    }
    fits, note = _whether_it_fits(needs[8192], free_bytes(device))
    with_draft = f" with {model.draft.split('/')[-1]}" if model.draft else ""
    slow = ", slow without a GPU" if device.type == "cpu" and "GPU" in model.hardware else ""
    return {
        "name": model.name,
        "role": "to pull",
        "path": "",
        "selected": False,
        "better": "",
        "publisher": model.publisher,
        "licence": model.licence,
        "kind": model.kind,
        "family": model.family,
        "hardware": model.hardware,
        "draft": model.draft,
        "download_megabytes": round(model.download_bytes / 1e6, 1),
        "sha256": model.sha256,
        "needs_gib_2k": round(needs[2048] / GIB, 1),
        "needs_gib": round(needs[8192] / GIB, 1),
        "fits": fits,
        "note": f"{model.kind}, {model.licence}, for {model.hardware}{with_draft}; {note}{slow}",
    }


def _whether_it_fits(needed: int, free: int | None) -> tuple[bool, str]:
    """Return whether so many bytes of memory are free, and a remark for people."""
    if free is None:
        return True, f"needs {as_size(needed)}, and this system doesn't say what is free"
    if needed <= free:
        return True, f"needs {as_size(needed)}, fits here"
    return False, f"needs {as_size(needed)}, more than the {as_size(free)} that are free here"
