"""What the front end keeps: nothing of closed documents, no text that is too large, and no more than so much."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from lsp_server.documents import store
from lsp_server.documents.store import Place
from lsp_server.filters.parsing import parse_checker
from lsp_server.rpc.transport import StreamFrames
from lsp_server.session import Session
from tests.lsp.raw_client import did_change, did_open, inline, notification, request
from tests.lsp.test_sequences import Editor

NUM_DOCUMENTS = 120


@asynccontextmanager
async def served() -> AsyncIterator[Editor]:
    """An editor of a server in this process, with an engine of a few lines."""
    editor = Editor()
    serving = asyncio.create_task(editor.front.serve(StreamFrames(editor.reader)))
    # A busy machine may take its time: what is tested here is not the deadline.
    options = {"deadlineMs": 20_000}
    initialize = {"processId": None, "rootUri": None, "capabilities": {}, "initializationOptions": options}
    editor.send(request(0, "initialize", initialize))
    editor.send(notification("initialized", {}))
    yield editor
    editor.reader.feed_eof()
    await asyncio.wait_for(serving, 60)


async def answer(editor: Editor, number: int) -> dict[str, object]:
    async with asyncio.timeout(60):
        while number not in editor.answers:
            editor.changed.clear()
            await editor.changed.wait()
    return editor.answers[number][0]


async def why(editor: Editor, number: int) -> dict[str, object]:
    editor.send(request(number, "workspace/executeCommand", {"command": "tabcast.server.why"}))
    told: dict[str, object] = (await answer(editor, number))["result"]  # type: ignore[assignment]
    return told


def kept(session: Session) -> dict[str, int]:
    """How much is kept by document."""
    context, in_flight = session.context, session.in_flight
    return {
        "texts": len(session.documents._open),
        "requests": len(session.pending),
        "suggestions": len(in_flight.cache),
        "generations": len(in_flight.current),
        "keystrokes": len(session.keystrokes._documents),
        "visited": len(context._lines),
        "judged": len(context._judged),
        "contexts": len(context._known) + len(context._bursts),
        "shown": len(session.shown_items._shown),
        "notebooks": len(session.notebooks._cells),
    }


async def test_nothing_is_kept_of_documents_that_are_closed() -> None:
    async with served() as editor:
        for number in range(1, NUM_DOCUMENTS + 1):
            uri = f"file:///work/project/module_{number}.py"
            editor.send(did_open("x = ", uri=uri), did_change(2, "v", (0, 4), (0, 4), uri=uri))
            editor.send(
                inline(number, 0, 5, uri=uri), notification("textDocument/didClose", {"textDocument": {"uri": uri}})
            )
            await answer(editor, number)
        await why(editor, 1000)
        session = editor.front.session
        assert kept(session) == dict.fromkeys(kept(session), 0)
        assert len(session.shown_items._known) <= 100
        assert len(session.context._recent) <= 10
        assert len(session.request_log.requests()) <= 50


async def test_nothing_is_kept_of_requests_for_documents_that_are_not_open() -> None:
    async with served() as editor:
        for number in range(1, NUM_DOCUMENTS + 1):
            uri = f"file:///work/project/module_{number}.py"
            editor.send(inline(number, 0, 5, uri=uri))
            if number % 2:
                editor.send(notification("$/cancelRequest", {"id": number}))
            await answer(editor, number)
        assert kept(editor.front.session) == dict.fromkeys(kept(editor.front.session), 0)


async def test_a_document_that_is_too_large_is_not_served_and_why_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MAX_DOCUMENT_CHARS", 1_000_000)
    async with served() as editor:
        editor.send(did_open("x = 1\n" * 200_000), inline(1, 0, 5))
        assert (await answer(editor, 1))["result"] == {"items": []}
        assert str((await why(editor, 2))["detail"]).startswith("it has more than 1 million characters")
        editor.tell({"text": "x = "})
        editor.send(inline(3, 0, 4))
        await answer(editor, 3)
        assert (await why(editor, 4))["reason"] != "not open"


@pytest.mark.parametrize("language", ["python", "javascript"])
def test_a_line_without_end_is_not_parsed(language: str) -> None:
    """Python's parser takes seconds for a million characters."""
    long = "abc + 1; " * 10_000
    assert parse_checker("x = 1", Place(), language) is not None
    assert parse_checker("x", Place(head=long), language) is None
    assert parse_checker("x", Place(tail=long), language) is None


async def test_the_document_that_is_looked_at_was_visited_last() -> None:
    async with served() as editor:
        names = [f"file:///work/project/{name}.py" for name in "ab"]
        editor.send(*(did_open("x = ", uri=uri) for uri in names))
        for params in ({"textDocument": {"uri": names[0]}}, {"textDocument": {"uri": "file:///other.py"}}, {}, None, 7):
            editor.send(notification("textDocument/didFocus", params))
        await why(editor, 1)
        assert list(editor.front.session.context._lines) == names[::-1]
