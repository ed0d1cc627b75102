"""Any sequence of edits, requests, cancellations and configuration changes, against a model of the document.

The server runs in this process, with an engine that is a few lines of Python, so that a sequence takes milliseconds.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lsprotocol import types

from decoding.protocol import CompletionRequest, CompletionStats, Health
from lsp_server import server
from lsp_server.documents.store import DocumentStore
from lsp_server.engine.client import EngineClient, EngineUnavailable
from lsp_server.engine.stream import Delta, Part
from lsp_server.features import completion, inline_completion
from lsp_server.rpc.transport import StreamFrames
from lsp_server.server import Front
from tests.lsp.raw_client import URI, did_open, inline, notification, request
from tests.lsp.test_documents import position_of

ENCODING = "utf-16"
CHANGE = "textDocument/didChange"


@dataclass
class Engine:
    """Stands for `EngineClient`; `mood` says how it answers."""

    mood: str = "ready"
    name: str = ""
    destination: str = ""

    async def attach(self) -> Health:
        return Health(status="ready")

    ensure = wait_ready = attach

    async def stop(self) -> bool:
        return True

    async def close(self) -> None:
        return

    async def complete(self, asked: CompletionRequest) -> AsyncGenerator[Part, None]:
        for text in ("value", " + other", "\n    more = 1\n"):
            if self.mood == "slow":
                await asyncio.sleep(0.002)
            if self.mood == "lost":
                raise EngineUnavailable("the engine went away", "lost")
            if self.mood == "buggy":
                raise KeyError(text)
            await asyncio.sleep(0)
            yield Delta(text)
        yield CompletionStats(tokens=3, steps=2, reason="stop")


@dataclass
class Editor:
    """What the editor knows: the text, what it asked, and what it was answered."""

    text: str | None = None
    is_trusted: bool = True
    version: int = 1
    asked: list[int] = field(default_factory=list)
    answers: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    strange: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.changed = asyncio.Event()
        self.loop = asyncio.get_running_loop()
        self.engine = Engine()
        self.reader = asyncio.StreamReader()
        self.front = Front(lambda on_health, model: self.make_client(on_health))
        self.front.server.protocol.set_writer(cast(Any, SimpleNamespace(write=self.write, close=lambda: None)))

    def make_client(self, on_health: Any) -> EngineClient:
        self.loop.call_soon_threadsafe(on_health, Health(status="ready"))  # clients are made in a thread
        return cast(EngineClient, self.engine)

    def begin(self) -> asyncio.Task[None]:
        """Start the server with one open document; the task ends with its input."""
        serving = asyncio.create_task(self.front.serve(StreamFrames(self.reader)))
        capabilities = {"general": {"positionEncodings": [ENCODING]}}
        params = {"processId": None, "rootUri": None, "capabilities": capabilities}
        self.send(request(0, "initialize", {**params, "initializationOptions": {"minConfidence": 0}}))
        self.send(notification("initialized", {}), did_open("x = "))
        self.text = "x = "
        return serving

    async def answered(self, *numbers: int) -> None:
        async with asyncio.timeout(60):
            while not all(self.answers.get(number) for number in numbers):
                self.changed.clear()
                await self.changed.wait()

    def send(self, *messages: dict[str, Any]) -> None:
        for message in messages:
            body = json.dumps(message).encode()
            self.reader.feed_data(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))

    def write(self, data: bytes) -> None:
        message = json.loads(data.partition(b"\r\n\r\n")[2])
        if "method" in message:
            if message["method"] == "window/showMessage":
                self.strange.append(message["params"]["message"])
            return
        self.answers.setdefault(message["id"], []).append(message)
        self.changed.set()
        result = message.get("result")
        for item in result["items"] if isinstance(result, dict) and "items" in result else ():
            self.check(item)

    def check(self, item: dict[str, Any]) -> None:
        """An item goes on from what stands in the server's document at the moment when it is sent."""
        edit = item.get("textEdit") or {"range": item["range"], "newText": item["insertText"]}
        lines = self.store.lines(URI)
        if lines is None:
            self.strange.append("an item for a document that is not served")
            return
        start, end = edit["range"]["start"], edit["range"]["end"]
        line = lines[start["line"]].rstrip("\r\n")
        units = line.encode("utf-16-le")
        replaced = units[2 * start["character"] : 2 * end["character"]].decode("utf-16-le").rstrip(")]}")
        if start["line"] != end["line"] or not edit["newText"].startswith(replaced):
            self.strange.append(f"{edit} does not go on from {line!r}")

    @property
    def store(self) -> DocumentStore:
        return self.front.session.documents

    def change(self, first: int, second: int, new: str) -> None:
        assert self.text is not None
        places = [i for i in range(len(self.text) + 1) if self.text[i - 1 : i + 1] != "\r\n"]
        start, end = sorted((places[first % len(places)], places[second % len(places)]))
        span = [position_of(self.text, offset, ENCODING) for offset in (start, end)]
        self.tell({"range": dict(zip(("start", "end"), map(as_json, span), strict=True)), "text": new})
        self.text = self.text[:start] + new + self.text[end:]

    def tell(self, *changes: Any) -> None:
        self.version += 1
        document = {"uri": URI, "version": self.version}
        self.send(notification(CHANGE, {"textDocument": document, "contentChanges": list(changes)}))


