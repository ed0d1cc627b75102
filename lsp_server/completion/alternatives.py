"""Finds other texts for a place, for who asks by hand: each is written, ended and filtered as the first one is.

They are asked for one by one, so that each ends as soon as it is settled. It must not know requests of the editor.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Final, NamedTuple

from lsp_server.completion.ask_engine import start_alternative
from lsp_server.completion.services import CompletionServices
from lsp_server.documents.store import Cursor, Snapshot
from lsp_server.engine.client import EngineUnavailable
from lsp_server.filters.surroundings import Mode

MAX_CANDIDATES: Final = 3
# chosen: another beginning often leads to a text that is there already.
MAX_CHOICE: Final = 5


class AskedPlace(NamedTuple):
    """The place that texts are wanted for; `fit` cuts them to what the editor can insert there."""

    snapshot: Snapshot
    cursor: Cursor
    mode: Mode
    fit: Callable[[str], str]


async def other_texts(
    services: CompletionServices, place: AskedPlace, first: str, max_s: float
) -> AsyncGenerator[str, None]:
    """Yield up to two texts that say something else than the first, as they come, for so many seconds."""
    texts, end_s = [first], asyncio.get_running_loop().time() + max_s
    for choice in range(1, MAX_CHOICE + 1):
        generation = start_alternative(services, place.snapshot, place.cursor, place.mode, choice)
        is_late = False
        try:
            async with asyncio.timeout_at(end_s):
                await generation.wait(generation.spot)
            written = generation.kept
        except TimeoutError:
            is_late, written = True, generation.cut_short()
        except EngineUnavailable:
            return
        finally:
            generation.cancel()
        text = place.fit(written.text) if written else ""
        if text and not any(says_the_same(text, known) for known in texts):
            texts.append(text)
            yield text
        if is_late or len(texts) == MAX_CANDIDATES:
            return


def says_the_same(text: str, other: str) -> bool:
    """Return whether one of two texts begins with the other, blanks aside."""
    short, long = sorted(("".join(text.split()), "".join(other.split())), key=len)
    return long.startswith(short)
