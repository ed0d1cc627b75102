"""The engine's writing for one spot, which outlives the request that began it.

While somebody types fast each key brings a new request; as long as what is typed begins what is being written, the
newer request waits for the same text instead of beginning again. It ends at the end of its line or block, when typing
contradicts it, or when nobody has waited for it for a while. It must not know LSP or settings.
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

from decoding.protocol import CompletionStats, Confidence
from lsp_server.completion.cache import CursorContext, Remainder, Suggestion, SuggestionCache, typed_between
from lsp_server.engine.stream import Delta, EngineUnavailable, Part
from lsp_server.filters import Surroundings, filter_text
from lsp_server.filters.rewriting import Rewriter, rewrite_spans
from lsp_server.filters.surroundings import Mode
from lsp_server.log import without_values

logger = logging.getLogger(__name__)

# Longer than editors wait between a key and their request: VS Code 50 ms, Neovim 200, others 300.
LINGER_S: Final = 1.0
_FINISHED: Final = ("stop", "stop_text")
_GAVE_WAY: Final = ("superseded", "dropped")

DEFAULT_ANSWER_S: Final = 0.1
_WEIGHT: Final = 0.3
MAX_HINTS: Final = 3
MAX_HINT_CHARS: Final = 2000

Keep = Callable[[Suggestion, float], None]
Source = Literal["local", "joined", "sent", "ahead"]
Ends = Callable[[str], bool]
Parts = AsyncGenerator[Part, None]


class Generation:
    """One engine stream; `keep` is given the suggestion once it is finished, and the seconds that it took."""

    def __init__(self, spot: CursorContext, mode: Mode, parts: Parts, ends: Ends, keep: Keep) -> None:
        self.spot = spot
        self.mode = mode
        self.generated = ""
        self.problem: EngineUnavailable | None = None
        self.began_s = time.perf_counter()
        self._ends = ends
        self._keep = keep
        self._raw = ""
        self._confidence: Confidence = ()
        self._stats: CompletionStats | None = None
        self._rewriter = Rewriter(spot.place)
        self._num_waiting = 0
        self._letting_go: asyncio.TimerHandle | None = None
        self._grown = asyncio.Event()
        self._task = asyncio.create_task(self._write(parts))
        self._task.add_done_callback(self._note_end)

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self._task.done()

    def fits(self, spot: CursorContext) -> bool:
        """Whether all that happened since is that what is being written was typed, as far as it has come."""
        typed = typed_between(self.spot, spot)
        if typed is None:
            return False
        return self.generated.startswith(typed) or (not self.is_over and typed.startswith(self.generated))

    async def wait(self, spot: CursorContext) -> bool:
        """Wait until it is over, which is True; False as soon as the text contradicts what was typed at the spot.

        A text that was cancelled is over, too, and nothing was kept of it.
        Raises `EngineUnavailable` if the engine failed.
        """
        with self._held():
            while not self.is_over:
                if not self.fits(spot):
                    return False
                self._grown.clear()
                await self._grown.wait()
        if not self._task.cancelled():
            self._task.result()
        if self.problem is not None:
            raise self.problem
        return True

    def cancel(self) -> None:
        """End it; nothing is kept."""
        self._task.cancel()

    def cut_short(self) -> Suggestion:
        """End it, and make a suggestion of what has come."""
        self._task.cancel()
        return self._suggestion(is_cut_short=True)

    def _note_end(self, task: asyncio.Task[None]) -> None:
        """A text that is written ahead has nobody who would hear of a failure."""
        self._grown.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("what the engine wrote could not be taken: %s", without_values(error))

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
                    if self._ends(self.generated):
                        break
        except EngineUnavailable as error:
            self.problem = error
            return
        if reason in _GAVE_WAY:
            self.problem = EngineUnavailable("the engine gave way to another request", "superseded")
            return
        if reason == "line" and "\n" not in self.generated:
            self._take(Delta("\n"))  # the engine ends before it
        suggestion = self._suggestion(is_cut_short=reason == "length", is_finished=reason in _FINISHED)
        self._keep(suggestion, time.perf_counter() - self.began_s)

    def _take(self, delta: Delta) -> None:
        self._raw += delta.text
        self._confidence += delta.confidence
        self.generated += self._rewriter.feed(delta.text)
        self._grown.set()

    def _suggestion(self, *, is_cut_short: bool, is_finished: bool = False) -> Suggestion:
        spot = self.spot
        around = Surroundings(place=spot.place, mode=self.mode, is_cut_short=is_cut_short, language=spot.language)
        text, dropped_by = filter_text(self.generated, around)
        return Suggestion(
            spot=self.spot,
            mode=self.mode,
            generated=self.generated,
            text=text,
            dropped_by=dropped_by,
            spans=tuple(rewrite_spans(self._raw, self._confidence, self.spot.place)),
            stats=self._stats,
            is_finished=is_finished,
        )


class InFlight:
    """What is written and was written for all documents: `current` by URI, one text ahead of it, and the memory.

    `answer_s` is how long an answer takes, lately; `sources` counts the requests that were answered from memory
    ("local"), by what was on its way ("joined"), and by asking the engine ("sent"), and what was asked "ahead".
    """

    def __init__(self) -> None:
        self.cache = SuggestionCache()
        self.current: dict[str, Generation] = {}
        self.answer_s = DEFAULT_ANSWER_S
        self.sources: Counter[Source] = Counter()
        self._ahead: Generation | None = None
        self._model = ""

    def use_model(self, model: str) -> None:
        """What another model wrote is forgotten."""
        if model and model != self._model:
            if self._model:
                self.forget()
            self._model = model

    def joinable(self, spot: CursorContext) -> Generation | None:
        """What is being written, if it is for this spot as far as one can tell."""
        for generation in (self.current.get(spot.uri), self._ahead):
            if generation is not None and not generation.is_over and generation.fits(spot):
                return generation
        return None

    def is_prefetched(self, spot: CursorContext, mode: Mode) -> bool:
        """Whether it is known what comes at a spot and behind its line, or is being written."""
        if self.joinable(spot) is not None:
            return True
        rest = self.find(spot, mode)
        return rest is not None and (rest.suggestion.is_finished or rest.has_more)

    def find(self, spot: CursorContext, mode: Mode) -> Remainder | None:
        """What is remembered for a spot, if anything."""
        return self.cache.find(spot, mode)

    def start(self, spot: CursorContext, mode: Mode, parts: Parts, ends: Ends) -> Generation:
        """Take the engine's stream for a document, in place of what is being written for it by now."""
        self.cancel(spot.uri)
        generation = self.current[spot.uri] = Generation(spot, mode, parts, ends, self.record)
        self.count("sent")
        return generation

    def start_prefetch(self, spot: CursorContext, mode: Mode, parts: Parts, ends: Ends) -> None:
        """Take the engine's stream for a place that the cursor may come to, in place of the one before."""
        if self._ahead is not None:
            self._ahead.cancel()
        self._ahead = Generation(spot, mode, parts, ends, self.record_prefetched)
        self.count("ahead")

    def count(self, source: Source) -> None:
        """Count a request by where its answer comes from."""
        self.sources[source] += 1

    def cancel(self, uri: str) -> None:
        """End what is being written: something else is wanted."""
        if generation := self.current.pop(uri, None):
            generation.cancel()
        if self._ahead is not None:
            self._ahead.cancel()
            self._ahead = None

    def record(self, suggestion: Suggestion, seconds: float) -> None:
        """A text is finished."""
        self.answer_s += _WEIGHT * (seconds - self.answer_s)
        self.cache.add(suggestion)

    def record_prefetched(self, suggestion: Suggestion, _seconds: float) -> None:
        """A text that was written ahead is finished; nobody waited for it."""
        self.cache.add(suggestion)

    def hints(self, uri: str) -> tuple[str, ...]:
        """Texts that may come again: what is being written and contradicted now, and what was written last."""
        current = self.current.get(uri)
        latest = (suggestion.generated for suggestion in islice(self.cache.latest(uri), MAX_HINTS))
        texts = [*([current.generated] if current else []), *latest]
        return tuple(dict.fromkeys(text[:MAX_HINT_CHARS] for text in texts if text.strip()))[:MAX_HINTS]

    def forget(self, uri: str | None = None) -> None:
        """A document was closed, or all is to be written anew."""
        for known in [*self.current, ""] if uri is None else [uri]:  # with any of them goes what is written ahead
            self.cancel(known)
        self.cache.forget(uri)


async def collect_choices(parts: Parts) -> list[str]:
    """What an engine writes as its choices, in their order; one that was cut off is left without its last line."""
    texts: dict[int, str] = {}
    async with aclosing(parts):
        async for part in parts:
            if isinstance(part, Delta):
                texts[part.choice] = texts.get(part.choice, "") + part.text
            elif part.reason == "length" and texts:
                latest = max(texts)
                texts[latest] = texts[latest][: texts[latest].rfind("\n") + 1]
    return [text for _, text in sorted(texts.items()) if text]
