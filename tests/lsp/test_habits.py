"""What is learnt from suggestions that are accepted and passed over: it moves the bound, within limits."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsprotocol import types

from lsp_server.completion.acceptance import SEEN_S, ShownItem, ShownItems
from lsp_server.completion.eagerness import bound_for, place_of
from lsp_server.completion.habits import MAX_PLACES, MAX_SHIFT, Habits, Place, habits_file
from lsp_server.completion.items import make_item
from lsp_server.documents.store import Cursor, DocumentStore, Snapshot
from lsp_server.settings import Settings
from tests.lsp.conftest import FakeRuntime, Servers
from tests.lsp.places import place_at
from tests.lsp.raw_client import URI, RawClient, did_change, did_open, inline, notification

LINE_END = Place("python", "line end")


def noted(habits: Habits, num_accepted: int, num_passed: int, place: Place = LINE_END) -> Habits:
    for _ in range(num_accepted):
        habits.note(place, is_accepted=True)
    for _ in range(num_passed):
        habits.note(place, is_accepted=False)
    return habits


def test_who_accepts_little_sees_surer_suggestions_there_and_only_there(tmp_path: Path) -> None:
    habits = noted(Habits(tmp_path / "habits.json"), 0, 60)
    assert habits.shift(LINE_END) > 0
    assert habits.shift(Place("go", "line end")) == habits.shift(Place("python", "comment")) == 0
    assert noted(Habits(tmp_path / "habits.json"), 60, 0).shift(LINE_END) < 0


def test_a_few_outcomes_move_little_and_what_is_aimed_at_nothing() -> None:
    assert 0 < noted(Habits(), 0, 2).shift(LINE_END) < 0.25
    steady = Habits()
    for _ in range(30):
        noted(steady, 1, 1)
    assert abs(steady.shift(LINE_END)) < 0.1


@given(st.lists(st.booleans(), max_size=300))
def test_the_effect_is_bounded_whatever_the_user_does(outcomes: list[bool]) -> None:
    habits = Habits()
    for is_accepted in outcomes:
        habits.note(LINE_END, is_accepted=is_accepted)
    assert abs(habits.shift(LINE_END)) <= MAX_SHIFT
    assert 0.13 < bound_for(Settings(), habits, LINE_END) < 0.55


def test_only_the_setting_auto_follows_habits() -> None:
    habits = noted(Habits(), 0, 60)
    for eagerness in ("low", "medium", "high"):
        settings = Settings(eagerness=eagerness)  # type: ignore[arg-type]
        assert bound_for(settings, habits, LINE_END) == bound_for(settings, Habits(), LINE_END)
    assert bound_for(Settings(), habits, LINE_END) > Settings().min_confidence


def test_two_windows_write_one_file(tmp_path: Path) -> None:
    file = tmp_path / "data" / "habits.json"
    one, other = Habits(file), Habits(file)
    noted(one, 3, 0).save()
    noted(other, 0, 5).save()
    again = Habits(file)
    again.load()
    assert again.figures() == other.figures()
    assert again.figures()["python line end"]["passedOver"] == pytest.approx(4.9, abs=0.1)
    assert again.figures()["python line end"]["accepted"] == pytest.approx(2.8, abs=0.1)
    assert file.stat().st_mode & 0o077 == 0 or os.name == "nt"


def test_the_file_is_bounded_and_holds_no_text(tmp_path: Path) -> None:
    habits = Habits(tmp_path / "habits.json")
    for number in range(MAX_PLACES + 50):
        habits.note(Place(f"language{number}" + "x" * 500, "comment"), is_accepted=True)
    habits.save()
    assert len(habits.figures()) == MAX_PLACES
    assert (tmp_path / "habits.json").stat().st_size < 32_000
    assert "language249" in list(habits.figures())[-1]


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{", b'{"a": 1}', b'{"a": [1]}', b'{"a": [-1, 0]}', b'{"a": [1e99, 0]}', b"\xff", b"[" * 100_000],
)
def test_a_damaged_file_counts_as_missing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "habits.json").write_bytes(content)
    habits = Habits(tmp_path / "habits.json")
    habits.load()
    assert habits.figures() == {}
    noted(habits, 1, 0).save()
    assert json.loads((tmp_path / "habits.json").read_text()) == {"python line end": [1.0, 0.0]}


KINDS = [
    ("x = |", "line end"),
    ("x = 1\n|", "empty line"),
    ("f(|, b)", "in mid-line"),
    ("x = 1  # the |", "comment"),
    ('def f():\n    """The |', "docstring"),
    ("x = 'the |", "string"),
]


@pytest.mark.parametrize(("text", "kind"), KINDS)
def test_kinds_of_places(text: str, kind: str) -> None:
    assert place_of(place_at(text), "python") == Place("python", kind)


