"""Several devices for one target: which there are, what each of them gets, and the model that is read onto them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer

from decoding.config import ALL_DEVICES, EngineConfig
from decoding.errors import ConfigError, ModelError
from decoding.models.folder.model_config import read_config, why_not_ours
from decoding.models.folder.tokenizer_files import num_token_ids
from decoding.models.language_model import LanguageModel
from decoding.models.loading.decoder_loading import Places, load_decoder
from decoding.models.loading.memory import free_bytes, spreading_needs
from decoding.models.probing.row_invariance import check_finite
from decoding.models.sharding.layer_split import spread
from decoding.models.weights.safetensors_headers import count_parameters


def choose_devices(config: EngineConfig, first: torch.device) -> list[torch.device]:
    """Those that the target's layers are spread over; one where none are named. Raises `ConfigError`."""
    if config.devices == ALL_DEVICES:
        count = torch.cuda.device_count() if first.type == "cuda" else 0
        return [torch.device("cuda", index) for index in range(count)] or [first]
    names = [name.strip() for name in config.devices.split(",")]
    return [find_device(name) for name in names if name] or [first]


def find_device(name: str) -> torch.device:
    """The device of that name. Raises `ConfigError` if it can't be used."""
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"the device {name} can't be used: {reason}") from None
    return device


def plan(
    folder: Path, config: EngineConfig, devices: Sequence[torch.device], dtype: torch.dtype, *, beside: int
) -> Places:
    """How many layers go to which device, before any weight is read.

    Args:
        folder: the target's.
        config: the engine's settings.
        devices: at least two.
        dtype: of weights that are not rounded.
        beside: bytes on the first device that are for others.

    Raises:
        ModelError: they don't fit, or the model is none of ours.
    """
    declared = read_config(folder)
    if reason := why_not_ours(declared, config.context_tokens):
        raise ModelError(f"{folder}: only models of our own forward pass are spread over devices; {reason}")
    needs = spreading_needs(declared, count_parameters(folder), dtype, config.context_tokens, config.quantize)
    free = [free_bytes(device) for device in devices]
    free[0] = None if free[0] is None else free[0] - beside
    return list(zip(devices, spread(needs, free), strict=True))


def load_spread(
    folder: Path, tokenizer: Tokenizer, config: EngineConfig, dtype: torch.dtype, places: Places
) -> tuple[LanguageModel, str]:
    """The model, layer by layer onto its devices, and "": it can verify drafts."""
    vocabulary, max_len = num_token_ids(tokenizer), config.context_tokens
    sizes = {"vocabulary": vocabulary, "max_len": max_len}
    model = load_decoder(folder, config, **sizes, device=places[0][0], dtype=dtype, places=places)
    check_finite(model, folder)
    return model, ""
