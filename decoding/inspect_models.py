"""What `tabcast doctor` and `tabcast models` say of this machine and its models."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import torch
import transformers

from decoding.config import BUNDLED, EngineConfig
from decoding.errors import TabcastError
from decoding.models.loading import read_config
from decoding.models.pair import choose_device, load_pair
from decoding.policy import is_draft_worth_it

Row = dict[str, Any]


def doctor(config: EngineConfig) -> list[Row]:
    """Checks in the order that they depend on each other: `name`, `ok`, `detail`, `advice`."""
    rows = [
        _row("python", True, platform.python_version()),
        _row("torch", True, f"{torch.__version__}, {torch.get_num_threads()} threads"),
        _row("transformers", True, transformers.__version__),
    ]
    try:
        device, dtype = choose_device(config)
        rows.append(_row("device", True, _describe_device(device, dtype)))
        models, probe = load_pair(config)
    except TabcastError as error:
        advice = "name a complete model folder with --model, or none for the shipped pair"
        return [*rows, _row("models", False, str(error), advice)]
    draft = f", draft {models.draft.num_parameters / 1e6:.1f} M" if models.draft else ", no draft model"
    size = f"{models.name}: target {models.target.num_parameters / 1e6:.1f} M parameters{draft}"
    rows.append(_row("models", True, f"{size}, {models.target.shape.max_len} tokens"))
    if models.draft is not None:
        used = "asked by default" if is_draft_worth_it(models.draft_ms, models.target_ms) else "not asked by default"
        costs = f"a step takes {models.draft_ms:.1f} ms, the target's {models.target_ms:.1f} ms: {used}"
        rows.append(_row("draft model", True, costs))
    advice = "" if probe.width > 1 else "no width was found at which rows agree: decoding is plain on this machine"
    rows.append(_row("row invariance", probe.width > 1, probe.describe(), advice))
    return rows


def list_models(config: EngineConfig) -> list[Row]:
    """The shipped pair and what the settings name: `name`, `role`, `path`, `architecture`, `megabytes`, `selected`."""
    places = [("tabcast-bundled", "target", BUNDLED / "target"), ("tabcast-bundled", "draft", BUNDLED / "draft")]
    if config.model:
        places.append((config.model_path.name, "target", config.model_path))
    if config.draft_path is not None and config.draft:
        places.append((config.draft_path.name, "draft", config.draft_path))
    selected = {config.model_path, config.draft_path}
    return [_model_row(name, role, path, selected=path in selected) for name, role, path in places]


def as_text(rows: list[Row]) -> str:
    """One line a row, for people."""
    return "\n".join("  ".join(str(value) for value in row.values() if value != "") for row in rows)


def _model_row(name: str, role: str, path: Path, *, selected: bool) -> Row:
    row: Row = {"name": name, "role": role, "path": str(path), "selected": selected}
    try:
        architecture = str(read_config(path)["model_type"])
    except TabcastError as error:
        return {**row, "ok": False, "error": str(error)}
    num_bytes = sum(file.stat().st_size for file in path.glob("*.safetensors"))
    return {**row, "architecture": architecture, "megabytes": round(num_bytes / 1e6, 1)}


def _describe_device(device: torch.device, dtype: torch.dtype) -> str:
    name = str(dtype).removeprefix("torch.")
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return f"{torch.cuda.get_device_name(device)}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free, {name}"
    return f"{device.type}, {name}"


def _row(name: str, ok: bool, detail: str, advice: str = "") -> Row:
    return {"name": name, "ok": ok, "detail": detail, "advice": advice}
