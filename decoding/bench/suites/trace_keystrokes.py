"""Classifies what changed between two completion requests of a document, and sums the prefill that it cost.

The layout of the prompt promises that a key within a line costs no more than the tokens typed. An editor that closes
brackets by itself changes the text behind the cursor, too, so such keys stand apart. Pure.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator

from decoding.bench.harness.text_units import LINE_END
from decoding.bench.metrics import accuracy

WITHIN_LINE = "typed within a line"
TEXT_BEHIND = "typed within a line, text behind the cursor changed"
OTHER = "other changes"


def kind_of(before: tuple[str, int] | None, after: tuple[str, int]) -> str:
    """Return what was done between two requests, each a text and the cursor's offset in it."""
    if before is None:
        return OTHER
    old_head, old_tail = _cut(*before)
    head, tail = _cut(*after)
    typed = head[len(old_head) :]
    if not typed or not head.startswith(old_head) or LINE_END.search(typed):
        return OTHER
    return WITHIN_LINE if tail == old_tail else TEXT_BEHIND


def rows(costs: Iterable[tuple[str, int]]) -> Iterator[dict[str, object]]:
    """Yield a row for each kind, from (kind, prompt tokens computed) of the requests that the engine was asked for."""
    by_kind: dict[str, list[int]] = {WITHIN_LINE: [], TEXT_BEHIND: [], OTHER: []}
    for kind, num_tokens in costs:
        by_kind[kind].append(num_tokens)
    for kind, counts in by_kind.items():
        if counts:
            yield {
                "method": kind,
                "count": len(counts),
                "prefilled_tokens_median": statistics.median(counts),
                "prefilled_tokens_p90": accuracy.percentile(counts, 0.9),
            }


def _cut(text: str, offset: int) -> tuple[str, str]:
    return text[:offset], text[offset:]
