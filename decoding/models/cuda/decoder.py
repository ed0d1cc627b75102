"""Runs our forward pass of the Llama family on a GPU: every pass has one of a few widths, recorded once and replayed.

A replay costs the host one launch; the places of its rows, the session's cache and its length are read from device
memory. Steps run at one width, prompts are read in absolute chunks, and a draft model's greedy tokens follow one
another on the device. Dimension letters: T rows, V vocabulary, C width of the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from decoding.kv_cache import Blocks, KVCache
from decoding.models.cuda.greedy_draft import MOST_AHEAD, GreedyDraft
from decoding.models.cuda.operations import Operations
from decoding.models.cuda.passes import PassRunner, Recorded
from decoding.models.cuda.recording import Eager, Recorder
from decoding.models.language_model import Capabilities
from decoding.models.torch.decoder import Decoder, Shape, Weights, new_cache
from decoding.models.torch.row_placement import MAX_CHAINS, Tails
from decoding.models.torch.stage import Outputs, Rows

CHUNK = 256
SHORT_CHUNK = 64  # chosen: for models that hold less than four chunks of the usual length
HEAD_ROWS = 64  # the head's rows are padded to a multiple: matrix libraries are slow with unaligned rows of logits


class CudaDecoder:
    """A model that computes `step_width` rows at a time, or chunks, into a cache."""

    def __init__(
        self, shape: Shape, weights: Weights, operations: Operations, recorder: Recorder, *, chunk: int = 0
    ) -> None:
        """`chunk` 0 means as long as the model's length allows."""
        self.shape = shape
        self.chunk = self.prefill_width = chunk or (CHUNK if shape.max_len >= 4 * CHUNK else SHORT_CHUNK)
        self.has_own_threads = False
        self.num_parameters = weights.num_parameters
        matrices = (*(matrix for layer in weights.layers for matrix in _matrices(layer)), weights.head)
        self.num_read_bytes = sum(m.nbytes if isinstance(m, Tensor) else m.num_bytes for m in matrices)
        self._weights = _padded(weights)
        self.operations, self._recorder = operations, recorder
        self._runner = PassRunner(shape, self._weights, operations, recorder, prefill_width=self.prefill_width)
        self._passes: Recorded = {}
        self._chain_passes: Recorded = {}
        self._tails: Tails | None = None
        self._chained: KVCache[Blocks] | None = None
        self._hidden: Tensor | None = None
        self._ahead = GreedyDraft(self._runner) if shape.max_len > MOST_AHEAD else None
        # All steps run at the width that the row-invariance probe finds; fewer rows are padded to it.
        self.capabilities = Capabilities(
            max_chains=MAX_CHAINS, drafts_ahead=self._ahead is not None, skips_layers=shape.layers > 1
        )

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

    def new_cache(self) -> KVCache[Blocks]:
        """Make an empty cache for one sequence."""
        return new_cache(self.shape, self.dtype, self.device)

    def step(self, token_ids: Sequence[int], cache: KVCache[Blocks]) -> Tensor:
        """Return logits (T, V) after each of 1 to `step_width` tokens that follow the cache's end; commit nothing.

        They are valid until the next call.
        """
        num_rows = len(token_ids)
        done = self._runner.run(self.capabilities.step_width, Outputs.ALL, token_ids, cache, self._passes)
        assert done.logits is not None
        assert done.hidden is not None
        self._hidden = done.hidden[:num_rows]
        return done.logits[:num_rows]

    def step_chains(self, chains: Sequence[Sequence[int]], cache: KVCache[Blocks]) -> list[Tensor]:
        """Return logits (T, V) of each of 1 to `max_chains` chains, as `step` gives them; `step_width` rows in all."""
        lengths = [len(chain) for chain in chains]
        assert len(chains) <= self.capabilities.max_chains
        self._tails = self._tails or Tails(cache.store)
        token_ids = [token_id for chain in chains for token_id in chain]
        width = self.capabilities.step_width
        chained = self._chain_passes
        done = self._runner.run(width, Outputs.ALL, token_ids, cache, chained, tails=self._tails, lengths=lengths)
        assert done.logits is not None
        assert done.hidden is not None
        self._chained = cache
        self._hidden = done.hidden[: len(token_ids)]
        return list(done.logits[: len(token_ids)].split(lengths))

    @torch.inference_mode()
    def keep_chain(self, number: int, num_tokens: int) -> None:
        """Write the slots of a chain's first tokens, from the last `step_chains`, into its cache; commit nothing."""
        assert self._tails is not None
        assert self._chained is not None
        cache, self._chained = self._chained, None
        self._tails.keep(number, num_tokens, cache.store, len(cache))

    def prefill(self, token_ids: Sequence[int], cache: KVCache[Blocks]) -> None:
        """Compute one whole absolute chunk and commit it."""
        assert len(token_ids) == self.chunk and len(cache) % self.chunk == 0  # noqa: PT018 - one condition
        self._runner.run(self.chunk, Outputs.NOTHING, token_ids, cache, self._passes)
        cache.commit(token_ids, by_chunk=True)

    def advance(self, token_ids: Sequence[int], cache: KVCache[Blocks]) -> Tensor:
        """Compute and commit 1 to `prefill_width` tokens; return logits (V,) after the last. For drafts."""
        width = self._runner.width_for(len(token_ids))
        done = self._runner.run(width, Outputs.LAST, token_ids, cache, self._passes)
        cache.commit(token_ids)
        assert done.logits is not None
        return done.logits[0]

    @property
    def hidden_width(self) -> int:
        """The width C of `hidden`."""
        return self.shape.width

    def hidden(self) -> Tensor | None:
        """Return hidden states (T, C) of the last step's rows, before the last norm, valid until the next call."""
        return self._hidden

    def run_stage(
        self, token_ids: Sequence[int], entry: Tensor | None, cache: KVCache[Blocks], wanted: Outputs
    ) -> Rows:
        """Compute this stretch of a pipeline's layers; see `Stage.run_stage`."""
        width = self._runner.width_for(len(token_ids)) if wanted is Outputs.LAST else len(token_ids)
        done = self._runner.run(width, wanted, token_ids, cache, self._passes, entry=entry)
        assert done.hidden is not None
        return Rows(done.hidden, done.logits)

    def draft_ahead(
        self,
        token_ids: Sequence[int],
        cache: KVCache[Blocks],
        num_tokens: int,
        least_share: float = 0.0,
        text_ids: Sequence[int] = (),
    ) -> list[tuple[int, float]]:
        """Return greedy tokens that follow, each with its probability; see `language_model.DraftsAhead`."""
        # Fetching each token to compare it would take longer than to draft it, and so would copying rows of the head.
        del least_share, text_ids
        assert self._ahead is not None
        found = self._ahead.draft(token_ids, cache, min(num_tokens, MOST_AHEAD))
        cache.commit([*token_ids, *(token_id for token_id, _ in found[:-1])])
        return found

    def with_layers(self, kept: Sequence[int], *, is_trial: bool = False) -> CudaDecoder:
        """Return the model with the kept layers only; the weights are shared. With `is_trial` it is not recorded."""
        layers = [self._weights.layers[index] for index in kept]
        return self._sharing(replace(self._weights, layers=layers), Eager() if is_trial else self._recorder)

    def unrecorded(self) -> CudaDecoder:
        """Return this model without recordings, computed anew each time: to compare with."""
        return self._sharing(self._weights, Eager())

    def plain(self) -> Decoder:
        """Return this model computed by torch's own operations: to compare with."""
        head = self._weights.head
        cut = head[: self.shape.vocabulary] if isinstance(head, Tensor) else head
        return Decoder(self.shape, replace(self._weights, head=cut))

    def _sharing(self, weights: Weights, recorder: Recorder) -> CudaDecoder:
        shape = replace(self.shape, layers=len(weights.layers))
        made = CudaDecoder(shape, weights, self.operations, recorder, chunk=self.chunk)
        found = self.capabilities
        made.capabilities = replace(made.capabilities, step_width=found.step_width, max_chains=found.max_chains)
        return made


def _matrices(layer: object) -> list[Tensor]:
    return [getattr(layer, name) for name in ("qkv", "out", "gate_up", "down")]


def _padded(weights: Weights) -> Weights:
    """Pad the head to whole tiles of rows; where it is tied, it is the embedding, too."""
    head, missing = weights.head, -weights.head.shape[0] % HEAD_ROWS if isinstance(weights.head, Tensor) else 0
    if not missing:
        return weights
    padded = F.pad(head, (0, 0, 0, missing))
    return replace(weights, head=padded, embedding=padded if weights.is_tied else weights.embedding)
