"""Next edits that a model writes: where its text rejoins, what is shown of it, and the wire with an engine's stub."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsp_server.documents.store import Cursor, split_lines
from lsp_server.edits.judge import edit_of, is_sure, why_unwanted
from lsp_server.edits.proposal import Change, applied, fits
from lsp_server.edits.rejoin import first_change
from lsp_server.edits.window import window_of
from tests.lsp.conftest import Servers
from tests.lsp.raw_client import URI, RawClient, did_change, did_open, notification
from tests.lsp.test_edits import Editor
from tests.lsp.test_edits_wire import ask_edit, edits

REGION = ("class Point:\n", "    def __init__(self, x, y, z):\n", "        self.x = x\n", "        self.y = y\n", "\n")
REGION += ("    def __repr__(self):\n", '        return f"Point({self.x})"\n')


def change_in(text: str, *, is_whole: bool = False) -> tuple[int, str, str] | None:
    found = first_change(REGION, text, is_whole=is_whole)
    return found and (found.first, "".join(found.old), "".join(found.new))


def text_of(*lines: str) -> str:
    return "".join(lines)


ADDED = "        self.z = z\n"


@pytest.mark.parametrize(
    ("text", "is_whole", "expected"),
    [
        (text_of(*REGION), True, None),
        (text_of(*REGION[:4], ADDED), False, None),  # it may go on
        (text_of(*REGION[:4], ADDED, *REGION[4:6]), False, (4, "", ADDED)),
        (text_of(*REGION[:4], ADDED, "\n", "    def __re"), False, None),  # a blank line tells nothing
        (text_of(*REGION[:3], "        self.b = y\n", *REGION[4:6]), False, (3, REGION[3], "        self.b = y\n")),
        (text_of(*REGION[:3], *REGION[4:6]), False, (3, REGION[3], "")),
        (text_of(*REGION[:6], "        return 1\n"), True, (6, REGION[6], "        return 1\n")),
        (text_of(*REGION[:6], "        return 1\n"), False, None),
        (text_of(*REGION[:4]), True, None),  # the end was left out
        (text_of(*REGION[:3], "        self.b = y\n"), True, None),
        ("Sure, here is the code:\n", False, None),
        ("", True, None),
    ],
)
def test_a_change_is_taken_once_the_text_has_rejoined(
    text: str, is_whole: bool, expected: tuple[int, str, str] | None
) -> None:
    assert change_in(text, is_whole=is_whole) == expected


@given(st.lists(st.sampled_from(["a b\n", "c d\n", "}\n", "\n", "e f\n"]), max_size=8), st.text("ab c}\n", max_size=30))
def test_a_change_is_a_part_of_the_region_and_of_what_was_written(region: list[str], text: str) -> None:
    for is_whole in (False, True):
        found = first_change(region, text, is_whole=is_whole)
        if found is None:
            continue
        assert tuple(region[found.first : found.end]) == found.old != found.new
        lines = split_lines("".join(("x\n", *region, "y\n")))
        edit = edit_of(found, 1, lines)
        assert edit is not None
        assert fits(edit, lines)
        new = [line.rstrip("\n") + "\n" for line in found.new]
        promised = ["x\n", *region[: found.first], *new, *region[found.end :], "y\n"]
        assert applied(edit, lines) == split_lines("".join(promised))


def test_an_edit_keeps_the_documents_line_ends_and_never_touches_an_open_end() -> None:
    lines = ["a\r\n", "b\r\n", "c"]
    edit = edit_of(Change(first=0, old=("b\n",), new=("b\n", "d\n")), 1, lines)
    assert edit is not None
    assert applied(edit, lines) == ["a\r\n", "b\r\n", "d\r\n", "c"]
    assert edit_of(Change(first=1, old=("c\n",), new=("c\n", "d\n")), 1, lines) is None


def unwanted(editor: Editor, first: int, old: str, new: str) -> str:
    change = Change(first=0, old=tuple(old.splitlines(keepends=True)), new=tuple(new.splitlines(keepends=True)))
    edit = edit_of(change, first, editor.snapshot.lines)
    assert edit is not None
    assert fits(edit, editor.snapshot.lines)
    question = editor.edits.question(editor.snapshot, Cursor(0, 0))
    return why_unwanted(edit, editor.snapshot.lines, "python", question.hunks)


def test_what_is_not_shown() -> None:
    editor = Editor("def load(a):\n    x = 1  # one\n    return a\n\n\nload(1)\n")
    editor.change("load(a)", "load(a, b)")
    assert unwanted(editor, 5, "load(1)\n", "load(1, 2)\n") == ""
    assert unwanted(editor, 5, "load(1)\n", "load(1)\n\n") == "only blanks would change"
    assert unwanted(editor, 1, "    x = 1  # one\n", "    x = 1  # two\n") == "only a comment would change"
    assert unwanted(editor, 5, "load(1)\n", "load(1)  # two\n") == "only a comment would change"
    assert unwanted(editor, 0, "def load(a, b):\n", "def load(a):\n") == "it takes back what was just changed"
    assert unwanted(editor, 5, "load(1)\n", "load(1)\n" + "a()\n" * 9) == "too much would change"


def test_only_the_tokens_of_the_change_count() -> None:
    region, text = ("a = 1\n", "b = 2\n", "c = 3\n"), "a = 1\nb = 9\nc = 3\n"
    change = Change(first=1, old=("b = 2\n",), new=("b = 9\n",))

    def sure(*log_probs: float) -> bool:
        sizes = (4, 1, 1, 6)  # behind the first line: "b = ", "9", the line's end, the last line
        return is_sure(text, change, region, "a = 1\n", tuple(zip(sizes, log_probs, strict=True)))

    assert sure(-9, -0.1, -9, -9)
    assert not sure(0, math.log(0.2), 0, 0)
    assert not sure(0, math.log(0.6), 0, 0)


def test_the_region_is_where_something_is_due_and_never_shows_a_secret() -> None:
    editor = Editor("def load():\n    pass\n" + "x = 1\n" * 60 + "load(1)\n")
    editor.change("load", "fetch")
    window = window_of(editor.edits.question(editor.snapshot, Cursor(0, 4)), "a.py")
    assert window is not None
    assert "load(1)\n" in window.region
    assert window.region[window.cursor.line] == "load(1)\n"
    secret = Editor('def load():\n    password = "hunter2hunter2"\n')
    secret.change("load", "fetch")
    assert window_of(secret.edits.question(secret.snapshot, Cursor(0, 4)), "a.py") is None
    far = Editor("def load():\n    pass\n" + "\n" * 10 + 'password = "hunter2hunter2"\n')
    far.change("load", "fetch")
    window = window_of(far.edits.question(far.snapshot, Cursor(0, 4)), "a.py")
    assert window is None or "hunter2" not in repr(window)


BEHIND = "\n    def name(self):\n        return 'p'\n"
TEXT = "class Point:\n    def __init__(self, x, y):\n        self.x = x\n        self.y = y\n" + BEHIND
HEAD = "    def __init__(self, x, y, z):\n"
REST = HEAD + "        self.x = x\n        self.y = y\n        self.z = z\n" + BEHIND
MODEL = "Qwen2.5-Coder-1.5B-Instruct"


@pytest.fixture
async def by_model(servers: Servers) -> AsyncIterator[RawClient]:
    servers.runtime.script(REST, weights=MODEL)
    client = await servers.start()
    await client.initialize(initializationOptions={"generateNextEdits": True, "readAhead": "never"})
    await client.until_engine("ready")
    yield client
    await client.close()


def asked_for_edits(servers: Servers) -> list[dict[str, Any]]:
    bodies = [event["body"] for event in servers.runtime.events("request")]
    return [body for body in bodies if body["tabcast"]["laid_out"]]


def added_parameter(uri: str = URI) -> list[dict[str, Any]]:
    return [did_open(TEXT, uri), did_change(2, ", z", (1, 27), (1, 27), uri)]


async def test_a_model_is_asked_where_no_rule_finds_anything(servers: Servers, by_model: RawClient) -> None:
    servers.runtime.script(REST, weights=MODEL, hold_after=len(REST) - 8)
    by_model.send(*added_parameter(), ask_edit(1, 1, 30))
    (edit,) = await edits(by_model, 1)
    assert (edit["text"], edit["range"]["start"]) == ("        self.z = z\n", {"line": 4, "character": 0})
    assert edit["range"]["end"] == edit["range"]["start"]
    await by_model.until(lambda: servers.runtime.events("cancelled"), "the end of the stream")
    (body,) = asked_for_edits(servers)
    assert body["tabcast"]["laid_out"][1] == "<|im_start|>"
    assert HEAD in body["prompt"]
    assert body["tabcast"]["proposal"].startswith(HEAD)
    assert body["tabcast"]["draft_texts"]
    why = await by_model.why()
    assert (why["reason"], why["detail"]) == ("edit", "by the model")


REASONS: list[tuple[dict[str, Any], str]] = [
    ({"text": REST.replace("        self.z = z\n", "")}, "the model changes nothing"),
    ({"text": "Sorry!\n" * 40}, "what the model wrote doesn't rejoin the text"),
    ({"text": REST[:60], "reason": "length"}, "the model changes nothing"),
    ({"text": REST, "log_probs": [-2.0] * 99}, "the model isn't sure enough"),
]


async def test_nothing_is_shown_and_the_reason_told_and_nothing_asked_that_is_off(
    servers: Servers, by_model: RawClient
) -> None:
    for number, (script, detail) in enumerate(REASONS, 1):
        servers.runtime.script(**script, weights=MODEL)
        uri = f"file:///work/project/{number}.py"
        by_model.send(*added_parameter(uri), ask_edit(number, 1, 30, uri=uri))
        assert await edits(by_model, number) == []
        why = await by_model.why()
        assert (why["reason"], why["detail"]) == ("nothing due", detail)
    for number, settings in enumerate(({"generateNextEdits": False}, {"nextEdits": False}), 11):
        by_model.send(notification("workspace/didChangeConfiguration", {"settings": {"tabcast": settings}}))
        uri = f"file:///work/project/{number}.py"
        by_model.send(*added_parameter(uri), ask_edit(number, 1, 30, uri=uri))
        assert await edits(by_model, number) == []
    assert len(asked_for_edits(servers)) == len(REASONS)


async def test_a_change_meanwhile_ends_the_work_and_the_edit_is_dropped(servers: Servers, by_model: RawClient) -> None:
    servers.runtime.script(REST, weights=MODEL, hold_after=4)
    by_model.send(*added_parameter(), ask_edit(1, 1, 30))
    await by_model.until(lambda: asked_for_edits(servers), "the question to the model")
    by_model.send(did_change(3, "w", (4, 0), (4, 0)), ask_edit(2, 1, 30, 3))
    assert await edits(by_model, 1) == []
    await by_model.until(lambda: servers.runtime.events("cancelled"), "the end of the stream")
    servers.runtime.release()
    await edits(by_model, 2)
