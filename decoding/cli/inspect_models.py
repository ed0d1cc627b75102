"""Inspects this machine and its models for `tabcast doctor` and `tabcast models`."""

from __future__ import annotations

import os
import platform
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from decoding.config import AUTO_ROUNDING, BUNDLED, NO_ROUNDING, EngineConfig, beside, model_folder
from decoding.datastore import command as datastores
from decoding.errors import TabcastError
from decoding.installing import NVIDIA
from decoding.models import cuda
from decoding.models.folder.model_config import read_config
from decoding.models.folder.model_folder import ModelFolder
from decoding.models.heads import FOLDER as HEADS
from decoding.models.heads import identity, read_description
from decoding.models.language_model import LanguageModel
from decoding.models.listed import listed_as, resolved
from decoding.models.loading.better import better_model
from decoding.models.loading.devices import choose_device
from decoding.models.loading.memory import free_bytes
from decoding.models.loading.model_set import ModelSet, load_models
from decoding.models.loading.parts import planned_bytes
from decoding.models.loading.rounded_file import is_kept, kept_file, wanted_for
from decoding.models.loading.weight_forms import held_as, rounded_to, rounds_matrices, with_rounding
from decoding.models.parallel import FOLDER as PARALLEL
from decoding.models.parallel import mask_form
from decoding.models.probing.agreement import choices, percent_alike
from decoding.models.sharding.layer_split import GIB
from decoding.models.sharding.pipeline import Pipeline
from decoding.small_torch import how_to_install, is_torch_missing
from decoding.storage import kept_blocks
from decoding.storage.pulled import as_size
from decoding.text.prompt_layout import find_layout

Row = dict[str, Any]

SAMPLE_TOKENS = 256
MIN_MEMORY_GIB = 2


def doctor(config: EngineConfig) -> list[Row]:
    """Return the checks in the order in which they depend on each other: `name`, `ok`, `detail`, `advice`."""
    rows = [
        _row("python", True, platform.python_version()),
        _torch_row(),
        _row("transformers", True, _version_of("transformers") or "not installed: only other architectures need it"),
        *_memory_rows(),
    ]
    try:
        device, _ = choose_device(config)
        rows.append(_row("device", True, _describe_device(device)))
        if device.type == "cuda" and cuda.EXPERIMENTAL:
            rows.append(_row("GPU", True, cuda.EXPERIMENTAL, "'tabcast bench gpu-check' tries it on this one"))
        models, probe = load_models(config)
    except TabcastError as error:
        advice = "name a complete model folder with --model, or none for the shipped pair"
        return [*rows, _row("models", False, str(error), advice)]
    held = f"{models.weights} with the draft {models.draft_weights}" if models.draft_weights else models.weights
    draft = f", draft {models.draft.num_parameters / 1e6:.1f} M" if models.draft else ", no draft model"
    size = f"{held}: target {models.target.num_parameters / 1e6:.1f} M parameters{draft}"
    rows.append(_row("models", True, f"{size}, {models.target.shape.max_len} tokens"))
    better = better_model(config.model_path, models.num_code_weights, device, free_bytes(device))
    if better is not None:
        rows.append(_row("better model", True, f"{better.name} is on this machine", f"'{better.command}' chooses it"))
    if models.without_middle:
        rows.append(_row("middle", True, models.without_middle, "a code model does more: 'tabcast setup' chooses one"))
    if models.draft is not None:
        rows.append(_row("draft model", True, f"a step takes {models.draft_step_ms[1]:.2f} ms"))
    steps = ", ".join(f"{ms:.2f} ms at {width}" for width, ms in models.step_ms.items())
    rows.append(_row("steps", True, f"{steps} rows"))
    rows += [_row("draft model", False, notice, "name another with --draft, or none") for notice in models.notices]
    rows.append(_row("folders of code", True, datastores.describe()))
    rows.append(_row("keys and values", True, _describe_cache(models.target)))
    rows.append(_row("kept on disk", True, _describe_kept(config)))
    if models.rounding != NO_ROUNDING:
        rows.append(_row("rounded weights", True, _describe_rounding(config, models)))
    if probe.notice:
        advice = "a model that verifies drafts is faster: 'tabcast models' lists some"
    else:
        advice = "" if probe.width > 1 else "no width was found at which rows agree: decoding is plain on this machine"
    rows.append(_row("row invariance", probe.width > 1 or bool(probe.notice), probe.describe(), advice))
    return rows


def _torch_row() -> Row:
    """Describe torch. Without it a GPU is of no use, and nothing else would say so."""
    threads = f"{torch.get_num_threads()} threads"
    if not is_torch_missing():
        return _row("torch", True, f"{torch.__version__}, {threads}")
    advice = f"to use the GPU of this machine, add torch: {how_to_install()}" if NVIDIA.exists() else ""
    return _row("torch", True, f"not installed: the kernels need none, {threads}", advice)


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _memory_rows() -> list[Row]:
    """Check main memory, where the system tells it: a process that doesn't fit is killed without a message."""
    free = free_bytes(torch.device("cpu"))
    if free is None:
        return []
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    advice = "" if total >= MIN_MEMORY_GIB * GIB else f"the engine needs {MIN_MEMORY_GIB} GiB"
    return [_row("memory", not advice, f"{free / GIB:.1f} of {total / GIB:.1f} GiB available", advice)]


def _describe_cache(target: LanguageModel) -> str:
    places = ""
    if isinstance(target, Pipeline):
        places = f"; layers on {len(target.num_layers)} devices: {', '.join(map(str, target.num_layers))}"
    size = f"{target.new_cache().num_bytes / 1e6:.0f} MB for a sequence of {target.shape.max_len} tokens"
    return f"{_plain_dtype(target.dtype)}, {size}{places}"


