"""Checks before loading whether a model fits: its size by its files, and the device's free memory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch

from decoding.errors import ModelError
from decoding.models.catalogue import OVERHEAD
from decoding.models.folder.model_config import size_of
from decoding.models.folder.safetensors_headers import BITS
from decoding.models.folder.summary import Described
from decoding.models.loading.rounding import BYTES_OF, KINDS, type_for
from decoding.models.quantize import BYTES_PER_WEIGHT, HEAD_KIND
from decoding.models.recommended import largest_that_fits
from decoding.models.sharding.layer_split import GIB, Needs
from decoding.models.weights.stored_blocks import KEPT_TYPES

# The names of a model's width in different architectures.
WIDTHS: Final = ("hidden_size", "n_embd", "d_model")
LAYERS: Final = ("num_hidden_layers", "n_layer")
HEADS: Final = ("num_attention_heads", "n_head")
# The files with a container's memory limit and use, of control groups version 2 and 1.
CONTROL_GROUPS: Final = (
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)


def needed_bytes(folder: Described, dtype: torch.dtype, num_tokens: int, quantize: str = "none") -> int:
    """Return the bytes of weights in `dtype` or rounded, and of one sequence's keys and values, on a device."""
    weights = weight_bytes(folder.num_parameters, folder.config, dtype, quantize)
    return int(OVERHEAD * weights) + cache_bytes(folder.config, dtype, num_tokens)


def largest_bytes(folder: Described) -> int:
    """Return the bytes of the largest tensor that a file holds in numbers.

    Blocks of a GGUF file don't count: they pass through one room, which is free again when the last is in place.
    """
    sizes = (
        math.prod(entry.shape) * BITS.get(entry.dtype, 16) // 8
        for entry in folder.entries.values()
        if entry.stored is None
    )
    return max(sizes, default=0)


def block_bytes(folder: Described, dtype: torch.dtype, quantize: str = "none") -> int:
    """Return the bytes of all weights where kernels keep a file's blocks, round to blocks, and widen the others."""
    total = 0
    for name, entry in folder.entries.items():
        count, kept = math.prod(entry.shape), entry.stored
        rounded = type_for(quantize, name, entry.shape) if quantize in KINDS else ""
        if kept is not None and kept.kind.name == "IQ4_NL":  # its sixteen values become bytes
            total += count + kept.num_bytes // 9
        elif kept is not None and kept.kind.name in KEPT_TYPES:
            total += kept.num_bytes
        else:
            total += int(count * BYTES_OF[rounded]) if rounded else count * dtype.itemsize
    return total


def weight_bytes(num_parameters: int, config: Mapping[str, Any], dtype: torch.dtype, quantize: str = "none") -> int:
    """Return the bytes of all weights.

    When rounded, the embedding stays as it is, and a head that is tied to it becomes one of its own.
    """
    if quantize == "none":
        return num_parameters * dtype.itemsize
    embedding = size_of(config, "vocab_size") * size_of(config, *WIDTHS)
    layers = num_parameters - embedding * (1 if config.get("tie_word_embeddings") else 2)
    head = embedding * BYTES_PER_WEIGHT[HEAD_KIND[quantize]]
    return int(embedding * dtype.itemsize + head + max(0, layers) * BYTES_PER_WEIGHT[quantize])


def spreading_needs(
    config: Mapping[str, Any], num_parameters: int, dtype: torch.dtype, num_tokens: int, quantize: str = "none"
) -> Needs:
    """Return the bytes by layers, for a model spread over devices; a tied head is copied to the last device."""
    num_layers = size_of(config, *LAYERS) or 1
    num_embedded = size_of(config, "vocab_size") * size_of(config, *WIDTHS)
    embedding = num_embedded * dtype.itemsize
    head = embedding if quantize == "none" else int(num_embedded * BYTES_PER_WEIGHT[HEAD_KIND[quantize]])
    is_copied = quantize == "none" and config.get("tie_word_embeddings")
    whole = weight_bytes(num_parameters, config, dtype, quantize) + (head if is_copied else 0)
    return Needs(
        num_layers=num_layers,
        layer=int(OVERHEAD * (whole - embedding - head)) // num_layers,
        cached=cache_bytes(config, dtype, num_tokens) // num_layers,
        first=int(OVERHEAD * embedding),
        last=int(OVERHEAD * head),
    )


def cache_bytes(config: Mapping[str, Any], dtype: torch.dtype, num_tokens: int) -> int:
    """Return the bytes of keys and values of one sequence."""
    heads = size_of(config, *HEADS)
    head_dim = size_of(config, "head_dim") or size_of(config, *WIDTHS) // max(heads, 1)
    kv_heads = size_of(config, "num_key_value_heads") or heads
    return 2 * size_of(config, *LAYERS) * kv_heads * head_dim * num_tokens * dtype.itemsize


def free_bytes(device: torch.device) -> int | None:
    """Return the bytes that a new process could get on the device; None where the system doesn't tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return None
    left = [free]
    for limit, used in CONTROL_GROUPS:
        try:
            values = [int((Path("/sys/fs/cgroup") / name).read_text(encoding="ascii")) for name in (limit, used)]
        except (OSError, ValueError):
            continue  # no such control group, or no limit
        left.append(values[0] - values[1])
    return max(0, min(left))


def check_fit(needs: Sequence[tuple[str, int]], device: torch.device, free: int | None) -> None:
    """Raise `ModelError` with the numbers and a recommendation if the models together don't fit.

    Args:
        needs: name and bytes of each model.
        device: where they go.
        free: bytes that it has; None lets everything pass.
    """
    total = sum(num_bytes for _, num_bytes in needs)
    if free is None or total <= free:
        return
    listed = " and ".join(f"{name} {num_bytes / GIB:.1f}" for name, num_bytes in needs)
    better = largest_that_fits(free / GIB, on_cpu=device.type == "cpu")
    raise ModelError(
        f"the models need {total / GIB:.1f} GiB ({listed}), and {device} has {free / GIB:.1f} GiB free;"
        f" what fits is {better.names}: tabcast models use {better.target}"
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out, on a device or on a CPU, where torch's allocator raises a plain RuntimeError."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(
        words in str(error) for words in ("not enough memory", "can't allocate memory", "out of memory")
    )
