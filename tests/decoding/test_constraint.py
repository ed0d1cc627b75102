"""Token healing: what is taken back, what may follow, and that it changes nothing about losslessness."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoding.completion.completion import complete, prompt_tokens
from decoding.completion.sessions import Session
from decoding.models.loading.model_set import ModelSet
from decoding.protocol import CompletionOptions, CompletionRequest
from decoding.text.detokenize import token_bytes
from decoding.text.token_healing import Healing, TokenIndex, heal_prompt
from tests.tiny_models import TEXT, make_tokenizer

TOKENS = [b"", b"a", b"ab", b"abc", b"b", b"bc", b".", b".app", b".append", b" ", b"    ", b"        ", b"p", b"\n"]
INDEX = TokenIndex(TOKENS)


@pytest.mark.parametrize(
    ("last", "rest"),
    [(b".app", b".app"), (b".append", b""), (b"    ", b"    "), (b"        ", b""), (b"\n", b""), (b"a", b"a")],
)
def test_what_is_taken_back(last: bytes, rest: bytes) -> None:
    assert heal_prompt([1, TOKENS.index(last)], 1, INDEX) == rest


def test_nothing_before_the_anchor_and_no_special_token_is_taken_back() -> None:
    assert heal_prompt([1, TOKENS.index(b"a")], 0, INDEX) == b""
    assert heal_prompt([TOKENS.index(b"a")], 1, INDEX) == b""
    assert heal_prompt([1, 0], 1, INDEX) == b""


def names(ids: list[int] | None) -> set[bytes] | None:
    return None if ids is None else {TOKENS[i] for i in ids}


def test_what_may_follow() -> None:
    healing = Healing(INDEX, b"ab")
    assert names(healing.allowed_next([])) == {b"a", b"ab", b"abc"}
    assert names(healing.allowed_next([TOKENS.index(b"a")])) == {b"b", b"bc"}
    assert healing.allowed_next([TOKENS.index(b"ab")]) is None
    assert healing.allowed_next([TOKENS.index(b"abc")]) is None
    assert healing.allowed_next([TOKENS.index(b"a"), TOKENS.index(b"bc")]) is None


@given(text=st.text(max_size=8), data=st.data())
def test_any_allowed_path_writes_what_was_typed_first(text: str, data: st.DataObject) -> None:
    table = token_bytes(make_tokenizer())
    index = TokenIndex(table)
    rest = text.encode()
    healing, path = Healing(index, rest), list[int]()
    while (allowed := healing.allowed_next(path)) is not None:
        assert allowed
        path.append(data.draw(st.sampled_from(sorted(allowed))))
    assert b"".join(table[token_id] for token_id in path).startswith(rest)


def run(models: ModelSet, **fields: object) -> tuple[str, tuple[int, ...]]:
    options = CompletionOptions(**{key: fields.pop(key) for key in ("heal", "method") if key in fields})  # type: ignore[arg-type]
    request = CompletionRequest(max_tokens=24, tabcast=options, **fields)  # type: ignore[arg-type]
    pieces = list(complete(models, Session(models), request, prompt_tokens(models, request)))
    assert pieces[-1].stats is not None
    return "".join(piece.text for piece in pieces), pieces[-1].stats.token_ids


def test_the_answer_goes_on_from_what_was_typed_and_every_method_agrees(llama: ModelSet) -> None:
    rng = random.Random(0)
    healed = 0
    for _ in range(40):
        cut = rng.randrange(20, len(TEXT))
        prompt = TEXT[max(0, cut - 150) : cut]
        request = CompletionRequest(prompt=prompt, max_tokens=24)
        rest = prompt_tokens(llama, request).rest
        healed += bool(rest)
        assert prompt.encode().endswith(rest)
        for more in ({}, {"temperature": 0.8, "seed": 3}):
            text, token_ids = run(llama, prompt=prompt, method="plain", **more)
            written = b"".join(llama.index.token_bytes[token_id] for token_id in token_ids)
            assert written.startswith(rest)
            assert written[len(rest) :].decode(errors="replace").startswith(text)
            for method in ("lookup", "draft", "auto"):
                assert run(llama, prompt=prompt, method=method, **more) == (text, token_ids)
    assert 10 < healed < 40


def test_it_can_be_switched_off(llama: ModelSet) -> None:
    request = CompletionRequest(prompt="import o", max_tokens=8, tabcast=CompletionOptions(heal=False))
    assert prompt_tokens(llama, request).rest == b""
