"""Adapts any causal language model of transformers to the interface of our own forward pass.

Three ways, the first that gives the model's own logits is taken:

1. its attention is ours (`cache.py`): rows agree, the cache is rolled back, drafts are verified;
2. its own attention and cache, which only goes forward: one token a step, rebuilt where it would have to go back;
3. as 2, and the prompt is read token by token too, for models that can't go on from a state by several tokens.

So a family that nobody has tried here is slower, or refused, and never wrong. Code from a model's folder never runs.
"""

from __future__ import annotations

import inspect
import logging
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import get_layer_types_and_kwargs

from decoding.errors import ModelError
from decoding.kv_cache import BLOCK, KVCache
from decoding.models.language_model import Capabilities, padded
from decoding.models.transformers import cache as block_cache
from decoding.models.transformers.cache import BlockStore
from decoding.models.transformers.failures import in_words
from decoding.models.weights.tensors import is_finite

log = logging.getLogger(__name__)

CHUNK: Final = 64
# chosen: padding rows of a step may stand behind the last position; a table of learned positions must hold them.
MARGIN: Final = 16
NUM_CHECKED: Final = 8
ATTENDING: Final = {"full_attention", "sliding_attention", "chunked_attention", "dummy"}
EXPERTS: Final = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
# chosen: the allowed error, relative to the logits' size (median of the rows' norms). Rounding stays below it; a wrong
# mask or position doesn't.
TOLERANCE: Final = {torch.float32: 0.01, torch.float16: 0.05, torch.bfloat16: 0.15}


@dataclass(frozen=True, slots=True, kw_only=True)
class GenericShape:
    """The sizes of a model of transformers; see `language_model.Sizes`."""

    vocabulary: int
    max_len: int


class ForwardStore:
    """A cache of transformers without rollback, and how many tokens it has seen."""

    def __init__(self, config: Any) -> None:
        self._config = config
        self.reset()

    @property
    def num_bytes(self) -> int:
        """The memory in bytes that it takes by now."""
        held = [value for layer in self.cache.layers for value in vars(layer).values()]
        parts = [part for value in held for part in (value.values() if isinstance(value, dict) else [value])]
        return sum(part.numel() * part.element_size() for part in parts if isinstance(part, Tensor))

    def copy_blocks(self, other: Any, first: int, end: int) -> None:
        """Is never called: what can't roll back can't take over a beginning either."""
        raise NotImplementedError

    def reset(self) -> None:
        """Drop all tokens, so that the cache is as good as new."""
        self.cache = DynamicCache(config=self._config)
        self.num_seen = 0


Store = BlockStore | ForwardStore


