"""When the draft model is asked by default; asked or not, the text is the same (test_lossless)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from decoding.complete import Session
from decoding.models.pair import ModelSet
from decoding.policy import is_draft_worth_it


@pytest.mark.parametrize(("draft_ms", "target_ms", "worth"), [(1.0, 10.0, True), (3.0, 8.0, False), (0.2, 20.0, True)])
def test_a_dear_draft_is_not_asked(draft_ms: float, target_ms: float, worth: bool) -> None:
    assert is_draft_worth_it(draft_ms, target_ms) == worth


def test_auto_asks_who_is_worth_it(llama: ModelSet) -> None:
    for draft_ms, expected in ((0.1, ["lookup", "draft"]), (9.0, ["lookup"])):
        session = Session(replace(llama, target_ms=10.0, draft_ms=draft_ms))
        assert [drafter.name for drafter in session.drafters("auto")] == expected
        assert [drafter.name for drafter in session.drafters("draft")] == ["draft"]


def test_steps_are_timed_at_loading(llama: ModelSet) -> None:
    assert llama.target_ms > 0
    assert llama.draft_ms > 0
