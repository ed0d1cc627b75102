"""Where and when suggestions stay away: kinds of text, eagerness, snooze."""

from __future__ import annotations

from typing import Any

import pytest

from lsp_server.completion.eagerness import bound_for, place_of, shifted
from lsp_server.completion.habits import Habits
from lsp_server.completion.trigger import disabled_scope
from lsp_server.settings import Settings
from tests.lsp.conftest import FakeRuntime
from tests.lsp.places import place_at
from tests.lsp.raw_client import URI, RawClient, did_open, inline, notification

SCOPES = [
    ("python", "x = 1  # the |", "comment"),
    ("python", "x = 1|", ""),
    ("python", "x = 'it |", "string"),
    ("python", "x = 'it'|", ""),
    ("python", 'def f():\n    """Return |', "docstring"),
    ("python", 'def f():\n    """Return it.\n\n    |', "docstring"),
    ("python", 'def f():\n    """Return it."""\n    |', ""),
    ("python", 'x = """SELECT |', "string"),
    ("python", 'f(\n    """SELECT |', "string"),
    ("javascript", "f(); // then |", "comment"),
    ("javascript", "/* the |", "comment"),
    ("javascript", "/**\n * The |", "comment docstring"),
    ("javascript", "const a = `it |", "string"),
    ("rust", "/// The |", "comment docstring"),
    ("lua", "-- the |", "comment"),
    ("shellscript", "echo one # two |", "comment"),
    ("html", "<!-- the |", "comment"),
    ("sql", "select 1 -- the |", "comment"),
    ("elixir", '  @doc """\n  The |', "docstring"),
    ("markdown", "The |", ""),
]


@pytest.mark.parametrize(("language", "text", "expected"), SCOPES)
def test_the_kinds_of_text_that_can_be_turned_off(language: str, text: str, expected: str) -> None:
    found = [s for s in ("comment", "docstring", "string") if disabled_scope(place_at(text), language, (s,))]
    assert " ".join(found) == expected


def test_a_kind_of_text_can_be_turned_off_in_one_language() -> None:
    place = place_at("x = 1  # the |")
    assert disabled_scope(place, "Python", ("string", "python:comment")) == "python:comment"
    assert disabled_scope(place, "ruby", ("python:comment",)) == ""


async def configure(client: RawClient, **settings: Any) -> None:
    client.send(notification("workspace/didChangeConfiguration", {"settings": {"tabcast": settings}}))


async def run(client: RawClient, name: str, *arguments: Any) -> Any:
    asked = {"command": f"tabcast.server.{name}", "arguments": list(arguments)}
    return (await client.ask("workspace/executeCommand", asked))["result"]


async def test_a_disabled_scope_gets_something_only_by_hand(client: RawClient, runtime: FakeRuntime) -> None:
    runtime.script(" tail of it")
    await configure(client, disabledScopes=["comment"])
    client.send(did_open("x = 1  # the\n"), inline(1, 0, 12))
    assert await client.items(1) == []
    why = await client.why()
    assert (why["reason"], why["detail"]) == ("disabled", "the setting disabledScopes has comment")
    assert runtime.events("request") == []
    client.send(inline(2, 0, 12, kind=1))
    assert await client.items(2)


async def test_a_snooze_is_the_reason_until_it_ends(client: RawClient, runtime: FakeRuntime) -> None:
    runtime.script("tail")
    assert await run(client, "snooze") == {"minutes": 5}
    client.send(did_open("x = \n"), inline(1, 0, 4))
    assert await client.items(1) == []
    why = await client.why()
    assert (why["reason"], why["detail"]) == ("snoozed", "suggestions are snoozed for 5 more minutes")
    assert (why["status"]["state"], why["status"]["message"]) == ("off", "suggestions are snoozed")
    client.send(inline(2, 0, 4, kind=1))
    assert len(await client.items(2)) == 1
    assert await run(client, "snooze", 0) == {"minutes": 0}
    client.send(inline(3, 0, 4))
    assert len(await client.items(3)) == 1


async def test_a_snooze_ends_by_itself_and_by_turning_suggestions_on(client: RawClient, runtime: FakeRuntime) -> None:
    runtime.script("tail")
    client.send(did_open("x = \n"))
    assert await run(client, "snooze", 0.001) == {"minutes": 1}
    number = 10
    client.send(inline(number, 0, 4))
    while not await client.items(number):
        number += 1
        client.send(inline(number, 0, 4))
    assert await run(client, "snooze", "much") == {"minutes": 5}
    await run(client, "toggle", True)
    client.send(inline(2, 0, 4))
    assert len(await client.items(2)) == 1
    assert (await client.why())["requests"][0]["document"] == URI.rpartition("/")[2]


@pytest.mark.parametrize(("bound", "shift", "expected"), [(0.3, 0, 0.3), (0, 1, 0), (1, -1, 1), (0.5, 0.0, 0.5)])
def test_a_bound_is_shifted_between_its_ends(bound: float, shift: float, expected: float) -> None:
    assert shifted(bound, shift) == pytest.approx(expected)


def test_who_is_eager_sees_less_sure_suggestions() -> None:
    place, habits = place_of(place_at("x|"), "python"), Habits()
    low, medium, high = (bound_for(Settings(eagerness=name), habits, place) for name in ("low", "medium", "high"))
    assert 0 < high < medium == Settings().min_confidence < low < 1
