"""Trigger kinds 0, 1 and 2: what a client means is learnt from what it sends."""

from __future__ import annotations

import pytest

from lsp_server.rpc.client_quirks import AUTOMATIC, BY_HAND, TriggerDialect


class Client:
    """Sends kinds, each so many seconds after a change; a space of time passes before the next change."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.dialect = TriggerDialect(lambda: self.now_s)

    def ask(self, kind: object, after_s: float = 0.05) -> object:
        self.now_s += 5
        self.dialect.changed()
        self.now_s += after_s
        return self.dialect.meant(kind)


@pytest.mark.parametrize(
    ("kinds", "meant"),
    [
        ([2, 2, 1, 2, 1], [2, 2, 1, 2, 1]),  # the standard
        ([2, 1, 1, 1, 1, 1], [2, 1, 1, 1, 1, 1]),  # many by hand
        ([1, 0, 1, 1], [1, 1, 2, 2]),  # one of the proposals, by hand once
        ([1, 1, 1, 1], [1, 1, 2, 2]),  # the same, never by hand
        ([1, 1, 1, 2, 1], [1, 1, 2, 2, 1]),  # a quick hand, then by itself
        ([9, None, "1", {}], [9, None, "1", {}]),  # refused elsewhere
    ],
)
def test_kinds_right_behind_a_key(kinds: list[object], meant: list[object]) -> None:
    client = Client()
    assert [client.ask(kind) for kind in kinds] == meant


def test_a_hand_is_slower_than_an_editor() -> None:
    client = Client()
    assert [client.ask(1, after_s=1.0) for _ in range(5)] == [BY_HAND] * 5
    assert [client.ask(1, after_s) for after_s in (0.1, 0.1, 1.0, 0.1, 0.1)] == [BY_HAND] * 5


def test_other_signs_of_an_old_client_count() -> None:
    client = Client()
    client.dialect.counts_from_0()
    assert [client.ask(kind) for kind in (1, 0)] == [AUTOMATIC, BY_HAND]
