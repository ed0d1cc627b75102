"""What is read ahead for a slow model, how little of a text is read in any case, and which context stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoding.protocol import ContextFile, Health
from lsp_server.completion.cache import cursor_context
from lsp_server.completion.in_flight import InFlight
from lsp_server.completion.reading_ahead import MAX_WINDOWS
from lsp_server.completion.settling import Settling
from lsp_server.completion.steady_context import STEADY_S, SteadyContext
from lsp_server.context.budget import LEAST_LINES, cut_around, least_around, window_end, windows_around
from lsp_server.documents.store import Cursor
from lsp_server.engine.stream import Delta, Part
from lsp_server.settings import Settings
from tests.lsp.conftest import FakeRuntime, Servers, until
from tests.lsp.raw_client import URI, RawClient, did_change, did_open, inline, notification
from tests.lsp.test_documents import snapshot_of

SLOW = {"read_tokens_per_s": 100.0, "model": "slow"}
TEXT = "".join(f"value_{i} = {i}\n" for i in range(30))


async def started(servers: Servers, runtime: FakeRuntime, **script: Any) -> RawClient:
    runtime.script("tail", **script)
    client = await servers.start()
    await client.initialize()
    await client.until_engine("ready")
    return client


def read_ahead(runtime: FakeRuntime, kind: str) -> list[dict[str, Any]]:
    bodies = [event["body"] for event in runtime.events("request")]
    return [body for body in bodies if body["tabcast"]["prepare"] == kind]


async def test_a_slow_model_reads_a_document_from_its_first_line_when_it_is_opened_and_after_changes(
    servers: Servers, runtime: FakeRuntime
) -> None:
    client = await started(servers, runtime, **SLOW)
    client.send(did_open(TEXT))
    await until(lambda: read_ahead(runtime, "trunk"), "the document to be read")
    (body,) = read_ahead(runtime, "trunk")
    assert body["prompt"] == TEXT
    assert body["suffix"] == ""
    assert body["tabcast"]["priority"] == "idle"
    client.send(did_change(2, "new = 1\n", (3, 0), (3, 0)))
    await until(lambda: len(read_ahead(runtime, "trunk")) == 2, "the change to be read")
    assert "new = 1" in read_ahead(runtime, "trunk")[1]["prompt"]
    assert "window/showMessage" not in client.methods()


async def test_a_place_where_the_cursor_rests_is_read_and_left_at_the_next_move(
    servers: Servers, runtime: FakeRuntime
) -> None:
    client = await started(servers, runtime, **SLOW)
    place = {"textDocument": {"uri": URI}, "position": {"line": 20, "character": 0}}
    client.send(did_open(TEXT), notification("tabcast/didRest", place))
    await until(lambda: read_ahead(runtime, "place"), "the place to be read")
    (body,) = read_ahead(runtime, "place")
    assert (body["prompt"] + body["suffix"]).count("\n") == 30
    assert body["prompt"].endswith("value_19 = 19\n")
    options = body["tabcast"]
    assert (options["priority"], options["latency_ms"]) == ("idle", 300)
    for strange in (None, [], {"textDocument": 1}, {**place, "position": {"line": -1, "character": "x"}}):
        client.send(notification("tabcast/didRest", strange))
    client.send(inline(1, 20, 0))
    assert len(await client.items(1)) == 1
    asked = next(event["body"] for event in runtime.events("request") if not event["body"]["tabcast"]["prepare"])
    for name in ("latency_ms", "least_prefix", "least_suffix"):
        assert asked["tabcast"][name] == options[name] > 0


async def test_nothing_is_read_ahead_for_a_fast_model_or_where_there_are_no_suggestions(
    servers: Servers, runtime: FakeRuntime, tmp_path: Path
) -> None:
    (tmp_path / ".tabcastignore").write_text("secret.py\n", encoding="utf-8")
    uris = [(tmp_path / name).as_uri() for name in ("secret.py", "open.py")]
    runtime.script("tail", **SLOW)
    client = await servers.start()
    await client.initialize(rootUri=tmp_path.as_uri())
    await client.until_engine("ready")
    place = {"textDocument": {"uri": uris[0]}, "position": {"line": 0, "character": 0}}
    client.send(did_open(TEXT, uris[0]), notification("tabcast/didRest", place), inline(1, 0, 0, uris[0]))
    assert await client.items(1) == []
    client.send(did_open("x = 1\n", uris[1]))
    await until(lambda: read_ahead(runtime, "trunk"), "the other document to be read")
    assert {event["body"]["prompt"] for event in runtime.events("request")} == {"x = 1\n"}
    await client.close()
    runtime.script("tail", read_tokens_per_s=1e6, model="fast")
    client = await servers.start()
    await client.initialize()
    await client.until_engine("ready")
    await client.ask("workspace/executeCommand", {"command": "tabcast.server.restartEngine"})
    await client.until_engine("ready")
    client.send(did_open(TEXT), notification("tabcast/didRest", {**place, "textDocument": {"uri": URI}}))
    client.send(inline(1, 30, 0))
    await client.items(1)
    assert len(read_ahead(runtime, "trunk")) == 1
    assert not read_ahead(runtime, "place")


async def test_windows_of_a_long_document_are_read_the_nearest_first(servers: Servers, runtime: FakeRuntime) -> None:
    lines = [f"value_{number} = compute({number}, {number} + 1)\n" for number in range(900)]
    client = await started(servers, runtime, **SLOW)
    client.send(did_open("".join(lines)), inline(1, 600, 0))
    await client.items(1)
    await until(lambda: len(read_ahead(runtime, "trunk")) == MAX_WINDOWS, "windows to be read")
    prompts = [body["prompt"] for body in read_ahead(runtime, "trunk")]
    assert lines[590] in prompts[0]
    assert all(prompt.startswith("value_") for prompt in prompts)
    assert len({prompt[:20] for prompt in prompts}) == MAX_WINDOWS
    client.send(did_change(2, "new = 1\n", (600, 0), (600, 0)))
    await until(lambda: len(read_ahead(runtime, "trunk")) > MAX_WINDOWS, "the change to be read")
    await until(lambda: read_ahead(runtime, "place"), "its place to be read")
    assert len(read_ahead(runtime, "trunk")) == MAX_WINDOWS + 1  # the other ones can wait until somebody goes there
    assert "new = 1" in read_ahead(runtime, "trunk")[-1]["prompt"]


async def test_the_place_of_a_change_that_no_request_follows_is_read_and_again_when_the_document_is_saved(
    servers: Servers, runtime: FakeRuntime
) -> None:
    client = await started(servers, runtime, **SLOW)
    client.send(did_open(TEXT))
    await until(lambda: read_ahead(runtime, "trunk"), "the document to be read")
    assert not read_ahead(runtime, "place")
    client.send(did_change(2, "undone = 1\n    x", (20, 0), (20, 0)))
    await until(lambda: read_ahead(runtime, "place"), "the place of the change to be read")
    assert read_ahead(runtime, "place")[0]["prompt"].endswith("undone = 1\n    x")
    client.send(notification("textDocument/didSave", {"textDocument": {"uri": URI}}))
    await until(lambda: len(read_ahead(runtime, "place")) == 2, "the place to be read again")


async def test_who_asks_by_hand_gives_the_model_more_time_to_read(servers: Servers, runtime: FakeRuntime) -> None:
    client = await started(servers, runtime, **SLOW)
    client.send(did_open(TEXT), inline(1, 20, 0), inline(2, 25, 0, kind=1))
    await client.items(2)
    asked = [event["body"]["tabcast"] for event in runtime.events("request")]
    by_hand = {options["latency_ms"] for options in asked if options["priority"] == "normal"}
    assert max(by_hand) == 1500


CODE = [
    *["def first():", "    a = 1", "    b = 2", ""],
    *["class Second:", "    def method(self):", *["        c = 3"] * 30],
]


def test_what_is_read_below_ends_with_a_block_if_one_ends_soon() -> None:
    below = [*["        d = 4"] * 12, "", "    def other(self):", "        pass"]
    lines = [*CODE[:10], *below, *["    x = 1"] * 30]
    assert at(lines, 10, 8)[1] == "\n        ".join(["d = 4"] * 12) + "\n"
    assert at(lines, 30)[1].count("\n") == LEAST_LINES + 1  # it ends with a line, not within one


@given(st.integers(5, 60), st.integers(1, 300), st.integers(0, 299), st.integers(1, 6))
def test_windows_around_a_line_begin_with_its_own_and_differ(width: int, num: int, line: int, count: int) -> None:
    lines = (*["x" * width + "\n"] * (num - 1), "x")
    line = min(line, num - 1)
    ends = windows_around(lines, line, 1000, count)
    assert ends[0] == window_end(lines, line, 1000)
    assert len(set(ends)) == len(ends) <= count
    assert all(0 <= end < num for end in ends)
    if count == 6 and num < 60 and width < 60:
        assert max(ends) == num - 1


def at(lines: list[str], line: int, column: int = 0) -> tuple[str, str]:
    snapshot, cursor = snapshot_of("\n".join(lines)), Cursor(line, column)
    least = least_around(snapshot, cursor)
    cut = cut_around(snapshot, cursor, prefix_chars=9999, suffix_chars=9999)
    begin = len(cut.prefix) - least.prefix_chars
    assert begin == 0 or cut.prefix[begin - 1] == "\n"
    return cut.prefix[begin:], cut.suffix[: least.suffix_chars]


def test_the_block_and_ten_lines_on_each_side_are_read_in_any_case() -> None:
    above, below = at(CODE, 20, 8)
    assert above.startswith("class Second:\n")
    assert above.endswith("        ")
    assert below.count("\n") == LEAST_LINES + 1
    assert at(CODE, 3)[0] == "\n".join(CODE[:3]) + "\n"
    assert at(CODE, 35)[1] == "        c = 3"


@given(st.lists(st.integers(0, 3), min_size=30, max_size=60), st.data())
def test_what_is_read_in_any_case_begins_where_it_did_while_a_line_is_typed(
    depths: list[int], data: st.DataObject
) -> None:
    lines = [" " * 4 * depth + f"value_{number} = 1" for number, depth in enumerate(depths)]
    line = data.draw(st.integers(0, len(lines) - 1))
    indent = 4 * depths[line]
    prefixes = {at(lines, line, column)[0][: -column or None] for column in range(indent + 1, len(lines[line]) + 1)}
    assert len(prefixes) == 1
    assert prefixes.pop().count("\n") >= min(line, LEAST_LINES)


@given(st.integers(5, 60), st.integers(30, 200), st.integers(0, 199))
def test_a_window_is_one_beginning_for_all_of_its_lines(width: int, num_lines: int, line: int) -> None:
    lines = [*["x" * width + "\n"] * (num_lines - 1), "x"]
    line = min(line, num_lines - 1)
    end = window_end(tuple(lines), line, 1000)
    assert line <= end < num_lines
    snapshot = snapshot_of("".join(lines))
    ends = {
        num_above - cut_around(snapshot, Cursor(num_above, 0), prefix_chars=1000, suffix_chars=0).prefix.count("\n")
        for num_above in (line, end)
    }
    assert len(ends) == 1


class Reader:
    def __init__(self, speed: float) -> None:
        self.settings = Settings()
        self.engine: Any = self
        self.health = Health(status="ready", read_tokens_per_s=speed)


def files(text: str) -> tuple[ContextFile, ...]:
    return (ContextFile(path="a.py", text=text),)


@pytest.mark.parametrize(("speed", "is_steady"), [(0.0, False), (1e6, False), (300.0, True)])
def test_the_context_stays_where_reading_another_takes_long(speed: float, is_steady: bool) -> None:
    now = 0.0
    steady, reader = SteadyContext(lambda: now), Reader(speed)
    assert steady.files("a", (), reader) == ()  # perhaps it isn't gathered yet
    assert steady.files("a", files("one"), reader) == files("one")
    assert steady.files("a", files("two"), reader) == files("one" if is_steady else "two")
    if not is_steady:
        return
    assert steady.files("b", files("two"), reader) == files("two")
    assert steady.to_read("a", files("two")) == files("one")
    now = STEADY_S + 1
    assert steady.to_read("a", files("two")) == files("two")
    assert steady.files("a", files("three"), reader) == files("one")  # until it was read
    steady.hold("a", files("two"))
    assert steady.files("a", files("three"), reader) == files("two")
    steady.forget()
    assert steady.files("a", files("three"), reader) == files("three")


async def test_a_prefetch_is_given_up_where_the_cursor_has_gone_elsewhere() -> None:
    async def parts() -> AsyncGenerator[Part, None]:
        yield Delta("t")
        await asyncio.Event().wait()

    snapshot, in_flight = snapshot_of("x = \ny = \n"), InFlight()
    here, elsewhere = (cursor_context(snapshot, Cursor(line, 4)) for line in (0, 1))
    in_flight.start_prefetch(here, "line", parts(), Settling(here, "line"))
    in_flight.leave(here, "line")
    assert in_flight.joinable(here) is not None
    in_flight.leave(elsewhere, "line")
    assert in_flight.joinable(here) is None
    await asyncio.sleep(0)
    assert in_flight._ahead is None


@pytest.mark.parametrize("at_column", [0, 8])
def test_headers_of_the_blocks_around_are_told_however_far_above(at_column: int) -> None:
    body = [f"        value_{number} = {number}" for number in range(60)]
    other = ["    def other(self):", "        return 1", ""]
    head = ["import os", "", "class Shelf:", *other, "    def add(", "        self, book", "    ) -> None:"]
    lines = [*head, *body[:50], "", *body[50:]]
    line = len(lines) - 1 if at_column else len(head) + 50  # an empty line counts as the one before
    cursor = Cursor(line, at_column)
    snapshot = snapshot_of("\n".join(lines))
    least = least_around(snapshot, cursor)
    prefix = cut_around(snapshot, cursor, prefix_chars=10**6, suffix_chars=100).prefix
    found = [prefix[len(prefix) - begin : len(prefix) - end] for begin, end in least.headers]
    assert found == ["class Shelf:\n", "    def add(\n        self, book\n    ) -> None:\n"]
    assert 10 <= prefix[len(prefix) - least.nearest_chars :].count("\n") <= least.prefix_chars
    assert least.nearest_chars <= least.prefix_chars


def test_headers_that_stand_among_the_nearest_lines_are_not_told_again() -> None:
    lines = ["def near():", *(f"    value_{number} = {number}" for number in range(6))]
    assert least_around(snapshot_of("\n".join(lines)), Cursor(6, 0)).headers == ()