def as_json(position: types.Position) -> dict[str, int]:
    return {"line": position.line, "character": position.character}


TEXTS = st.text(alphabet="ab :()\t\r\né𝄞x=", max_size=12)
PLACES = st.integers(0, 200)
ACTIONS = st.one_of(
    st.tuples(st.just("open"), TEXTS),
    st.tuples(st.just("close")),
    st.tuples(st.just("edit"), PLACES, PLACES, TEXTS),
    st.tuples(st.just("type"), st.sampled_from(["v", "va", "value", "\n", "("])),
    st.tuples(st.just("key"), st.sampled_from(["v", "al", "ue + ", "x = ", "\n"]), st.integers(0, 4)),
    st.tuples(st.just("key"), st.sampled_from(["", "\nif x:\n    "]), st.integers(0, 4)),
    st.tuples(st.just("whole"), TEXTS),
    st.tuples(st.just("broken change")),
    st.tuples(st.just("inline"), PLACES, st.integers(0, 2)),
    st.tuples(st.just("pop-up"), PLACES),
    st.tuples(st.just("broken request")),
    st.tuples(st.just("cancel"), PLACES),
    st.tuples(st.just("settings"), st.booleans(), st.sampled_from([0, 50, "soon"])),
    st.tuples(st.just("command"), st.sampled_from(["why", "stats", "toggle", "acceptWord", "restartEngine"])),
    st.tuples(st.just("mood"), st.sampled_from(["ready", "slow", "lost", "buggy"])),
    st.tuples(st.just("wait"), st.integers(0, 3)),
)


async def act(editor: Editor, number: int, action: tuple[Any, ...]) -> None:
    match action:
        case "mood", mood:
            editor.engine.mood = mood
        case "wait", turns:
            await asyncio.sleep(0.001 * turns)
        case "cancel", which if editor.asked:
            editor.send(notification("$/cancelRequest", {"id": editor.asked[which % len(editor.asked)]}))
        case "settings", is_enabled, deadline:
            told = {"tabcast": {"enabled": is_enabled, "deadlineMs": deadline}}
            editor.send(notification("workspace/didChangeConfiguration", {"settings": told}))
        case "key", new, turns:
            await press(editor, number, new, turns)
        case _:
            edit(editor, action)
            ask(editor, number, action)


async def press(editor: Editor, number: int, new: str, turns: int) -> None:
    """A key at the end of the text, the request that follows it, and a moment before the next key."""
    edit(editor, ("type", new))
    ask(editor, number, ("inline", len(editor.text or ""), 2))
    await asyncio.sleep(0.002 * turns)


