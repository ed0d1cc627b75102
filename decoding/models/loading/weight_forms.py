"""Decides in which form a model's weights are computed with: as they are, in a file's blocks, or rounded."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from types import ModuleType
from typing import Final

import torch

from decoding.config import AUTO_ROUNDING, NO_ROUNDING, EngineConfig
from decoding.models.catalogue import ROUNDED_ABOVE
from decoding.models.folder.model_config import why_not_ours
from decoding.models.folder.summary import Described
from decoding.models.gguf.wrapped import FORMS
from decoding.models.loading.rounding import KINDS, type_for
from decoding.models.weights.stored_blocks import KEPT_TYPES
from decoding.models.weights.weight_schema import FLOATS

log = logging.getLogger(__name__)

LARGE: Final = ROUNDED_ABOVE
BY_DEFAULT: Final = "int4"


def with_rounding(config: EngineConfig, folder: Described, device: torch.device) -> EngineConfig:
    """Return the settings with `quantize` decided for this model, where they leave it to us."""
    if config.quantize != AUTO_ROUNDING:
        return config
    rounded = replace(config, quantize=BY_DEFAULT)
    is_rounded = (
        folder.num_parameters > LARGE
        and not config.devices
        and _mostly_floats(folder)
        and rounds_matrices(folder, rounded, device)
    )
    return rounded if is_rounded else replace(config, quantize=NO_ROUNDING)


def would_round(num_parameters: int, config: EngineConfig, device: torch.device) -> bool:
    """Tell whether a model of so many weights that comes in numbers would be rounded to four bits, by its size alone.

    It is asked of models that aren't on this machine.
    """
    if config.quantize != AUTO_ROUNDING:
        return config.quantize == BY_DEFAULT and packs_itself(config, device)
    return num_parameters > LARGE and not config.devices and packs_itself(config, device)


def rounds_matrices(folder: Described, config: EngineConfig, device: torch.device) -> bool:
    """Tell whether the kernels multiply with matrices of this model that are rounded to blocks."""
    is_ours = not why_not_ours(folder.config, config.context_tokens)
    if not is_ours or config.quantize not in KINDS or not packs_itself(config, device):
        return False
    return any(
        entry.dtype not in KEPT_TYPES and type_for(config.quantize, name, entry.shape)
        for name, entry in folder.entries.items()
    )


def keeps_blocks(folder: Described, config: EngineConfig, device: torch.device) -> bool:
    """Tell whether the kernels multiply with the blocks of a GGUF file as they are."""
    is_ours = folder.config["model_type"] not in FORMS
    return folder.is_file and is_ours and packs_itself(config, device)


def are_in_blocks(folder: Described, config: EngineConfig, device: torch.device) -> bool:
    """Tell whether the kernels multiply with blocks of this model, those of its file or rounded ones."""
    return keeps_blocks(folder, config, device) or rounds_matrices(folder, config, device)


def rounded_to(folder: Described, config: EngineConfig, device: torch.device) -> str:
    """Return what a model's weights are rounded to, "none" if all stay what they are."""
    config = with_rounding(config, folder, device)
    stays = keeps_blocks(folder, config, device) and not rounds_matrices(folder, config, device)
    return NO_ROUNDING if stays else config.quantize


def held_as(folder: Described, config: EngineConfig, device: torch.device, dtype: torch.dtype) -> str:
    """Return how an engine holds a model's weights, for people: Q4_K_M, bfloat16, int8, Q4_K_M in bfloat16."""
    rounded = rounded_to(folder, config, device)
    if rounded == NO_ROUNDING and keeps_blocks(folder, config, device):
        return folder.kind
    held = rounded if rounded != NO_ROUNDING else str(dtype).removeprefix("torch.")
    return f"{folder.kind} in {held}" if folder.is_file else held


def packs_itself(config: EngineConfig, device: torch.device) -> bool:
    """Tell whether the compiled kernels compute it, which store weights in a form of their own."""
    is_packed = config.quantize in (AUTO_ROUNDING, NO_ROUNDING, *KINDS)
    return device.type == "cpu" and is_packed and cpu_kernels(config) is not None


def cpu_kernels(config: EngineConfig) -> ModuleType | None:
    """Return the compiled kernels, or None if the settings or the machine are against them."""
    if config.kernels != "auto":
        return None
    try:
        from decoding.models.cpu import decoder  # noqa: PLC0415 - brings numba, which some machines don't have
    except ImportError as error:
        log.info("no compiled kernels: %s", error)
        return None
    return decoder


def _mostly_floats(folder: Described) -> bool:
    sizes = [(math.prod(entry.shape), entry.dtype in FLOATS) for entry in folder.entries.values()]
    return 2 * sum(size for size, is_float in sizes if is_float) > sum(size for size, _ in sizes)
