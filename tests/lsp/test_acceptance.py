"""How much of what was taken is still there a while later."""

from __future__ import annotations

import pytest
from lsprotocol import types

from lsp_server import session
from lsp_server.completion.acceptance import ShownItems
from lsp_server.completion.items import make_item
from lsp_server.documents.store import Cursor, DocumentStore
from tests.lsp.raw_client import URI, did_change, did_open, inline, request
from tests.lsp.test_bounds import answer, served


@pytest.mark.parametrize(
    ("later", "num_kept"),
    [
        ("def f():\n    a = 1\n    return a\n", 17),
        ("def f():\n        a = 1\n        return a\n", 17),
        ("def f():\n    return a\n", 11),
        ("def f():\n    b = 2\n", 0),
    ],
)
def test_kept_characters_are_counted_by_lines(later: str, num_kept: int) -> None:
    store, offers = DocumentStore("utf-16"), ShownItems("name")
    store.open(types.TextDocumentItem(uri=URI, language_id="python", version=1, text="def f():\n    "))
    snapshot = store.snapshot(URI)
    assert snapshot is not None
    offers.show(snapshot, [make_item("a = 1\n    return a", snapshot, Cursor(1, 4))])
    taken = offers.changed(URI, ["def f():\n", "    a = 1\n", "    return a\n", ""])
    assert taken is not None
    assert taken.num_accepted == 18
    offers.look_at_kept(taken, later.splitlines(keepends=True))
    figures = offers.figures()
    assert figures["lookedAtChars"] == 18
    assert abs(figures["keptChars"] - num_kept) <= 2  # blanks are shared out


async def test_what_was_taken_is_looked_at_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "KEPT_AFTER_S", 0.0)
    async with served() as editor:
        editor.send(did_open("x = "), inline(1, 0, 4))
        while not (await answer(editor, 1))["result"]["items"]:  # type: ignore[index]
            editor.answers.pop(1)
            editor.send(inline(1, 0, 4))
        editor.send(did_change(2, "value + other", (0, 4), (0, 4)))
        for number in range(10, 1000):
            editor.send(request(number, "workspace/executeCommand", {"command": "tabcast.server.stats"}))
            stats: dict[str, int] = (await answer(editor, number))["result"]  # type: ignore[assignment]
            if stats["lookedAtChars"]:
                break
        assert (stats["accepted"], stats["lookedAtChars"], stats["keptChars"]) == (1, 13, 13)
