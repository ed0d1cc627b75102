"""Packs weights as int8 with a factor for each output, in safetensors files below 16 MB, and unpacks them.

It serves to carry a model away from the machine that trained it, and to ship it: half of bfloat16's size. The engine
loads such a folder as it is. Knows no training.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from decoding.errors import TabcastError
from decoding.models.folder.model_config import CONFIG_FILE, decoder_sizes, read_config
from decoding.models.folder.safetensors_headers import read_headers
from decoding.models.weights.int8_files import FACTORS, PATTERN, restore_rows, round_rows
from decoding.models.weights.tensors import Tensors
from decoding.models.weights.weight_schema import decoder_schema
from decoding.training.export import copy_tokenizer, export, write_folder

MAX_FILE_BYTES = 15_000_000


def pack(model: PreTrainedModel, tokenizer_folder: Path, folder: Path) -> None:
    """Write `model` as int8 files, its config.json and its tokenizer. Raises `TrainingError` on a full disk."""

    def write(partial: Path) -> None:
        for number, part in enumerate(_parts(quantize(model.state_dict(), model.config.tie_word_embeddings)), 1):
            save_file(part, partial / f"int8-{number:05}.safetensors")
        model.config.save_pretrained(partial)
        copy_tokenizer(tokenizer_folder, partial)

    write_folder(folder, write)


def is_packed(folder: Path) -> bool:
    """Return whether `pack` made this folder."""
    return any(folder.glob(PATTERN))


def unpack(packed: Path, folder: Path) -> PreTrainedModel:
    """Write a packed folder as the model folder that everybody reads, in bfloat16; return the model in float32.

    Raises:
        TabcastError: `packed` isn't a whole packed folder.
    """
    model = load(packed)
    export(model, packed, folder)
    return model


def load(packed: Path, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """Load the model of a packed folder. Raises `TabcastError` if it isn't whole."""
    if not is_packed(packed):
        raise TabcastError(f"{packed} is no packed model: it needs config.json and {PATTERN}")
    schema = decoder_schema(decoder_sizes(read_config(packed), packed / CONFIG_FILE))
    tensors = Tensors(packed, read_headers(packed), schema, torch.device("cpu"), dtype)
    config = AutoConfig.from_pretrained(packed, local_files_only=True)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=dtype)
    model.load_state_dict({name: tensors.take(name) for name in tensors.names}, strict=not config.tie_word_embeddings)
    model.tie_weights()
    return model


def quantize(weights: dict[str, Tensor], is_tied: bool) -> dict[str, Tensor]:
    """Return matrices (outputs, inputs) as int8 with float32 factors (outputs,), vectors as float32."""
    packed: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if is_tied and name == "lm_head.weight":
            continue
        if tensor.ndim == 2:
            packed[name], packed[name + FACTORS] = round_rows(tensor)
        else:
            packed[name] = tensor.detach().float().cpu().contiguous()
    return packed


def restore(packed: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return float32 weights from the output of `quantize`."""
    return {
        name: restore_rows(tensor, packed[name + FACTORS]) if name + FACTORS in packed else tensor
        for name, tensor in packed.items()
        if not name.endswith(FACTORS)
    }


def _parts(tensors: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    parts: list[dict[str, Tensor]] = [{}]
    room = MAX_FILE_BYTES
    for name, tensor in tensors.items():
        num_bytes = tensor.numel() * tensor.element_size()
        if num_bytes > room and parts[-1]:
            parts.append({})
            room = MAX_FILE_BYTES
        parts[-1][name] = tensor
        room -= num_bytes
    return parts