def _describe_kept(config: EngineConfig) -> str:
    """Describe the keys and values that are kept on disk."""
    size = f"{kept_blocks.kept_bytes() / 1e6:.1f} MB of keys and values in {kept_blocks.folder()}"
    if not config.cache_on_disk_mb:
        return f"none, as cache_on_disk_mb = 0 wants; {size}"
    return f"{size}, at most {config.cache_on_disk_mb} MB"


def _describe_agreement(config: EngineConfig, models: ModelSet) -> str:
    """Describe how often the rounded target chooses what the full one does, where there is room for both."""
    sample = models.encode(Path(__file__).read_text(encoding="utf-8"))[:SAMPLE_TOKENS]
    try:
        full = load_models(replace(config, quantize="none", draft="none"))[0]
    except TabcastError as error:
        return f"{config.quantize}, not compared with the full ones: {error}"
    alike = percent_alike([choices(models.target, sample)], [choices(full.target, sample)])
    return f"{config.quantize}, chooses what the full ones do at {alike:.1f} % of {len(sample)} tokens"


def _describe_rounding(config: EngineConfig, models: ModelSet) -> str:
    """Describe how the target is rounded, and how near that is where the user asked for it."""
    if config.quantize != AUTO_ROUNDING:
        return _describe_agreement(config, models)
    size = f"{models.target.num_parameters / 1e6:.0f} M parameters"
    folder, (device, _) = ModelFolder.read(resolved(config).model_path), choose_device(config)
    kept = _where_kept(folder, config, device)
    return f'{models.rounding}, because it has {size}{kept and f", {kept}"}; quantize = "none" keeps them whole'


def _rounding_of(folder: ModelFolder, config: EngineConfig, device: torch.device) -> str:
    """Say what a model's weights would be rounded to, and where they are kept, "" if they stay as they are."""
    kind = rounded_to(folder, config, device)
    if kind == NO_ROUNDING or folder.why_not_ours(config.context_tokens):
        return ""
    kept = _where_kept(folder, config, device)
    return f"to {kind}, {kept or 'not done yet'}"


def _where_kept(folder: ModelFolder, config: EngineConfig, device: torch.device) -> str:
    """Say where the rounded weights of a model are kept, "" if they would be and are not."""
    settings = with_rounding(config, folder, device)
    if not is_kept(folder) or not rounds_matrices(folder, settings, device):
        return "at each start"
    file = kept_file(wanted_for(folder, settings.quantize))
    return f"kept in {file} ({as_size(file.stat().st_size)})" if file else ""


def show_model(name: str, config: EngineConfig) -> Row:
    """Describe a model, what it needs, and how this machine would run it. Raises `ModelError`."""
    folder = model_folder(name, "target")
    read = ModelFolder.read(folder)
    device, dtype = choose_device(config)
    template = find_layout(read.vocabulary, read.own, (), model_name=read.names, chosen=config.fim).template
    free, needed = free_bytes(device), planned_bytes(read, config, device, dtype)
    reason = read.why_not_ours(config.context_tokens)
    computed_by = "our own forward pass"
    if reason:
        computed_by = f"transformers ({reason})" if read.is_wrapped else f"nothing here ({reason} in a GGUF file)"
    return {
        "name": listed_as(folder) or name or "bundled",
        "called": f"{read.title}, {held_as(read, config, device, dtype)}",
        "path": str(folder),
        "architecture": read.config["model_type"],
        "weights": read.stored_as,
        "rounded": _rounding_of(read, config, device),
        "parameters": f"{read.num_parameters / 1e6:.1f} M",
        "tokens": read.num_token_ids,
        "context": read.config.get("max_position_embeddings", ""),
        "languages": list(read.own.get("languages") or ()) or "not declared",
        "middle": "none: it gets the text before the cursor alone" if template is None else " ".join(template.parts),
        "order": "" if template is None else template.order.replace("_", " "),
        "drafters": _drafters_of(folder),
        "computed_by": computed_by,
        "device": _describe_device(device),
        "memory": f"{needed / GIB:.2f} GiB needed" + ("" if free is None else f", {free / GIB:.1f} GiB free"),
        "ok": (free is None or needed <= free) and not (reason and not read.is_wrapped),
    }


def _drafters_of(folder: Path) -> list[str] | str:
    """Return what drafts for a folder's model without being named: drafts in it, or beside the shipped target."""
    is_shipped = folder == BUNDLED / "target"
    parallel, heads = (BUNDLED / role if is_shipped else beside(folder, role) for role in (PARALLEL, HEADS))
    found = ["draft"] if is_shipped else []
    if parallel.is_dir():
        found.append(PARALLEL)
    if heads.is_dir():
        try:
            is_fit = read_description(heads)["target"] == identity(folder)
        except TabcastError as error:
            return [*found, f"heads that can't be read ({error})"]
        found.append("heads" if is_fit else "heads that were made for other weights")
    try:
        form = mask_form(read_config(folder), folder)
    except TabcastError:
        return found or "none of its own"
    return [*found, f"it is itself a parallel draft of {form.num_tokens} tokens a pass"]


def as_text(rows: list[Row]) -> str:
    """Format one line a row, for people."""
    return "\n".join("  ".join(str(value) for value in row.values() if value != "") for row in rows)


def _plain_dtype(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _describe_device(device: torch.device) -> str:
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return f"{torch.cuda.get_device_name(device)}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
    return device.type


def _row(name: str, ok: bool, detail: str, advice: str = "") -> Row:
    return {"name": name, "ok": ok, "detail": detail, "advice": advice}