class Shown:
    """One suggestion that a user sees for a while, and what the user does then."""

    def __init__(self, document: str, cursor: Cursor, text: str, seen_s: float = SEEN_S) -> None:
        self.now_s, self.decided = 100.0, []  # type: ignore[var-annotated]
        self.offers = ShownItems("name", self._note, lambda: self.now_s)
        self.snapshot = self._snapshot(document)
        self.offers.show(self.snapshot, [make_item(text, self.snapshot, cursor)], LINE_END)
        self.now_s += seen_s

    def _note(self, offer: ShownItem, is_accepted: bool) -> None:
        assert offer.about == LINE_END
        self.decided.append(is_accepted)

    def _snapshot(self, document: str) -> Snapshot:
        store = DocumentStore("utf-16")
        store.open(types.TextDocumentItem(uri=URI, language_id="python", version=1, text=document))
        found = store.snapshot(URI)
        assert found is not None
        return found

    def then(self, document: str) -> list[bool]:
        self.offers.changed(URI, self._snapshot(document).lines)
        return self.decided


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("x = value + 1\ny\n", [True]),
        ("x = v\ny\n", []),  # it is typed, so far
        ("x = f\ny\n", [False]),
        ("x = \n\ny\n", [False]),  # Enter
        ("x = )\ny\n", []),  # an editor may have put it there
        ("x =\ny\n", []),  # deleting says nothing
        ("x = \nyz\n", []),
    ],
)
def test_what_counts_as_accepted_and_as_passed_over(document: str, expected: list[bool]) -> None:
    assert Shown("x = \ny\n", Cursor(0, 4), "value + 1").then(document) == expected


def test_what_was_not_there_long_enough_to_be_read_says_nothing() -> None:
    assert Shown("x = \n", Cursor(0, 4), "value", seen_s=SEEN_S / 2).then("x = f\n") == []


def test_a_decision_counts_once() -> None:
    shown = Shown("x = \n", Cursor(0, 4), "value + 1")
    shown.then("x = f\n")
    assert shown.then("x = fo\n") == [False]


async def run(client: RawClient, name: str, *arguments: Any) -> Any:
    asked = {"command": f"tabcast.server.{name}", "arguments": list(arguments)}
    return (await client.ask("workspace/executeCommand", asked))["result"]


async def test_what_is_dismissed_stays_away_from_its_place(client: RawClient, runtime: FakeRuntime) -> None:
    runtime.script("tail + 1")
    client.send(did_open("x = \ny = \n"), inline(1, 0, 4))
    (item,) = await client.items(1)
    await run(client, "rejected", *item["command"]["arguments"])
    await run(client, "rejected", "unknown")
    client.send(inline(2, 0, 4))
    assert await client.items(2) == []
    assert (await client.why())["detail"] == "it was dismissed here a moment ago"
    client.send(did_change(2, "t", (0, 4), (0, 4)), inline(3, 0, 5))
    assert await client.items(3) == []
    client.send(inline(4, 1, 4), inline(5, 0, 5, kind=1))
    assert await client.items(5)
    client.send(inline(6, 1, 4))
    assert await client.items(6)


async def test_acceptances_are_kept_for_the_next_start_and_forgotten_on_demand(
    servers: Servers, runtime: FakeRuntime, tmp_path: Path
) -> None:
    runtime.script("tail + 1")
    file = tmp_path / "habits.json"
    for number, expected in ((0, 1.0), (1, pytest.approx(2.0, abs=0.05))):
        client = await servers.start(TABCAST_HABITS=str(file))
        await client.initialize()
        await client.until_engine("ready")
        client.send(did_open("x = \n"), inline(1, 0, 4))
        await client.items(1)
        client.send(did_change(2, "tail + 1", (0, 4), (0, 4)))
        assert (await run(client, "stats"))["habits"]["python line end"]["accepted"] == expected
        if number:
            assert await run(client, "forgetHabits") == {"forgotten": 1, "problem": ""}
            assert (await run(client, "stats"))["habits"] == {}
        await client.close()
        assert file.exists() == (number == 0)


async def test_nothing_is_learnt_unless_the_setting_says_so(client: RawClient, runtime: FakeRuntime) -> None:
    runtime.script("tail + 1")
    client.send(notification("workspace/didChangeConfiguration", {"settings": {"tabcast": {"eagerness": "medium"}}}))
    client.send(did_open("x = \n"), inline(1, 0, 4))
    await client.items(1)
    client.send(did_change(2, "tail + 1", (0, 4), (0, 4)))
    assert (await run(client, "stats"))["habits"] == {}
    assert not habits_file().exists()


async def test_who_passes_everything_over_is_shown_less_and_why_says_so(
    servers: Servers, runtime: FakeRuntime, tmp_path: Path
) -> None:
    runtime.script("tail_of_it\n", log_probs=(-1.0, 0.0, 0.0))
    noted(Habits(tmp_path / "habits.json"), 0, 60).save()
    client = await servers.start(TABCAST_HABITS=str(tmp_path / "habits.json"))
    await client.initialize()
    await client.until_engine("ready")
    settings = {"tabcast": {"eagerness": "medium"}}
    client.send(did_open("x = \n"), notification("workspace/didChangeConfiguration", {"settings": settings}))
    client.send(inline(1, 0, 4))
    assert await client.items(1)
    settings = {"tabcast": {"eagerness": "auto"}}
    client.send(did_open("x = \n", uri=URI + "2.py"))
    client.send(notification("workspace/didChangeConfiguration", {"settings": settings}))
    client.send(inline(2, 0, 4, uri=URI + "2.py"))
    assert await client.items(2) == []
    why = await client.why()
    assert why["reason"] == "below confidence"
    assert "is wanted here" in why["detail"]
    await client.close()
