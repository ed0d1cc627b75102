"""Finds devices, plans what each of several gets of a target, and reads a model onto them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from decoding.config import ALL_DEVICES, EngineConfig
from decoding.errors import ConfigError, ModelError
from decoding.models.folder.model_folder import ModelFolder
from decoding.models.loading.decoder_loading import LoadedModel, Places, load_decoder
from decoding.models.loading.memory import free_bytes, spreading_needs
from decoding.models.loading.weight_forms import with_rounding
from decoding.models.probing.row_invariance import check_finite
from decoding.models.sharding.layer_split import spread
from decoding.small_torch import NeedsTorch, is_torch_missing


def choose_devices(config: EngineConfig, first: torch.device) -> list[torch.device]:
    """Return the devices that the target's layers are spread over; one where none are named. Raises `ConfigError`."""
    if config.devices == ALL_DEVICES:
        count = torch.cuda.device_count() if first.type == "cuda" else 0
        return [torch.device("cuda", index) for index in range(count)] or [first]
    names = [name.strip() for name in config.devices.split(",")]
    return [find_device(name) for name in names if name] or [first]


def choose_device(config: EngineConfig) -> tuple[torch.device, torch.dtype]:
    """Return what `auto` means here: CUDA if there is one, and bfloat16 wherever the hardware multiplies it."""
    name = config.devices.split(",")[0].strip().replace(ALL_DEVICES, "") or config.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        if is_torch_missing():
            raise NeedsTorch("device cuda")
        raise ConfigError("device cuda was asked for, and torch finds none")
    device = find_device(name) if config.devices else torch.device(name)
    if config.dtype != "auto":
        return device, {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[config.dtype]
    if device.type == "cuda":
        has_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return device, torch.bfloat16 if has_bfloat16 else torch.float16
    has_bfloat16 = device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return device, torch.bfloat16 if has_bfloat16 else torch.float32


def find_device(name: str) -> torch.device:
    """Return the device of that name. Raises `ConfigError` if it can't be used."""
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"the device {name} can't be used: {reason}") from None
    return device


def plan(
    folder: ModelFolder, config: EngineConfig, devices: Sequence[torch.device], dtype: torch.dtype, *, beside: int
) -> Places:
    """Plan how many layers go to which device, before any weight is read.

    Args:
        folder: the target's.
        config: the engine's settings.
        devices: at least two.
        dtype: of weights that are not rounded.
        beside: bytes on the first device that are for others.

    Raises:
        ModelError: they don't fit, or our own forward pass can't compute the model.
    """
    if reason := folder.why_not_ours(config.context_tokens):
        raise ModelError(f"{folder.path}: only models of our own forward pass are spread over devices; {reason}")
    quantize = with_rounding(config, folder, devices[0]).quantize
    needs = spreading_needs(folder.config, folder.num_parameters, dtype, config.context_tokens, quantize)
    free = [free_bytes(device) for device in devices]
    free[0] = None if free[0] is None else free[0] - beside
    return list(zip(devices, spread(needs, free), strict=True))


def load_spread(folder: ModelFolder, config: EngineConfig, dtype: torch.dtype, places: Places) -> LoadedModel:
    """Read the weights layer by layer onto their devices. Raises `ModelError`."""
    model = load_decoder(
        folder,
        config,
        vocabulary=folder.num_token_ids,
        max_len=config.context_tokens,
        device=places[0][0],
        dtype=dtype,
        places=places,
    )
    check_finite(model, folder.path)
    return LoadedModel(model=model)
