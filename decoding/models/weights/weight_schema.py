"""Derives from a model's checked sizes which tensors it must have, and checks a folder's tensors against that.

The compiled kernels work on addresses without checks: a matrix with a row too many is memory overwritten. So no tensor
reaches them, or any other forward pass, that isn't in a schema, under its name, in its shape, and of floats or of int8
with the factors of its rows. Dimension letters as in decoder.py; F width of the feed-forward part.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from decoding.errors import ModelError
from decoding.models.folder.model_config import MAX_VOCABULARY, DecoderSizes
from decoding.models.folder.safetensors_headers import Entry
from decoding.models.weights.int8_files import FACTORS

Schema = Mapping[str, tuple[int, ...]]

FLOATS: Final = ("F64", "F32", "F16", "BF16")
INT8: Final = "I8"
MAX_STATE_WIDTH: Final = 2**14


def decoder_schema(sizes: DecoderSizes) -> Schema:
    """Return the tensors of a model for our own forward pass."""
    schema: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (sizes.vocabulary, sizes.width)}
    if not sizes.is_tied:
        schema["lm_head.weight"] = (sizes.vocabulary, sizes.width)
    layer = _layer_schema(sizes)
    for index in range(sizes.layers):
        schema |= {f"model.layers.{index}.{name}": shape for name, shape in layer.items()}
    return {**schema, "model.norm.weight": (sizes.width,)}


def heads_schema(entries: Mapping[str, Entry], folder: Path, *, num_heads: int, width: int, vocabulary: int) -> Schema:
    """Return the tensors of heads on a target's hidden state; the files tell their own width and padding.

    Args:
        entries: of the heads' folder.
        folder: for messages.
        num_heads: by heads.json.
        width: of the target's hidden state.
        vocabulary: how many tokens an embedding has to have at least.

    Raises:
        ModelError: the tensors that tell these sizes are missing or can't be right.
    """
    for name, dimensions in (("norm", 1), ("embedding", 2)):
        if name not in entries or len(entries[name].shape) != dimensions:
            raise ModelError(f"{folder}: tensor {name} is missing or misshapen, so these are no heads")
    (size,), rows = entries["norm"].shape, entries["embedding"].shape[0]
    if not 1 <= size <= MAX_STATE_WIDTH or not vocabulary <= rows <= MAX_VOCABULARY:
        raise ModelError(
            f"{folder}: its tensors don't fit the target: a state of {size} numbers and {rows} tokens,"
            f" and the target has {vocabulary} tokens"
        )
    blocks = {f"block.{i}": (size, 2 * size) for i in range(num_heads)}
    return {"embedding": (rows, size), "down": (size, width), "norm": (size,), **blocks}


def check(entries: Mapping[str, Entry], schema: Schema, folder: Path) -> None:
    """Raise `ModelError` unless a folder's tensors are those of the schema.

    A head beside a tied embedding, and tables of angles, which some tools leave over, are ignored.
    """
    known = set(schema)
    for name, shape in schema.items():
        entry = entries.get(name)
        if entry is None:
            raise ModelError(f"{folder} is not a complete model folder: tensor {name} is missing")
        if entry.shape != shape:
            raise ModelError(
                f"{entry.file}: tensor {name} has the shape {_written(entry.shape)}, and by the folder's description"
                f" it must be {_written(shape)}"
            )
        if entry.dtype == INT8 and len(shape) == 2:
            _check_factors(entries, name, shape[0], folder)
            known.add(name + FACTORS)
        elif entry.dtype not in FLOATS and entry.stored is None:
            raise ModelError(
                f"{entry.file}: tensor {name} is stored as {entry.dtype}, and weights must be one of"
                f" {', '.join(FLOATS)}, or matrices {INT8} with factors"
            )
    left = sorted(name for name in entries.keys() - known if name != "lm_head.weight" and "rotary_emb" not in name)
    if left:
        raise ModelError(f"{folder}: tensor {left[0]} (and {len(left) - 1} more) has no place in this architecture")


def _layer_schema(sizes: DecoderSizes) -> Schema:
    """Return the tensors of one layer, without the beginning of their names."""
    width, feed_forward = sizes.width, sizes.feed_forward
    rows = {
        "q": sizes.heads * sizes.head_dim,
        "k": sizes.kv_heads * sizes.head_dim,
        "v": sizes.kv_heads * sizes.head_dim,
    }
    schema: dict[str, tuple[int, ...]] = {
        "input_layernorm.weight": (width,),
        **{f"self_attn.{kind}_proj.weight": (count, width) for kind, count in rows.items()},
        "self_attn.o_proj.weight": (width, rows["q"]),
        "post_attention_layernorm.weight": (width,),
        "mlp.gate_proj.weight": (feed_forward, width),
        "mlp.up_proj.weight": (feed_forward, width),
        "mlp.down_proj.weight": (width, feed_forward),
    }
    if sizes.has_biases:
        schema |= {f"self_attn.{kind}_proj.bias": (count,) for kind, count in rows.items()}
    if sizes.has_head_norms:
        schema |= {f"self_attn.{kind}_norm.weight": (sizes.head_dim,) for kind in ("q", "k")}
    return schema


def _check_factors(entries: Mapping[str, Entry], name: str, num_rows: int, folder: Path) -> None:
    factors = entries.get(name + FACTORS)
    if factors is None:
        raise ModelError(f"{folder} is not a complete model folder: tensor {name}{FACTORS} is missing")
    if factors.shape != (num_rows,) or factors.dtype not in FLOATS:
        raise ModelError(f"{folder}: the factors of tensor {name} are not those of its rows")


def _written(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "of a single number"
