"""Our forward pass of the Llama family on a GPU: every pass is of one of a few widths, recorded once and replayed.

A replay costs the host one launch; where its rows stand, in which session's cache and how long that is are read from
device memory. Steps run at one width, prompts are read in absolute chunks, and a draft model's greedy tokens follow
one another on the device. Dimension letters: T rows, V vocabulary, C width of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from decoding.kv_cache import Blocks, KVCache
from decoding.models.cuda.operations import NUM_REAL, STEP_SPLITS, TOKENS, Operations, Spot, whole
from decoding.models.cuda.recording import Again, Recorder, Replay
from decoding.models.language_model import Capabilities, padded
from decoding.models.torch.decoder import Decoder, Shape, Weights, new_cache
from decoding.models.torch.row_placement import MAX_CHAINS, Tails
from decoding.models.torch.stage import Rows, Wanted

CHUNK = 256
SHORT_CHUNK = 64  # of models that hold less than four of the others
FEW = (1, 4, 16)  # rows of a draft's first pass: what was pending, two of its own or what others proposed
MOST_AHEAD = 32
HEAD_ROWS = 64  # the head is padded to so many: matrix libraries are slow where rows of logits begin anywhere


@dataclass(slots=True)
class _Pass:
    """A recorded pass. `logits` (T or 1, V) and `hidden` (T, C), before the last norm, are those of its last replay.

    `entry` (T, C) is where the states behind the layers before are put, None where the first layer is its own.
    """

    spot: Spot
    entry: Tensor | None = None
    replay: Replay | None = None
    logits: Tensor | None = None
    hidden: Tensor | None = None


class CudaDecoder:
    """A model that computes `step_width` rows at a time, or chunks, into a cache."""

    def __init__(
        self, shape: Shape, weights: Weights, operations: Operations, recorder: Recorder, *, chunk: int = 0
    ) -> None:
        """`chunk` 0 is as long as the model's length allows for."""
        self.shape = shape
        self.chunk = self.prefill_width = chunk or (CHUNK if shape.max_len >= 4 * CHUNK else SHORT_CHUNK)
        self.has_own_threads = False
        self.num_parameters = weights.num_parameters
        matrices = (*(matrix for layer in weights.layers for matrix in _matrices(layer)), weights.head)
        self.num_read_bytes = sum(m.nbytes if isinstance(m, Tensor) else m.num_bytes for m in matrices)
        self._weights = _padded(weights)
        self._rotary = weights.rotary
        self.operations, self._recorder = operations, recorder
        self._passes: dict[tuple[int, Wanted], _Pass] = {}
        self._chain_passes: dict[tuple[int, Wanted], _Pass] = {}
        self._tails: Tails | None = None
        self._chained: KVCache[Blocks] | None = None
        self._hidden: Tensor | None = None
        self._ahead = _Ahead(self) if shape.max_len > MOST_AHEAD else None
        # All steps run at the width that the row-invariance probe finds, padded where there are fewer rows.
        self.capabilities = Capabilities(
            max_chains=MAX_CHAINS, drafts_ahead=self._ahead is not None, skips_layers=shape.layers > 1
        )
        self._on_device: AbstractContextManager[object] = (
            torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext()
        )

    @property
    def num_layers(self) -> int:
        """Of the model, or of its stretch of one."""
        return self.shape.layers

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self._weights.embedding.device

    @property
    def dtype(self) -> torch.dtype:
        """What the weights are stored in."""
        return self._weights.embedding.dtype

    def new_cache(self) -> KVCache[Blocks]:
        """An empty cache for one sequence."""
        return new_cache(self.shape, self.dtype, self.device)

    def step(self, token_ids: Sequence[int], cache: KVCache[Blocks]) -> Tensor:
        """Logits (T, V) after each of 1 to `step_width` tokens that follow the cache's end; commits nothing.

        They are valid until the next call.
        """
        num_rows = len(token_ids)
        done = self._run(self.capabilities.step_width, Wanted.ALL, token_ids, cache)
        assert done.logits is not None
        assert done.hidden is not None
        self._hidden = done.hidden[:num_rows]
        return done.logits[:num_rows]

    def step_chains(self, chains: Sequence[Sequence[int]], cache: KVCache[Blocks]) -> list[Tensor]:
        """Logits (T, V) of each of 1 to `max_chains` chains, as `step` gives them; `step_width` rows in all."""
        lengths = [len(chain) for chain in chains]
        assert len(chains) <= self.capabilities.max_chains
        self._tails = self._tails or Tails(cache.store)
        token_ids = [token_id for chain in chains for token_id in chain]
        width = self.capabilities.step_width
        done = self._run(width, Wanted.ALL, token_ids, cache, self._chain_passes, lengths=lengths)
        assert done.logits is not None
        assert done.hidden is not None
        self._chained = cache
        self._hidden = done.hidden[: len(token_ids)]
        return list(done.logits[: len(token_ids)].split(lengths))

    @torch.inference_mode()
    def keep_chain(self, number: int, num_tokens: int) -> None:
        """Write the slots of the first tokens of a chain of the last `step_chains` into its cache; commits nothing."""
        assert self._tails is not None
        assert self._chained is not None
        cache, self._chained = self._chained, None
        self._tails.keep(number, num_tokens, cache.store, len(cache))

    def prefill(self, token_ids: Sequence[int], cache: KVCache[Blocks]) -> None:
        """Compute one whole absolute chunk and commit it."""
        assert len(token_ids) == self.chunk and len(cache) % self.chunk == 0  # noqa: PT018 - one condition
        self._run(self.chunk, Wanted.NOTHING, token_ids, cache)
        cache.commit(token_ids, by_chunk=True)

    def advance(self, token_ids: Sequence[int], cache: KVCache[Blocks]) -> Tensor:
        """Compute and commit 1 to `prefill_width` tokens; logits (V,) after the last. For drafts."""
        done = self._run(self._width_for(len(token_ids)), Wanted.LAST, token_ids, cache)
        cache.commit(token_ids)
        assert done.logits is not None
        return done.logits[0]

    @property
    def hidden_width(self) -> int:
        """C of `hidden`."""
        return self.shape.width

    def hidden(self) -> Tensor | None:
        """(T, C) of the last step's rows, before the last norm, valid until the next call."""
        return self._hidden

    def run_stage(self, token_ids: Sequence[int], entry: Tensor | None, cache: KVCache[Blocks], wanted: Wanted) -> Rows:
        """See `stages.Stage`."""
        width = self._width_for(len(token_ids)) if wanted is Wanted.LAST else len(token_ids)
        done = self._run(width, wanted, token_ids, cache, entry=entry)
        assert done.hidden is not None
        return Rows(done.hidden, done.logits)

    def draft_ahead(
        self, token_ids: Sequence[int], cache: KVCache[Blocks], num_tokens: int, least_share: float = 0.0
    ) -> list[tuple[int, float]]:
        """Greedy tokens that follow, each with its probability; see `language_model.DraftsAhead`."""
        del least_share  # to look at each token would take longer than to draft it
        assert self._ahead is not None
        found = self._ahead.draft(token_ids, cache, min(num_tokens, MOST_AHEAD))
        cache.commit([*token_ids, *(token_id for token_id, _ in found[:-1])])
        return found

    def with_layers(self, kept: Sequence[int], *, is_trial: bool = False) -> CudaDecoder:
        """The same without the other layers; the weights are shared. What is only tried is not recorded."""
        layers = [self._weights.layers[index] for index in kept]
        return self._sharing(replace(self._weights, layers=layers), Again() if is_trial else self._recorder)

    def unrecorded(self) -> CudaDecoder:
        """The same, computed anew each time: to compare with."""
        return self._sharing(self._weights, Again())

    def plain(self) -> Decoder:
        """The same by torch's own operations: to compare with."""
        head = self._weights.head
        cut = head[: self.shape.vocabulary] if isinstance(head, Tensor) else head
        return Decoder(self.shape, replace(self._weights, head=cut))

    def _sharing(self, weights: Weights, recorder: Recorder) -> CudaDecoder:
        shape = replace(self.shape, layers=len(weights.layers))
        made = CudaDecoder(shape, weights, self.operations, recorder, chunk=self.chunk)
        found = self.capabilities
        made.capabilities = replace(made.capabilities, step_width=found.step_width, max_chains=found.max_chains)
        return made

    def _width_for(self, num_rows: int) -> int:
        return next(width for width in (*FEW, self.prefill_width) if width >= num_rows)

    @torch.inference_mode()
    def _run(
        self,
        width: int,
        wanted: Wanted,
        token_ids: Sequence[int],
        cache: KVCache[Blocks],
        passes: dict[tuple[int, Wanted], _Pass] | None = None,
        then: Callable[[_Pass], None] = lambda done: None,
        *,
        entry: Tensor | None = None,
        lengths: Sequence[int] = (),
    ) -> _Pass:
        """Replay the pass of this width, recorded when it is first asked for; `then` is recorded behind it.

        `entry` are the states behind the layers before, and `lengths` those of chains.
        """
        passes = self._passes if passes is None else passes
        found = passes.get((width, wanted))
        if found is None:
            words = torch.zeros(TOKENS + width * (3 if lengths else 1), dtype=torch.int64, device=self.device)
            spot = Spot(words, tails=self._tails if lengths else None)
            found = _Pass(spot, None if entry is None else torch.empty_like(entry, device=self.device))
            passes[width, wanted] = found
        fill(found.spot, token_ids, cache, lengths)
        try:
            with self._on_device:
                if entry is not None and found.entry is not None:
                    found.entry.copy_(entry)
                self._replay(found, wanted, then)
        except BaseException:
            del passes[width, wanted]
            raise
        finally:
            found.spot.store = None  # a session that is given up is to be freed
        return found

    def _replay(self, found: _Pass, wanted: Wanted, then: Callable[[_Pass], None]) -> None:
        if found.replay is None:

            def compute() -> None:
                self._compute(found, wanted)
                then(found)

            found.replay = self._recorder.record(compute)
        found.replay()

    def _compute(self, into: _Pass, wanted: Wanted) -> None:
        """Write the rows' keys and values, and what is wanted into `into`."""
        spot, operations, shape, weights = into.spot, self.operations, self.shape, self._weights
        splits = STEP_SPLITS if spot.num_rows < self.prefill_width else whole(spot.blocks.capacity)
        # A copy, because layers add to it in place and what is recorded is run several times.
        hidden = F.embedding(spot.tokens, weights.embedding) if into.entry is None else into.entry.clone()
        delta: Tensor | None = None
        for index, layer in enumerate(weights.layers):
            normed = operations.add_norm(hidden, delta, layer.input_norm, shape.norm_eps)
            qkv = F.linear(normed, layer.qkv, layer.qkv_bias)
            query = operations.rotate_and_write(qkv, shape, layer, index, spot, self._rotary)
            mixed = operations.attend(query, shape, index, spot, splits)
            normed = operations.add_norm(hidden, F.linear(mixed, layer.out), layer.post_norm, shape.norm_eps)
            delta = F.linear(operations.gate(F.linear(normed, layer.gate_up)), layer.down)
        if not weights.head.numel():  # other layers follow on another device
            into.hidden = hidden if delta is None else hidden.add_(delta)
            return
        into.hidden = hidden
        if wanted is Wanted.NOTHING:
            return
        if wanted is Wanted.LAST:
            last = spot.words[NUM_REAL : NUM_REAL + 1] - 1
            hidden, delta = hidden.index_select(0, last), None if delta is None else delta.index_select(0, last)
        normed = operations.add_norm(hidden, delta, weights.norm, shape.norm_eps)
        into.hidden = hidden
        into.logits = F.linear(normed, weights.head)[:, : shape.vocabulary]


