"""Chooses the target and draft of an engine, and plans where they go, before any weight is read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from decoding.config import AS_TARGET, NO_ROUNDING, EngineConfig
from decoding.errors import ModelError
from decoding.models.catalogue import host_bytes
from decoding.models.folder.model_config import size_of
from decoding.models.folder.model_folder import ModelFolder
from decoding.models.folder.naming import SHIPPED_DRAFT, SHIPPED_PAIR
from decoding.models.folder.summary import Described
from decoding.models.loading.decoder_loading import Places
from decoding.models.loading.devices import choose_devices, plan
from decoding.models.loading.memory import (
    block_bytes,
    cache_bytes,
    check_fit,
    free_bytes,
    largest_bytes,
    needed_bytes,
    weight_bytes,
)
from decoding.models.loading.weight_forms import are_in_blocks, held_as, with_rounding
from decoding.storage.adaptation import AdaptationFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The folders that an engine is made of; `notices` say which draft was left out, and why."""

    target: ModelFolder
    draft: ModelFolder | None
    notices: tuple[str, ...]


def choose_parts(config: EngineConfig) -> Parts:
    """Read the folders that the settings name. Raises `ModelError` if one of them can't be a model."""
    target = ModelFolder.read(config.model_path)
    if config.draft_path is None:
        return Parts(target=target, draft=None, notices=())
    notices: list[str] = []
    draft = _adapted(target, config.draft_path, notices) if config.online else None
    draft = draft or ModelFolder.read(config.draft_path, like=target)
    if problem := draft.why_not_alike(target):
        notices.append(f"the draft {draft.path} is left out, because it has another tokenizer: {problem}")
        draft = None
    return Parts(target=target, draft=draft, notices=tuple(notices))


def plan_memory(parts: Parts, config: EngineConfig, device: torch.device, dtype: torch.dtype) -> Places:
    """Return where the target's layers go if that is more than one device.

    Raises `ModelError` if the models don't fit.
    """
    needs = [(parts.target.path.name, planned_bytes(parts.target, config, device, dtype))]
    if parts.draft is not None:
        needed = planned_bytes(parts.draft, draft_config(config), device, dtype, is_draft=True)
        needs.append((parts.draft.path.name, needed))
    devices = choose_devices(config, device)
    if len(devices) > 1:
        return plan(parts.target, config, devices, dtype, beside=sum(num_bytes for _, num_bytes in needs[1:]))
    check_fit(needs, device, free_bytes(device))
    return ()


def planned_bytes(
    folder: Described, config: EngineConfig, device: torch.device, dtype: torch.dtype, *, is_draft: bool = False
) -> int:
    """Return the bytes that a model takes on the device with these settings, while it is loaded or afterwards.

    On a CPU the engine itself counts as well, with the target.
    """
    config = with_rounding(config, folder, device)
    if device.type != "cpu":
        return needed_bytes(folder, dtype, config.context_tokens, config.quantize)
    if are_in_blocks(folder, config, device):
        weights = block_bytes(folder, dtype, config.quantize)
    else:
        weights = weight_bytes(folder.num_parameters, folder.config, dtype)
        if config.kernels == "auto" or config.quantize != NO_ROUNDING:  # kernels and rounding make a copy
            weights += weight_bytes(folder.num_parameters, folder.config, dtype, config.quantize)
    cached = cache_bytes(folder.config, dtype, config.context_tokens)
    tokens = size_of(folder.config, "vocab_size")
    return host_bytes(weights, cached, largest_bytes(folder), tokens, is_draft=is_draft)


def named_weights(parts: Parts, config: EngineConfig, device: torch.device, dtype: torch.dtype) -> tuple[str, str]:
    """Return what people call the weights of target and draft, with their kinds; a draft that comes along has no name.

    Those of the shipped pair are known, and need no kind.
    """
    target = parts.target.title
    if target != SHIPPED_PAIR:
        target = f"{target}, {held_as(parts.target, config, device, dtype)}"
    draft = parts.draft
    if draft is None or (target == SHIPPED_PAIR and draft.title == SHIPPED_DRAFT):
        return target, ""
    if draft.path != config.draft_path:
        return target, "an adapted draft"
    return target, f"{draft.title}, {held_as(draft, draft_config(config), device, dtype)}"


def draft_config(config: EngineConfig) -> EngineConfig:
    """Return the settings that the draft is loaded with."""
    return config if config.draft_quantize == AS_TARGET else replace(config, quantize=config.draft_quantize)


def _adapted(target: ModelFolder, draft: Path, notices: list[str]) -> ModelFolder | None:
    """Return the draft that has learnt from the user, None if there is no complete one."""
    adapted = AdaptationFolder.of(target.path, draft).draft
    if not adapted.is_dir():
        return None
    try:
        folder = ModelFolder.read(adapted)
        problem = folder.why_not_alike(target)
    except ModelError as error:
        problem = str(error)
    if problem:
        notices.append(f"the adapted draft is left out ('tabcast train online --reset' removes it): {problem}")
        return None
    return folder
