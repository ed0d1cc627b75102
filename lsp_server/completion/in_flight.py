"""Manages the texts that the engine is generating, each of which may outlive the request that began it.

While somebody types fast each key brings a new request. As long as the typed text agrees with the text in flight, the
newer request waits for that text instead of starting another. Generation ends as soon as its text is settled
(`settling.py`), when typing contradicts it, or when nobody has waited for it for a while. It must not know LSP or
settings.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from itertools import islice
from typing import Final, Literal

from decoding.protocol import CompletionStats
from lsp_server.completion.cache import CursorContext, Remainder, Suggestion, SuggestionCache, typed_between
from lsp_server.completion.pace import Pace
from lsp_server.completion.settling import Growing, Settling
from lsp_server.engine.stream import Delta, EngineUnavailable, Part
from lsp_server.filters import IMPROBABLE, Surroundings, filter_text
from lsp_server.filters.calibration import SHOWS_ALL, UNBOUND, Bounds
from lsp_server.filters.rewriting import Rewriter, SpanRewriter
from lsp_server.filters.surroundings import Mode
from lsp_server.log import without_values

logger = logging.getLogger(__name__)

# chosen: longer than editors wait between a key and their request (VS Code 50 ms, Neovim 200, others 300).
LINGER_S: Final = 1.0
_FINISHED: Final = ("stop", "stop_text")
_GAVE_WAY: Final = ("superseded", "dropped")

DEFAULT_ANSWER_S: Final = 0.1
_WEIGHT: Final = 0.3
MAX_HINTS: Final = 3
MAX_HINT_CHARS: Final = 2000

Keep = Callable[[Suggestion, float], None]
Source = Literal["local", "joined", "sent", "ahead", "first"]
Parts = AsyncGenerator[Part, None]


class Generation:
    """One stream from the engine. `keep` is called with the finished suggestion and the seconds that it took.

    `author` is whose text it is, "" where only one engine writes. `first` writes a text meanwhile, on this machine, and
    `kept` is what of it may be shown.
    """

    def __init__(
        self, spot: CursorContext, mode: Mode, parts: Parts, settling: Settling, keep: Keep, author: str = ""
    ) -> None:
        self.spot = spot
        self.mode = mode
        self.settling = settling
        self.author = author
        self.first: Generation | None = None
        self.kept: Suggestion | None = None
        self.is_followed = False
        self.generated = ""
        self.problem: EngineUnavailable | None = None
        self.began_s = time.perf_counter()
        self._keep = keep
        self._stats: CompletionStats | None = None
        self._rewriter = Rewriter(spot.place, spot.language)
        self._spans = SpanRewriter(spot.place, spot.language)
        self._waited_at = (spot, 0)
        self._num_waiting = 0
        self._letting_go: asyncio.TimerHandle | None = None
        self._grown = asyncio.Event()
        self._task = asyncio.create_task(self._write(parts))
        self._task.add_done_callback(self._note_end)

    @property
    def is_over(self) -> bool:
        """Return whether no more text will come."""
        return self._task.done()

    def fits(self, spot: CursorContext) -> bool:
        """Return whether typing alone led to this spot, and agrees with the text in flight as far as it has come."""
        typed = typed_between(self.spot, spot)
        if typed is None:
            return False
        return self.generated.startswith(typed) or (not self.is_over and typed.startswith(self.generated))

    async def wait(self, spot: CursorContext) -> bool:
        """Wait until the text is finished and return True; return False once it contradicts what was typed at the spot.

        A cancelled text counts as finished, but nothing of it was kept. Raises `EngineUnavailable` if the engine
        failed.
        """
        with self._held():
            while not self.is_over:
                if not self.fits(spot):
                    return False
                self._waited_at = (spot, len(typed_between(self.spot, spot) or ""))
                self._grown.clear()
                await self._grown.wait()
        if not self._task.cancelled():
            self._task.result()
        if self.problem is not None:
            raise self.problem
        return True

    async def until_over(self) -> None:
        """Wait until no more text will come, as one whom no place binds."""
        await asyncio.wait([self._task])

    def cancel(self) -> None:
        """Stop generating and keep nothing."""
        self._task.cancel()
        self._cancel_first()

    def cut_short(self) -> Suggestion:
        """Stop generating and return a suggestion made of the text that has come."""
        self.cancel()
        return self._suggestion(is_cut_short=True)

    def _note_end(self, task: asyncio.Task[None]) -> None:
        """Retrieve the failure of a prefetch, which no request waits for."""
        self._grown.set()
        self._cancel_first()
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("the engine's text could not be read: %s", without_values(error))

    def _cancel_first(self) -> None:
        if self.first is not None and not self.first.is_over:
            self.first.cancel()

    @contextmanager
    def _held(self) -> Iterator[None]:
        if self._letting_go is not None:
            self._letting_go.cancel()
        self._num_waiting += 1
        try:
            yield
        finally:
            self._num_waiting -= 1
            if not self._num_waiting and not self.is_over:
                self._letting_go = asyncio.get_running_loop().call_later(LINGER_S, self.cancel)

    async def _write(self, parts: Parts) -> None:
        reason = ""
        try:
            async with aclosing(parts):
                async for part in parts:
                    if isinstance(part, CompletionStats):
                        self._stats, reason = part, part.reason
                        break
                    self._take(part)
                    if self.settling.is_settled(Growing(self.generated, self._spans.known, *self._waited_at)):
                        break
        except EngineUnavailable as error:
            self.problem = error
            return
        if reason in _GAVE_WAY:
            self.problem = EngineUnavailable("the engine gave way to another request", "superseded")
            return
        if reason == "line" and "\n" not in self.generated:
            self._take(Delta("\n"))  # the engine stops in front of the line end
        self.generated += self._rewriter.finish()
        suggestion = self._suggestion(is_cut_short=reason == "length", is_finished=reason in _FINISHED)
        self._keep(suggestion, time.perf_counter() - self.began_s)

    def _take(self, delta: Delta) -> None:
        self.generated += self._rewriter.feed(delta.text)
        self._spans.feed(delta.text, delta.confidence)
        self._grown.set()

    def _suggestion(self, *, is_cut_short: bool, is_finished: bool = False) -> Suggestion:
        spot = self.spot
        around = Surroundings(place=spot.place, mode=self.mode, is_cut_short=is_cut_short, language=spot.language)
        settling = self.settling
        text, dropped_by = filter_text(self.generated[: settling.improbable_from], around)
        return Suggestion(
            spot=self.spot,
            mode=self.mode,
            generated=self.generated,
            text=text,
            dropped_by=IMPROBABLE if settling.improbable_from == 0 else dropped_by,
            spans=tuple(self._spans.known),
            stats=self._stats,
            is_finished=is_finished,
            bounds=SHOWS_ALL if settling.improbable_from is None else settling.bounds,
            nothing_at=settling.nothing_at,
            author=self.author,
        )


class InFlight:
    """The texts in flight for all documents, `current` by URI, with one prefetch; and the cache of finished ones.

    `answer_s` is the usual time of an answer, lately. `sources` counts the requests answered from the cache ("local"),
    by joining a text in flight ("joined") and by asking the engine ("sent"), the prefetches ("ahead"), and the first
    texts that were shown while a server was asked ("first"). `pace` is learnt of first texts.
    """

    def __init__(self) -> None:
        self.cache = SuggestionCache()
        self.current: dict[str, Generation] = {}
        self.answer_s = DEFAULT_ANSWER_S
        self.pace = Pace()
        self.sources: Counter[Source] = Counter()
        self._ahead: Generation | None = None
        self._model = ""

    def use_model(self, model: str) -> None:
        """Forget all texts if the engine now runs another model."""
        if model and model != self._model:
            if self._model:
                self.forget()
            self._model = model

    def joinable(self, spot: CursorContext, bounds: Bounds = UNBOUND) -> Generation | None:
        """Return the text in flight for the document if it fits this spot so far; it serves these bounds, too."""
        for generation in (self.current.get(spot.uri), self._ahead):
            if generation is not None and not generation.is_over and generation.fits(spot):
                generation.settling.lower(bounds)
                return generation
        return None

    def is_prefetched(self, spot: CursorContext, mode: Mode) -> bool:
        """Return whether the text at a spot and behind its line is known already, or in flight."""
        if self.joinable(spot) is not None:
            return True
        rest = self.find(spot, mode)
        return rest is not None and (rest.suggestion.is_finished or rest.has_more)

    def find(self, spot: CursorContext, mode: Mode, bounds: Bounds = UNBOUND) -> Remainder | None:
        """Return the cached remainder for a spot, or None."""
        return self.cache.find(spot, mode, bounds)

    def start(self, spot: CursorContext, mode: Mode, parts: Parts, settling: Settling, author: str = "") -> Generation:
        """Take the engine's stream for a document; it replaces the one in flight."""
        self.cancel(spot.uri)

        def keep(suggestion: Suggestion, seconds: float) -> None:
            self.record(suggestion, seconds)
            if generation.first is not None and generation.first.kept is not None:
                self.cache.replace_first(generation.first.kept)

        generation = self.current[spot.uri] = Generation(spot, mode, parts, settling, keep, author)
        self.count("sent")
        return generation

    def start_prefetch(
        self, spot: CursorContext, mode: Mode, parts: Parts, settling: Settling, author: str = ""
    ) -> None:
        """Take the engine's stream for a place that the cursor may come to; it replaces the prefetch before."""
        if self._ahead is not None:
            self._ahead.cancel()
        self._ahead = Generation(spot, mode, parts, settling, self.record_prefetched, author)
        self.count("ahead")

    def count(self, source: Source) -> None:
        """Count a request by the source of its answer."""
        self.sources[source] += 1

    def cancel(self, uri: str) -> None:
        """Cancel what is in flight for a document, because something else is wanted."""
        if generation := self.current.pop(uri, None):
            generation.cancel()
        if self._ahead is not None:
            self._ahead.cancel()
            self._ahead = None

    def leave(self, spot: CursorContext, mode: Mode) -> None:
        """Cancel the prefetch if the cursor has come to a place that has nothing to do with it."""
        if self._ahead is not None and self.find(spot, mode) is None and self.joinable(spot) is None:
            self._ahead.cancel()
            self._ahead = None

    def record(self, suggestion: Suggestion, seconds: float) -> None:
        """Cache a finished text, and learn from it how long answers take."""
        self.answer_s += _WEIGHT * (seconds - self.answer_s)
        self.cache.add(suggestion)

    def record_prefetched(self, suggestion: Suggestion, _seconds: float) -> None:
        """Cache a finished prefetch. Its time doesn't count, since nobody waited for it."""
        self.cache.add(suggestion)

    def hints(self, uri: str) -> tuple[str, ...]:
        """Return texts that are likely to come again: the contradicted one in flight, and the last finished ones."""
        current = self.current.get(uri)
        latest = (suggestion.generated for suggestion in islice(self.cache.latest(uri), MAX_HINTS))
        texts = [*([current.generated] if current else []), *latest]
        return tuple(dict.fromkeys(text[:MAX_HINT_CHARS] for text in texts if text.strip()))[:MAX_HINTS]

    def forget(self, uri: str | None = None) -> None:
        """Cancel and forget the texts of a closed document, or all texts."""
        for known in [*self.current, ""] if uri is None else [uri]:  # cancelling any of them cancels the prefetch too
            self.cancel(known)
        self.cache.forget(uri)