class _Ahead:
    """A draft model's greedy loop: each token is chosen and fed back on the device, and all are fetched at once."""

    def __init__(self, model: CudaDecoder) -> None:
        self._model = model
        self._first: dict[tuple[int, Wanted], _Pass] = {}
        self._next = _Pass(Spot(torch.zeros(TOKENS + 1, dtype=torch.int64, device=model.device)))
        self._count = torch.zeros(1, dtype=torch.int64, device=model.device)
        self._found = torch.zeros(MOST_AHEAD, 2, dtype=torch.float64, device=model.device)

    @torch.inference_mode()
    def draft(self, token_ids: Sequence[int], cache: KVCache[Blocks], num_tokens: int) -> list[tuple[int, float]]:
        """Tokens and their probabilities; writes slots and commits nothing."""
        model, following = self._model, self._next
        following.spot.store = cache.store
        try:
            if following.replay is None and num_tokens > 1:
                fill(following.spot, [0], cache)
                with model._on_device:
                    following.replay = model._recorder.record(self._compute_next)
            width = model._width_for(len(token_ids))
            model._run(width, Wanted.LAST, token_ids, cache, self._first, self._begin)
            for _ in range(num_tokens - 1):
                assert following.replay is not None
                with model._on_device:
                    following.replay()
        finally:
            following.spot.store = None
        return [(int(token_id), share) for token_id, share in self._found[:num_tokens].tolist()]

    def _begin(self, done: _Pass) -> None:
        """Behind the first pass: the next one stands where its last real row's successor does."""
        words, following = done.spot.words, self._next.spot.words
        following[:TOKENS].copy_(words[:TOKENS])
        following[:1] += words[NUM_REAL : NUM_REAL + 1]
        following[NUM_REAL : NUM_REAL + 1].fill_(1)
        self._count.zero_()
        self._choose(done)

    def _compute_next(self) -> None:
        self._model._compute(self._next, Wanted.LAST)
        self._next.spot.words[:1] += 1
        self._choose(self._next)

    def _choose(self, done: _Pass) -> None:
        assert done.logits is not None
        logits = done.logits.float()
        best = logits.argmax(dim=-1)
        share = (logits.amax(dim=-1) - logits.logsumexp(dim=-1)).exp()
        self._next.spot.words[TOKENS:].copy_(best)
        self._found.index_copy_(0, self._count, torch.stack((best.double(), share.double()), dim=1))
        self._count += 1


