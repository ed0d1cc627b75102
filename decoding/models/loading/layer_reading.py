"""Reads a model's tensors, by their names in a Hugging Face folder, in the form that a forward pass wants.

Rows of queries and keys are permuted so that the two halves of a rotary pair stand side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from decoding.models.folder.model_config import DecoderSizes
from decoding.models.torch.decoder import Layer
from decoding.models.weights.stored_blocks import BlockRows, Matrix, StoredLayer, StoredWeights
from decoding.models.weights.tensors import StoredTensors, Tensors

EMBEDDING, NORM, HEAD = "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"

# Whether kernels can multiply with these blocks, one part below the other.
CanPack = Callable[[Sequence[BlockRows]], bool]


def read_layer(tensors: Tensors, number: int, sizes: DecoderSizes) -> Layer:
    """Read a layer's tensors; the sizes tell which of them exist."""
    reader = _Reader(tensors, number, sizes)
    return Layer(
        input_norm=reader.norm("input_layernorm"),
        qkv=reader.dense(*_QKV),
        qkv_bias=reader.biases(),
        query_norm=reader.head_norm("q"),
        key_norm=reader.head_norm("k"),
        out=reader.dense(_OUT),
        post_norm=reader.norm("post_attention_layernorm"),
        gate_up=reader.dense(*_GATE_UP),
        down=reader.dense(_DOWN),
    )


def read_stored(
    tensors: StoredTensors, sizes: DecoderSizes, vocabulary: int, rotary: Tensor, can_pack: CanPack
) -> StoredWeights:
    """Read weights as blocks where the file has blocks that the kernels can multiply with; tables and layers later."""

    def table(name: str) -> Matrix:
        tensors.reuse_memory()
        blocks = tensors.blocks(name)
        if blocks is not None and can_pack([blocks]):
            return (replace(blocks, rows=blocks.rows[:vocabulary]),)
        return tensors.take(name)[:vocabulary]

    return StoredWeights(
        tables=map(table, [EMBEDDING] if sizes.is_tied else [EMBEDDING, HEAD]),
        layers=(_read_stored_layer(tensors, number, sizes, can_pack) for number in range(sizes.layers)),
        norm=tensors.take(NORM),
        rotary=rotary,
        is_tied=sizes.is_tied,
    )


def _read_stored_layer(tensors: StoredTensors, number: int, sizes: DecoderSizes, can_pack: CanPack) -> StoredLayer:
    tensors.reuse_memory()
    reader = _Reader(tensors, number, sizes)

    def matrix(*kinds: str) -> Matrix:
        return reader.blocks(kinds, can_pack) or reader.dense(*kinds)

    return StoredLayer(
        input_norm=reader.norm("input_layernorm"),
        qkv=matrix(*_QKV),
        qkv_bias=reader.biases(),
        query_norm=reader.head_norm("q"),
        key_norm=reader.head_norm("k"),
        out=matrix(_OUT),
        post_norm=reader.norm("post_attention_layernorm"),
        gate_up=matrix(*_GATE_UP),
        down=matrix(_DOWN),
    )


_QUERIES, _KEYS = "self_attn.q_proj", "self_attn.k_proj"
_QKV = (_QUERIES, _KEYS, "self_attn.v_proj")
_OUT, _DOWN = "self_attn.o_proj", "mlp.down_proj"
_GATE_UP = ("mlp.gate_proj", "mlp.up_proj")


class _Reader:
    """Reads the tensors of one layer."""

    def __init__(self, tensors: StoredTensors, number: int, sizes: DecoderSizes) -> None:
        self._tensors, self._name, self._sizes = tensors, f"model.layers.{number}", sizes
        # Hugging Face turns dimension i with i + D/2; side by side they are one complex number.
        self._order = torch.arange(sizes.head_dim).view(2, -1).T.flatten()

    def norm(self, kind: str) -> Tensor:
        """Read a norm's weight."""
        return self._tensors.take(f"{self._name}.{kind}.weight")

    def head_norm(self, kind: str) -> Tensor | None:
        """Read the norm of queries or keys, if the model has such norms."""
        return self._pair_up(self.norm(f"self_attn.{kind}_norm")) if self._sizes.has_head_norms else None

    def biases(self) -> Tensor | None:
        """Read the biases of queries, keys and values, if there are any."""
        if not self._sizes.has_biases:
            return None
        return torch.cat([self._in_pairs(kind, self._tensors.take(f"{self._name}.{kind}.bias")) for kind in _QKV])

    def dense(self, *kinds: str) -> Tensor:
        """Read matrices and put one below the other."""
        parts = [self._in_pairs(kind, self._tensors.take(f"{self._name}.{kind}.weight")) for kind in kinds]
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def blocks(self, kinds: Sequence[str], can_pack: CanPack) -> tuple[BlockRows, ...]:
        """Read matrices as blocks; return none if a part is no blocks, or the kernels can't multiply with them."""
        parts = []
        for kind in kinds:
            part = self._tensors.blocks(f"{self._name}.{kind}.weight")
            if part is None:
                return ()
            rows = self._in_pairs(kind, torch.from_numpy(part.rows)).numpy()
            parts.append(replace(part, rows=rows))
        return tuple(parts) if can_pack(parts) else ()

    def _in_pairs(self, kind: str, rows: Tensor) -> Tensor:
        return self._pair_up(rows) if kind in (_QUERIES, _KEYS) else rows

    def _pair_up(self, rows: Tensor) -> Tensor:
        paired: Tensor = rows.unflatten(0, (-1, len(self._order)))[:, self._order.to(rows.device)]
        return paired.flatten(0, 1).contiguous()
