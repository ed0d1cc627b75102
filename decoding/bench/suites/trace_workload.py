"""Makes a recorded session as heavy as a large project: long files, and many open ones.

The typed keys and their times stay; only the text around them grows. Pure functions over events; no server, no clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count, islice

from decoding.bench.harness.recorded_session import Edited, Event, Opened, Requested

LINES_OF_OTHERS = 400
UNIT = (
    "def load_{word}_{number}(path, limit={number}):\n"
    '    """Entries of a {word} file, the newest first."""\n'
    "    entries = [parse_{word}(line) for line in read_lines(path)]\n"
    "    return sorted(entries, key=lambda entry: entry.changed_at)[:limit]\n"
    "\n"
)
WORDS = ("invoice", "shelf", "reader", "sensor", "ticket", "route", "recipe", "score")


def enlarge(events: Sequence[Event], *, num_lines: int = 0, num_open: int = 0) -> list[Event]:
    """Make every document that was asked in this long, open so many others first, and return the events."""
    text = filler(num_lines, seed=0)
    half = len(text) // 2
    above = text[: text.rfind("\n", 0, half) + 1]
    asked = {event.document for event in events if isinstance(event, Requested)} if num_lines else set()
    others: list[Event] = [
        Opened(at_ms=0.0, document=-1 - number, path=f"others/module_{number}.py", text=filler(LINES_OF_OTHERS, number))
        for number in range(num_open)
    ]
    return [*others, *(_shifted(event, above, text[len(above) :], asked) for event in events)]


def filler(num_lines: int, seed: int) -> str:
    """Return so many lines of ASCII code, always equal for equal seeds."""
    units = (
        UNIT.format(word=WORDS[(seed + number) % len(WORDS)], number=seed * 1000 + number).splitlines(keepends=True)
        for number in count()
    )
    return "".join(islice((line for unit in units for line in unit), num_lines))


def _shifted(event: Event, above: str, below: str, asked: set[int]) -> Event:
    num = len(above)
    if isinstance(event, Opened) and event.document in asked:
        end = "" if not below or event.text.endswith("\n") else "\n"
        return replace(event, text=above + event.text + end + below)
    if isinstance(event, Edited) and event.document in asked:
        return replace(event, edits=tuple((start + num, end + num, text) for start, end, text in event.edits))
    if isinstance(event, Requested) and event.document in asked:
        return replace(event, offset=event.offset + num)
    return event
