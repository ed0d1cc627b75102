"""Plans which layers go to which device, from sizes, before any weight is read. Knows no tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from decoding.errors import ModelError

GIB: Final = 2**30
# chosen: reserved on each device for activations, recorded graphs and fragments, beside a tenth of the weights.
WORKING_BYTES: Final = GIB // 2
# chosen: keys and values of so many sequences of full length must fit: less would not be worth the large model.
PLANNED_SEQUENCES: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """The bytes of a model's parts, with the overhead of loading and computing.

    `first` and `last` stand for the embedding and the head; `layer` has a layer's weights, `cached` its keys and values
    of one sequence.
    """

    num_layers: int
    layer: int
    cached: int
    first: int
    last: int


def spread(needs: Needs, free: Sequence[int | None]) -> list[int]:
    """Return how many layers each device gets, each at least one, in proportion to its free memory; in their order.

    Args:
        needs: of the model.
        free: bytes of each device; None where the system doesn't tell, which counts as room for everything.

    Raises:
        ModelError: they don't fit, with the numbers.
    """
    each = needs.layer + PLANNED_SEQUENCES * needs.cached
    whole = needs.num_layers * each + needs.first + needs.last + len(free) * WORKING_BYTES
    room = [
        max(0, (whole if num_bytes is None else num_bytes) - WORKING_BYTES - _fixed(needs, i, len(free)))
        for i, num_bytes in enumerate(free)
    ]
    most = [min(needs.num_layers, num_bytes // each) for num_bytes in room]
    if sum(most) < needs.num_layers or 0 in most or len(free) > needs.num_layers:
        have = " and ".join("unknown" if num_bytes is None else f"{num_bytes / GIB:.1f}" for num_bytes in free)
        raise ModelError(
            f"the model's {needs.num_layers} layers need {whole / GIB:.1f} GiB on {len(free)} devices"
            f" ({each / GIB:.2f} a layer with keys and values of {PLANNED_SEQUENCES} sequences), which have {have} free"
        )
    wanted = [needs.num_layers * num_bytes / sum(room) for num_bytes in room]
    counts = [max(1, min(most_here, int(share))) for most_here, share in zip(most, wanted, strict=True)]
    while (left := needs.num_layers - sum(counts)) != 0:
        step = 1 if left > 0 else -1
        # Rounding left a layer too few or too many: correct the device that is farthest off.
        places = [i for i in range(len(counts)) if 1 <= counts[i] + step <= most[i]]
        counts[max(places, key=lambda i: step * (wanted[i] - counts[i]))] += step
    return counts


def _fixed(needs: Needs, index: int, count: int) -> int:
    return (needs.first if index == 0 else 0) + (needs.last if index == count - 1 else 0)