def edit(editor: Editor, action: tuple[Any, ...]) -> None:
    match action:
        case "open", text:
            editor.text, editor.is_trusted = text, True
            editor.send(did_open(text))
        case ("close",):
            editor.text = None
            editor.send(notification("textDocument/didClose", {"textDocument": {"uri": URI}}))
        case "edit", first, second, new if editor.text is not None:
            editor.change(first, second, new)
        case "type", new if editor.text is not None:
            editor.change(len(editor.text), len(editor.text), new)
        case "whole", text if editor.text is not None:
            editor.text, editor.is_trusted = text, True
            editor.tell({"text": text})
        case ("broken change",):
            editor.is_trusted = editor.text is None
            editor.tell({"text": 7})


def ask(editor: Editor, number: int, action: tuple[Any, ...]) -> None:
    text = editor.text or ""
    match action:
        case "inline", place, kind:
            where = position_of(text, place % (len(text) + 1), ENCODING)
            message = inline(number, where.line, where.character, kind=kind)
        case "pop-up", place:
            where = position_of(text, place % (len(text) + 1), ENCODING)
            params = {"textDocument": {"uri": URI}, "position": as_json(where)}
            message = request(number, "textDocument/completion", params)
        case ("broken request",):
            message = request(number, "textDocument/inlineCompletion", {"position": "here"})
        case "command", name:
            message = request(number, "workspace/executeCommand", {"command": f"tabcast.server.{name}"})
        case _:
            return
    editor.asked.append(number)
    editor.send(message)


async def play(actions: list[tuple[Any, ...]]) -> None:
    editor = Editor()
    serving = editor.begin()
    for number, action in enumerate(actions, 1):
        await act(editor, number, action)
    editor.asked.append(10_000)
    editor.send(request(10_000, "workspace/executeCommand", {"command": "tabcast.server.stats"}))
    await editor.answered(*editor.asked)
    lines = editor.store.lines(URI)
    assert (None if lines is None else "".join(lines)) == (editor.text if editor.is_trusted else None)
    editor.reader.feed_eof()
    await asyncio.wait_for(serving, 60)
    counts = {number: len(answers) for number, answers in editor.answers.items()}
    assert counts == dict.fromkeys([0, *editor.asked], 1)
    wrong = [text for text in editor.strange if not text.startswith("Tabcast ignored settings: deadlineMs")]
    assert not wrong, wrong
    assert len(editor.strange) <= 2  # each of the two wrong values is told once


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ACTIONS, max_size=40))
def test_every_sequence_is_answered_once_and_rightly(actions: list[tuple[Any, ...]]) -> None:
    asyncio.run(play(actions))


@pytest.mark.parametrize("method", ["textDocument/inlineCompletion", "textDocument/completion"])
@pytest.mark.parametrize("change", [{"text": 7}, {"text": "y = "}])
async def test_an_answer_is_judged_by_the_text_at_the_moment_when_it_is_sent(
    method: str, change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event loop may read a change between the end of the coroutine that answers and the turn that sends."""
    editor = Editor()
    feature: Any = completion if method == "textDocument/completion" else inline_completion
    answer = feature.answer

    async def answer_and_change(*arguments: Any) -> Any:
        made = await answer(*arguments)
        document = {"uri": URI, "version": 2}
        told = notification(CHANGE, {"textDocument": document, "contentChanges": [change]})
        editor.front._handle_message(json.dumps(told).encode())
        return made

    monkeypatch.setattr(feature, "answer", answer_and_change)
    monkeypatch.setattr(server, "_handler", server._handler.__wrapped__)  # the table keeps what it found earlier
    serving = editor.begin()
    asked = {"textDocument": {"uri": URI}, "position": {"line": 0, "character": 4}}
    editor.send(request(1, method, {**asked, "context": {"triggerKind": 1}}))
    await editor.answered(1)
    editor.reader.feed_eof()
    await asyncio.wait_for(serving, 60)
    assert [answer["result"]["items"] for answer in editor.answers[1]] == [[]]
    assert not editor.strange