def fill(spot: Spot, token_ids: Sequence[int], cache: KVCache[Blocks], lengths: Sequence[int] = ()) -> None:
    """Say where a pass's rows stand, by one small copy; what is missing to its width is padding.

    `lengths` are those of chains, whose tokens stand one chain behind the other.
    """
    store, width = cache.store, spot.num_rows
    start, num_real = len(cache), len(token_ids)
    # The kernels look nowhere: what is out of bounds here would be read from somebody else's memory.
    longest = max(lengths, default=num_real)
    if start + longest > store.capacity:
        raise IndexError(f"slots {start} to {start + longest} of {store.capacity}")
    words = [start, num_real, store.keys.data_ptr(), store.values.data_ptr(), *padded(token_ids, width)]
    if lengths:
        words += padded([i for length in lengths for i in range(length)], width)
        words += padded([number for number, length in enumerate(lengths) for _ in range(length)], width)
    # Not pinned: the driver takes a copy of so little at once, so that the next pass may be filled before this one ran.
    spot.words.copy_(torch.tensor(words), non_blocking=True)
    spot.store = store


def _matrices(layer: object) -> list[Tensor]:
    return [getattr(layer, name) for name in ("qkv", "out", "gate_up", "down")]


def _padded(weights: Weights) -> Weights:
    """The head with whole tiles of rows; where it is tied, it is the embedding, too."""
    head, missing = weights.head, -weights.head.shape[0] % HEAD_ROWS if isinstance(weights.head, Tensor) else 0
    if not missing:
        return weights
    padded = F.pad(head, (0, 0, 0, missing))
    return replace(weights, head=padded, embedding=padded if weights.is_tied else weights.embedding)
