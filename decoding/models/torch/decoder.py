"""Computes our forward pass of the Llama family: Llama, Qwen2, Qwen3, Mistral and their kin.

Fused projections, one rotary multiplication for queries and keys, attention over the live part of the cache.

Dimension letters: T rows, V vocabulary, L layers, N query heads, H key heads, D head size, C width of the model.

Llama: Touvron et al. 2023 (https://arxiv.org/abs/2302.13971); rotary embedding: Su et al. 2021
(https://arxiv.org/abs/2104.09864); grouped queries: Ainslie et al. 2023 (https://arxiv.org/abs/2305.13245).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from decoding.kv_cache import BLOCK, Blocks, KVCache
from decoding.models.language_model import Capabilities, padded
from decoding.models.torch.row_placement import MAX_CHAINS, CacheEnd, Chains, RowPlacement, Tails
from decoding.models.torch.stage import Outputs, Rows

CHUNK = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The sizes of a model. `max_len` is the longest sequence it may hold, prompt and answer together."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    max_len: int
    norm_eps: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """The weights of one layer. Rows of `qkv` are queries, keys, values; of `gate_up` the gate, then the up half.

    Rows of queries and keys are permuted so that the two halves of a rotary pair stand side by side.
    """

    input_norm: Tensor  # (C,)
    qkv: Tensor  # ((N + 2H) D, C)
    qkv_bias: Tensor | None  # ((N + 2H) D,)
    query_norm: Tensor | None  # (D,)
    key_norm: Tensor | None  # (D,)
    out: Tensor  # (C, N D)
    post_norm: Tensor  # (C,)
    gate_up: Tensor  # (2F, C)
    down: Tensor  # (C, F)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """All weights. Embedding and head may be one tensor; padding ids of the vocabulary are cut off the head."""

    embedding: Tensor  # (V, C)
    layers: Sequence[Layer]
    norm: Tensor  # (C,)
    head: Tensor  # (V, C)
    rotary: Tensor  # (max_len + 128, 1, D / 2) complex

    @property
    def is_tied(self) -> bool:
        """Whether embedding and head are one tensor."""
        return self.head.data_ptr() == self.embedding.data_ptr()

    @property
    def num_parameters(self) -> int:
        """The number of weights; tied ones count once."""
        layers = [getattr(layer, name) for layer in self.layers for name in Layer.__slots__]
        every = [self.embedding, self.norm, *layers, *([] if self.is_tied else [self.head])]
        return sum(weight.numel() for weight in every if weight is not None)


def new_cache(shape: Shape, dtype: torch.dtype, device: torch.device) -> KVCache[Blocks]:
    """Make an empty cache for one sequence of a model of this shape."""
    store = Blocks(
        layers=shape.layers,
        kv_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        capacity=shape.max_len + BLOCK,
        dtype=dtype,
        device=device,
    )
    return KVCache(store, capacity=store.capacity)


class Decoder:
    """A model that computes rows of hidden states into a cache; `step_width` rows at a time, or chunks of 64."""

    def __init__(self, shape: Shape, weights: Weights) -> None:
        self.shape = shape
        self.chunk = self.prefill_width = CHUNK
        self.has_own_threads = False
        # All steps run at the width that the row-invariance probe finds; fewer rows are padded to it.
        self.capabilities = Capabilities(max_chains=MAX_CHAINS, skips_layers=shape.layers > 1)
        self._weights = weights
        self._hidden: Tensor | None = None
        self._tails: Tails | None = None
        self._chains: Chains | None = None

    def with_layers(self, kept: Sequence[int], *, is_trial: bool = False) -> Decoder:
        """Return the model with the kept layers only; the weights are shared."""
        del is_trial  # this model prepares nothing for speed in any case
        layers = [self._weights.layers[i] for i in kept]
        return Decoder(replace(self.shape, layers=len(layers)), replace(self._weights, layers=layers))

    @property
    def num_layers(self) -> int:
        """The number of layers of the model, or of its stretch of one."""
        return self.shape.layers

    @property
    def device(self) -> torch.device:
        """The device that the weights are on."""
        return self._weights.embedding.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the stored weights."""
        return self._weights.embedding.dtype

    @property
    def num_parameters(self) -> int:
        """The number of weights; a tied head counts once."""
        return self._weights.num_parameters

    def new_cache(self) -> KVCache[Blocks]:
        """Make an empty cache for one sequence; a CPU keeps it in float32, where small products are fastest."""
        return new_cache(self.shape, torch.float32 if self.device.type == "cpu" else self.dtype, self.device)

    @torch.inference_mode()
    def step(self, token_ids: Sequence[int], cache: KVCache[Blocks]) -> Tensor:
        """Return logits (T, V) after each of 1 to `step_width` tokens that follow the cache's end; commit nothing."""
        hidden = self.forward(padded(token_ids, self.capabilities.step_width), cache)
        self._hidden = hidden[: len(token_ids)]
        return self.logits(hidden)[: len(token_ids)]

    @torch.inference_mode()
    def step_chains(self, chains: Sequence[Sequence[int]], cache: KVCache[Blocks]) -> list[Tensor]:
        """Return logits (T, V) of each of 1 to `max_chains` chains, as `step` gives them; `step_width` rows in all."""
        self._tails = self._tails or Tails(cache.store)
        width = self.capabilities.step_width
        place = self._chains = Chains(chains, cache, self._tails, width=width, heads=self.shape.heads)
        hidden = self._forward(place.token_ids, place)
        lengths = [len(chain) for chain in chains]
        self._hidden = hidden[: sum(lengths)]
        return list(self.logits(hidden)[: sum(lengths)].split(lengths))

    @torch.inference_mode()
    def keep_chain(self, number: int, num_tokens: int) -> None:
        """Write the slots of a chain's first tokens, from the last `step_chains`, into its cache; commit nothing."""
        assert self._chains is not None
        self._chains.keep(number, num_tokens)

    @torch.inference_mode()
    def prefill(self, token_ids: Sequence[int], cache: KVCache[Blocks]) -> None:
        """Compute one whole absolute chunk and commit it."""
        assert len(token_ids) == self.chunk and len(cache) % self.chunk == 0  # noqa: PT018 - one condition
        self.forward(token_ids, cache)
        cache.commit(token_ids, by_chunk=True)

    @torch.inference_mode()
    def advance(self, token_ids: Sequence[int], cache: KVCache[Blocks]) -> Tensor:
        """Compute and commit 1 to `chunk` tokens; return logits (V,) after the last.

        Rows are not padded: for drafts.
        """
        hidden = self.forward(token_ids, cache)
        cache.commit(token_ids)
        return self.logits(hidden[-1:])[0]

    @property
    def hidden_width(self) -> int:
        """The width C of `hidden`."""
        return self.shape.width

    def hidden(self) -> Tensor | None:
        """Return hidden states (T, C) of the last step's rows, before the last norm, valid until the next call."""
        return self._hidden

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        """Return logits (T, V) from the last layer's hidden states (T, C)."""
        return F.linear(self._rms_norm(hidden, self._weights.norm), self._weights.head)

    @torch.inference_mode()
    def forward(self, token_ids: Sequence[int], cache: KVCache[Blocks]) -> Tensor:
        """Return the last hidden states (T, C) of tokens at the cache's end; write their slots and commit nothing."""
        return self._forward(token_ids, CacheEnd(cache, len(token_ids), self.shape.heads))

    def _forward(self, token_ids: Sequence[int], place: RowPlacement) -> Tensor:
        return self._through(self._embed(token_ids), place)

    @torch.inference_mode()
    def run_stage(
        self, token_ids: Sequence[int], entry: Tensor | None, cache: KVCache[Blocks], wanted: Outputs
    ) -> Rows:
        """Compute this stretch of a pipeline's layers; see `Stage.run_stage`."""
        hidden = self._embed(token_ids) if entry is None else entry.to(self.device)
        hidden = self._through(hidden, CacheEnd(cache, len(hidden), self.shape.heads))
        if wanted is Outputs.NOTHING or not self._weights.head.numel():
            return Rows(hidden, None)
        return Rows(hidden, self.logits(hidden if wanted is Outputs.ALL else hidden[-1:]))

    def _embed(self, token_ids: Sequence[int]) -> Tensor:
        """Return hidden states (T, C) before the first layer."""
        return self._weights.embedding[torch.tensor(token_ids, device=self.device)]

    def _through(self, hidden: Tensor, place: RowPlacement) -> Tensor:
        rotary = self._weights.rotary[place.positions]
        for index, layer in enumerate(self._weights.layers):
            query, key, value = self._project(self._rms_norm(hidden, layer.input_norm), layer, rotary)
            mixed = place.attend_and_store(index, query, key, value).to(hidden.dtype)
            hidden = hidden + F.linear(mixed, layer.out)
            gate, up = F.linear(self._rms_norm(hidden, layer.post_norm), layer.gate_up).chunk(2, dim=-1)
            hidden = hidden + F.linear(F.silu(gate) * up, layer.down)
        return hidden

    def _project(self, normed: Tensor, layer: Layer, rotary: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries (T, N, D), keys and values (T, H, D)."""
        heads, kv_heads, head_dim = self.shape.heads, self.shape.kv_heads, self.shape.head_dim
        qkv = F.linear(normed, layer.qkv, layer.qkv_bias).view(len(normed), heads + 2 * kv_heads, head_dim)
        query, key, value = qkv.split((heads, kv_heads, kv_heads), dim=1)
        if layer.query_norm is not None and layer.key_norm is not None:
            query = self._rms_norm(query, layer.query_norm)
            key = self._rms_norm(key, layer.key_norm)
            rotated = _rotate(torch.cat((query, key), dim=1), rotary)
        else:
            rotated = _rotate(qkv[:, : heads + kv_heads], rotary)
        return rotated[:, :heads], rotated[:, heads:], value

    def _rms_norm(self, hidden: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(hidden, weight.shape, weight, self.shape.norm_eps)


def _rotate(heads: Tensor, rotary: Tensor) -> Tensor:
    """Rotate (T, heads, D) pairs by their position's angles; float32."""
    pairs = torch.view_as_complex(heads.float().unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * rotary).flatten(-2)


def rotary_table(num_positions: int, inverse_frequencies: Tensor) -> Tensor:
    """Return unit complex numbers (num_positions, 1, D / 2) for `inverse_frequencies` (D / 2,), computed in float64."""
    angles = torch.outer(torch.arange(num_positions, dtype=torch.float64), inverse_frequencies.double())
    return torch.polar(torch.ones_like(angles), angles).to(torch.complex64).unsqueeze(1)
