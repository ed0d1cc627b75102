"""Runs passes over a model's layers, each of one width, which are recorded at first use and then replayed.

The places of a replay's rows, the session's cache and its length are read from device memory.

Dimension letters: T rows, V vocabulary, C width of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from decoding.kv_cache import Blocks, KVCache
from decoding.models.cuda.operations import NUM_REAL, STEP_SPLITS, TOKENS, Operations, Spot, whole
from decoding.models.cuda.recording import Recorder, Replay
from decoding.models.language_model import padded
from decoding.models.torch.decoder import Shape, Weights
from decoding.models.torch.row_placement import Tails
from decoding.models.torch.stage import Outputs

FEW = (1, 4, 16)  # chosen: the widths of a draft's first pass, for one pending token or more


@dataclass(slots=True)
class Pass:
    """A recorded pass. `logits` (T or 1, V) and `hidden` (T, C), before the last norm, are those of its last replay.

    `entry` (T, C) is where the states behind the layers before are put, None where the first layer is its own.
    """

    spot: Spot
    entry: Tensor | None = None
    replay: Replay | None = None
    logits: Tensor | None = None
    hidden: Tensor | None = None


# Passes by their width and what they are for.
Recorded = dict[tuple[int, Outputs], Pass]


class PassRunner:
    """Computes passes of one model."""

    def __init__(
        self, shape: Shape, weights: Weights, operations: Operations, recorder: Recorder, *, prefill_width: int
    ) -> None:
        """`prefill_width` is the most rows of a pass."""
        self.device = weights.embedding.device
        self._shape, self._weights = shape, weights
        self._operations, self._recorder = operations, recorder
        self._prefill_width = prefill_width
        self._on_device: AbstractContextManager[object] = (
            torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext()
        )

    def width_for(self, num_rows: int) -> int:
        """Return the least width that is recorded for so many rows of a draft."""
        return next(width for width in (*FEW, self._prefill_width) if width >= num_rows)

    @torch.inference_mode()
    def run(
        self,
        width: int,
        wanted: Outputs,
        token_ids: Sequence[int],
        cache: KVCache[Blocks],
        passes: Recorded,
        then: Callable[[Pass], None] = lambda done: None,
        *,
        entry: Tensor | None = None,
        tails: Tails | None = None,
        lengths: Sequence[int] = (),
    ) -> Pass:
        """Replay a pass, recorded at first use.

        Args:
            width: its number of rows, those of padding included.
            wanted: what is computed of them.
            token_ids: those of the real rows.
            cache: whose end the rows stand at, or the chains begin at.
            passes: those that were recorded, to which a new one is added.
            then: recorded behind it.
            entry: the states behind the layers before.
            tails: memory for the keys and values of chains.
            lengths: those of the chains, none where there are no chains.
        """
        found = passes.get((width, wanted))
        if found is None:
            words = torch.zeros(TOKENS + width * (3 if lengths else 1), dtype=torch.int64, device=self.device)
            spot = Spot(words, tails=tails)
            found = Pass(spot, None if entry is None else torch.empty_like(entry, device=self.device))
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
            found.spot.store = None  # or a session that is given up would never be freed
        return found

    def record(self, compute: Callable[[], None]) -> Replay:
        """Record what is computed on the device, and return what repeats it there."""
        with self._on_device:
            replay = self._recorder.record(compute)

        def repeat() -> None:
            with self._on_device:
                replay()

        return repeat

    def _replay(self, found: Pass, wanted: Outputs, then: Callable[[Pass], None]) -> None:
        if found.replay is None:

            def compute() -> None:
                self.compute(found, wanted)
                then(found)

            found.replay = self._recorder.record(compute)
        found.replay()

    def compute(self, into: Pass, wanted: Outputs) -> None:
        """Write the rows' keys and values, and write the wanted results into `into`."""
        spot, operations, shape, weights = into.spot, self._operations, self._shape, self._weights
        splits = STEP_SPLITS if spot.num_rows < self._prefill_width else whole(spot.blocks.capacity)
        # A copy, because layers add to it in place and a recorded pass runs several times.
        hidden = F.embedding(spot.tokens, weights.embedding) if into.entry is None else into.entry.clone()
        delta: Tensor | None = None
        for index, layer in enumerate(weights.layers):
            normed = operations.add_norm(hidden, delta, layer.input_norm, shape.norm_eps)
            qkv = F.linear(normed, layer.qkv, layer.qkv_bias)
            query = operations.rotate_and_write(qkv, shape, layer, index, spot, weights.rotary)
            mixed = operations.attend(query, shape, index, spot, splits)
            normed = operations.add_norm(hidden, F.linear(mixed, layer.out), layer.post_norm, shape.norm_eps)
            delta = F.linear(operations.gate(F.linear(normed, layer.gate_up)), layer.down)
        if not weights.head.numel():  # other layers follow on another device
            into.hidden = hidden if delta is None else hidden.add_(delta)
            return
        into.hidden = hidden
        if wanted is Outputs.NOTHING:
            return
        if wanted is Outputs.LAST:
            last = spot.words[NUM_REAL : NUM_REAL + 1] - 1
            hidden, delta = hidden.index_select(0, last), None if delta is None else delta.index_select(0, last)
        normed = operations.add_norm(hidden, delta, weights.norm, shape.norm_eps)
        into.hidden = hidden
        into.logits = F.linear(normed, weights.head)[:, : shape.vocabulary]


def fill(spot: Spot, token_ids: Sequence[int], cache: KVCache[Blocks], lengths: Sequence[int] = ()) -> None:
    """Write a pass's places to the device by one small copy; missing rows up to its width are padding.

    `lengths` are those of chains, whose tokens stand one chain behind the other.
    """
    store, width = cache.store, spot.num_rows
    start, num_real = len(cache), len(token_ids)
    # The kernels check no bounds: with a wrong number they would read foreign memory.
    longest = max(lengths, default=num_real)
    if start + longest > store.capacity:
        raise IndexError(f"slots {start} to {start + longest} of {store.capacity}")
    words = [start, num_real, store.keys.data_ptr(), store.values.data_ptr(), *padded(token_ids, width)]
    if lengths:
        words += padded([i for length in lengths for i in range(length)], width)
        words += padded([number for number, length in enumerate(lengths) for _ in range(length)], width)
    # Not pinned: the driver copies so little at once, so that the next pass may be filled before this one ran.
    spot.words.copy_(torch.tensor(words), non_blocking=True)
    spot.store = store