class GenericModel:
    """A causal language model of transformers; `notice` says why it can't verify drafts, "" where it can."""

    def __init__(self, model: PreTrainedModel, *, vocabulary: int, max_len: int) -> None:
        """Take the first way that gives the model's own logits.

        Args:
            model: on its device, in its dtype; its attention is replaced where that works.
            vocabulary: how many ids the tokenizer has; logits behind them are padding.
            max_len: of prompt and answer together, bounded by the model's own.

        Raises:
            ModelError: no way gives the model's own logits.
        """
        self._model = model.eval()
        self._config = model.config.get_text_config(decoder=True)
        self.shape = GenericShape(
            vocabulary=min(vocabulary, self._config.vocab_size), max_len=min(max_len, _num_positions(self._config))
        )
        self.chunk = self.prefill_width = CHUNK
        self.has_own_threads = False
        self.capabilities = Capabilities()
        parameters = inspect.signature(model.forward).parameters
        self._cache_name = "cache_params" if "cache_params" in parameters else "past_key_values"
        self._keeps_logits = "logits_to_keep" in parameters
        self._by_token = False
        self.can_roll_back = True
        self.notice = ""
        self._choose_way()

    @property
    def device(self) -> torch.device:
        """The device that the weights are on."""
        return torch.device(self._model.device)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the stored weights."""
        dtype: torch.dtype = self._model.dtype
        return dtype

    @property
    def num_parameters(self) -> int:
        """The number of weights; tied ones count once."""
        return sum(parameter.numel() for parameter in self._model.parameters())

    def new_cache(self) -> KVCache[Store]:
        """Make an empty cache for one sequence."""
        capacity = -(-self.shape.max_len // BLOCK) * BLOCK + BLOCK
        if not self.can_roll_back:
            return KVCache(ForwardStore(self._config), capacity=capacity, can_roll_back=False)
        return KVCache(BlockStore(len(self._layer_types), capacity), capacity=capacity)

    @torch.inference_mode()
    def step(self, token_ids: Sequence[int], cache: KVCache[Store]) -> Tensor:
        """Return logits (T, V) after each of 1 to `step_width` tokens that follow the cache's end; commit nothing."""
        rows = padded(token_ids, self.capabilities.step_width)
        return self._forward(rows, cache, len(rows))[: len(token_ids)]

    @torch.inference_mode()
    def prefill(self, token_ids: Sequence[int], cache: KVCache[Store]) -> None:
        """Compute one whole absolute chunk and commit it."""
        assert len(token_ids) == self.chunk and len(cache) % self.chunk == 0  # noqa: PT018 - one condition
        self._forward(token_ids, cache, 1)
        cache.commit(token_ids, by_chunk=True)

    @torch.inference_mode()
    def advance(self, token_ids: Sequence[int], cache: KVCache[Store]) -> Tensor:
        """Compute and commit 1 to `chunk` tokens; return logits (V,) after the last."""
        logits = self._forward(token_ids, cache, 1)
        cache.commit(token_ids)
        return logits[0]

    @property
    def hidden_width(self) -> int:
        """Always 0: hidden states are not available."""
        return 0

    def hidden(self) -> None:
        """Return None, since families differ in what they report before the last norm."""

    def _forward(self, token_ids: Sequence[int], cache: KVCache[Store], num_logits: int) -> Tensor:
        """Return logits (num_logits, V) of the last of the tokens; write their slots and commit nothing."""
        store = cache.store
        if isinstance(store, BlockStore):
            store.seek(len(cache))
            return self._run(token_ids, store, num_logits)
        if store.num_seen != len(cache):
            self._rebuild(store, cache)
        return self._run_forward(token_ids, store, num_logits)

    def _rebuild(self, store: ForwardStore, cache: KVCache[Store]) -> None:
        """Compute again what the cache should hold, in the pieces in which it was computed first."""
        store.reset()
        for start in range(0, cache.num_chunked, self.chunk):
            self._run_forward(cache.token_ids[start : start + self.chunk], store, 1)
        for token_id in cache.token_ids[cache.num_chunked :]:
            self._run_forward([token_id], store, 1)

    def _run_forward(self, token_ids: Sequence[int], store: ForwardStore, num_logits: int) -> Tensor:
        pieces = [[token_id] for token_id in token_ids] if self._by_token else [token_ids]
        logits = torch.cat([self._run(piece, store, min(num_logits, len(piece))) for piece in pieces])
        store.num_seen += len(token_ids)
        return logits[-num_logits:]

    def _run(self, token_ids: Sequence[int], store: Store, num_logits: int) -> Tensor:
        keywords: dict[str, Any] = {self._cache_name: store.cache, "use_cache": True}
        if self._keeps_logits:
            keywords["logits_to_keep"] = num_logits
        ids = torch.tensor([list(token_ids)], device=self.device)
        logits: Tensor = self._model(input_ids=ids, **keywords).logits[0]
        return logits[-num_logits:, : self.shape.vocabulary]

    @torch.inference_mode()
    def _choose_way(self) -> None:
        rng = random.Random(0)  # noqa: S311 - any tokens will do
        kind = self._config.model_type
        if self.shape.max_len < self.chunk + NUM_CHECKED:
            raise ModelError(f"this {kind} model holds only {self.shape.max_len} tokens")
        token_ids = [rng.randrange(self.shape.vocabulary) for _ in range(self.chunk + NUM_CHECKED)]
        try:
            expected = self._model(input_ids=torch.tensor([token_ids], device=self.device), use_cache=False).logits[0]
        except Exception as error:
            raise ModelError(f"this {kind} model can't be computed: {in_words(error)}") from None
        expected = expected[-NUM_CHECKED:, : self.shape.vocabulary].float()
        if not is_finite(expected):
            raise ModelError(f"this {kind} model computes no finite numbers: its weights or its config.json are wrong")
        problem = self._try_blocks(token_ids, expected)
        if not problem:
            if any(getattr(self._config, name, 0) for name in EXPERTS):
                self.notice = f"{kind} models decode plainly, one token a step: rows that share an expert disagree"
            return
        self.can_roll_back = False
        self.notice = f"{kind} models decode plainly, one token a step, and reread the prompt at each change: {problem}"
        for self._by_token in (False, True):
            if problem := self._try_out(token_ids, expected):
                log.info("%s, %s: %s", kind, "by token" if self._by_token else "by chunk", problem)
            else:
                return
        raise ModelError(f"{kind} models can't be decoded token by token here ({problem})")

    def _try_blocks(self, token_ids: list[int], expected: Tensor) -> str:
        """Put our attention in. If it gives other logits, restore the old one and return why; else return ""."""
        self._layer_types = [str(kind) for kind in get_layer_types_and_kwargs(self._config)[0]]
        if self._cache_name != "past_key_values" or (others := sorted({*self._layer_types} - ATTENDING)):
            kinds = ", ".join(others) if self._cache_name == "past_key_values" else "recurrent"
            return f"their state can't be rolled back ({kinds.replace('_', ' ')})"
        usual = self._config._attn_implementation
        block_cache.register()
        try:
            self._model.set_attn_implementation(block_cache.NAME)
            num_before = block_cache.ATTENTION.num_calls
            problem = self._try_out(token_ids, expected)
            if block_cache.ATTENTION.num_calls == num_before:
                problem = problem or "the table of attention functions is not asked"
        except (ValueError, TypeError) as error:
            problem = in_words(error)
        if problem:
            log.info("%s: %s", self._config.model_type, problem)
            self._model.set_attn_implementation(usual)
            return "their attention can't be replaced by one whose rows agree"
        return ""

    def _try_out(self, token_ids: list[int], expected: Tensor) -> str:
        """Compare the last logits, one step each behind the prefill, with the expected (NUM_CHECKED, V)."""
        cache = self.new_cache()
        rows: list[Tensor] = []
        try:
            # In two pieces, because some recurrent models can't go on from a state by several tokens correctly.
            for start in range(0, self.chunk, self.chunk // 2):
                self.advance(token_ids[start : start + self.chunk // 2], cache)
            for token_id in token_ids[self.chunk :]:
                rows.append(self.step([token_id], cache)[0].float())
                cache.commit([token_id])
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            return in_words(error)
        errors = (torch.stack(rows) - expected).norm(dim=-1) / expected.norm(dim=-1)
        typical = float(errors.median())
        return "" if typical < TOLERANCE.get(self.dtype, 0.15) else f"logits differ by {typical:.3f} of their size"


def _num_positions(config: Any) -> int:
    """Return how long a sequence may be; where rotary angles change with the length, up to that change."""
    rope = getattr(config, "rope_parameters", None) or {}
    positions = getattr(config, "max_position_embeddings", None) or sys.maxsize
    if isinstance(rope, dict) and rope.get("rope_type") in ("dynamic", "longrope"):
        positions = min(positions, rope.get("original_max_position_embeddings") or positions)
    return int(positions) - MARGIN
