"""Asks the engine's model for the next edit, where the rules find none: the lane with a model.

The region is written again with its old text as the draft, and the stream is closed as soon as what is written rejoins
the original behind its first change. It must not know the wire.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from decoding.protocol import CompletionOptions, CompletionRequest, CompletionStats, Confidence
from lsp_server.completion.ask_engine import session_name
from lsp_server.completion.services import CompletionServices
from lsp_server.context.paths import locate
from lsp_server.documents.store import Snapshot
from lsp_server.edits.find import Question
from lsp_server.edits.formats import Asked, Format, format_for
from lsp_server.edits.judge import MAX_LINES, edit_of, is_sure, why_unwanted
from lsp_server.edits.proposal import Change, Edit
from lsp_server.edits.rejoin import first_change
from lsp_server.edits.window import Window, window_of
from lsp_server.engine.stream import Delta, EngineUnavailable

# chosen: room for the region itself, at two characters a token at the least, and for what is new in it.
CHARS_PER_TOKEN: Final = 2
NEW_TOKENS: Final = 64
MAX_TOKENS: Final = 768
_WHOLE: Final = frozenset(("stop", "stop_text"))


class ByModel(NamedTuple):
    """What the model wrote: an edit, or the reason why there is none."""

    edit: Edit | None
    detail: str


@dataclass(slots=True)
class _Writing:
    """What the model has written of a region so far, and the first change in it."""

    form: Format
    window: Window
    output: str = ""
    confidence: Confidence = ()
    text: str | None = None
    change: Change | None = None
    is_given_up: bool = field(default=False)

    def take(self, delta: Delta) -> bool:
        """Take more text; return whether no more is wanted."""
        self.output += delta.text
        self.confidence += delta.confidence
        return "\n" in delta.text and self._read(is_whole=False)

    def end(self, stats: CompletionStats) -> None:
        """Take the end of the answer."""
        if self.change is None:
            self._read(is_whole=stats.reason in _WHOLE)

    def _read(self, *, is_whole: bool) -> bool:
        self.text = self.form.read(self.window, self.output, is_whole=is_whole)
        if self.text is None:
            return False
        self.change = first_change(self.window.region, self.text, is_whole=is_whole)
        num_more = self.text.count("\n") - len(self.window.region)
        self.is_given_up = self.change is None and num_more > MAX_LINES
        return self.change is not None or self.is_given_up


async def edit_by_model(services: CompletionServices, snapshot: Snapshot, question: Question) -> ByModel:
    """Return the edit that the model finds due, or the reason why there is none."""
    form, detail = _form(services)
    if form is None:
        return ByModel(None, detail)
    path = locate(snapshot.uri, services.folder_uris()).path
    window = await asyncio.to_thread(window_of, question, path)
    if window is None:
        return ByModel(None, "a secret or a very long line stands where an edit might be due")
    try:
        async with asyncio.timeout(services.settings.deadline_ms / 1000):
            writing = await _write(services, snapshot, _Writing(form, window))
    except TimeoutError:
        return ByModel(None, "the model took too long")
    except EngineUnavailable as error:
        return ByModel(None, str(error))
    return await asyncio.to_thread(_judged, writing, question)


def _form(services: CompletionServices) -> tuple[Format | None, str]:
    """Return the format in which the engine's model is asked, or None and the reason why it isn't."""
    engine = services.engine
    if engine.health.status != "ready":
        return None, "no engine is ready"
    if engine.name or engine.destination or engine.hybrid is not None:
        return None, "a server is in use, and only the engine on this machine is asked for next edits"
    form = format_for(f"{engine.health.weights} {engine.health.model}")
    return form, "" if form else "the model isn't known to have learned to edit, as an instruct model has"


async def _write(services: CompletionServices, snapshot: Snapshot, writing: _Writing) -> _Writing:
    """Stream the region's new text until it has rejoined the original."""
    request = _request(services, snapshot, writing.window, writing.form.render(writing.window))
    async with aclosing(services.engine.complete(request)) as parts:
        async for part in parts:
            if isinstance(part, CompletionStats):
                writing.end(part)
            elif writing.take(part):
                break
    return writing


def _request(services: CompletionServices, snapshot: Snapshot, window: Window, asked: Asked) -> CompletionRequest:
    region = "".join(window.region)
    return CompletionRequest(
        prompt="".join(asked.parts),
        max_tokens=min(len(region) // CHARS_PER_TOKEN + NEW_TOKENS, MAX_TOKENS),
        stop=asked.stops,
        stream=True,
        tabcast=CompletionOptions(
            path=window.path,
            language=snapshot.language,
            session=f"{session_name(services, snapshot.uri)}#edit",
            draft_texts=(region,),
            proposal=asked.draft,
            heal=False,
            confidence=True,
            laid_out=asked.parts,
        ),
    )


def _judged(writing: _Writing, question: Question) -> ByModel:
    """Return what was written as an edit, if it is worth showing."""
    window, change, text = writing.window, writing.change, writing.text
    if change is None or text is None:
        same = not writing.is_given_up and (text is None or "".join(window.region).startswith(text.rstrip("\n")))
        return ByModel(None, "the model changes nothing" if same else "what the model wrote doesn't rejoin the text")
    edit = edit_of(change, window.first, question.lines)
    if edit is None:
        return ByModel(None, "the model changes the document's end")
    if why := why_unwanted(edit, question.lines, question.language, question.hunks):
        return ByModel(None, why)
    if not is_sure(text, change, window.region, "".join(window.begun), writing.confidence):
        return ByModel(None, "the model isn't sure enough")
    return ByModel(edit, edit.why)
