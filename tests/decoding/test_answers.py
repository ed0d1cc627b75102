"""One request's answers: scores that fit the text, different candidates, seeds; the same by every method."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import pytest
import torch

from decoding.completion.answer import _Unshown
from decoding.completion.completion import Chunk, complete_choices, prompt_tokens, with_seed
from decoding.completion.sessions import Session
from decoding.models.loading.model_set import ModelSet
from decoding.protocol import CompletionOptions, CompletionRequest, ScoredToken, logprobs_to_json
from tests.tiny_models import TEXT

PROMPT = TEXT[:180]


def ask(models: ModelSet, session: Session | None = None, **fields: Any) -> dict[int, list[Chunk]]:
    """Pieces of each answer."""
    names = CompletionOptions.__slots__
    options = CompletionOptions(**{key: fields.pop(key) for key in names if key in fields})
    request = with_seed(CompletionRequest(**{"prompt": PROMPT, "max_tokens": 24, **fields}, tabcast=options))
    found: dict[int, list[Chunk]] = {}
    for choice, piece in complete_choices(models, session or Session(models), request, prompt_tokens(models, request)):
        found.setdefault(choice, []).append(piece)
    return {choice: pieces for choice, pieces in found.items() if pieces[-1].stats}


def text_of(pieces: list[Chunk]) -> str:
    return "".join(piece.text for piece in pieces)


def tokens_of(pieces: list[Chunk]) -> list[ScoredToken]:
    return [token for piece in pieces for token in piece.tokens]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_scores_belong_to_the_text_and_every_method_gives_the_same(llama: ModelSet, temperature: float) -> None:
    rng = random.Random(2)
    for _ in range(6):
        cut = rng.randrange(20, len(TEXT))
        stop = rng.choice([(), (" ",), ("e", "\n")])
        fields = {"prompt": TEXT[max(0, cut - 150) : cut], "logprobs": 3, "stop": stop, "seed": 5}
        found = {}
        for method in ("plain", "lookup", "draft", "auto"):
            (pieces,) = ask(llama, temperature=temperature, method=method, **fields).values()
            tokens = tokens_of(pieces)
            assert "".join(token.text for token in tokens) == text_of(pieces)
            found[method] = (text_of(pieces), tokens)
        assert found["plain"] == found["lookup"] == found["draft"] == found["auto"]
        for token in found["plain"][1]:
            assert token.logprob <= 1e-9
            assert len(token.likeliest) == 3
            assert [p for _, p in token.likeliest] == sorted((p for _, p in token.likeliest), reverse=True)
            if temperature == 0:
                assert token.logprob == pytest.approx(token.likeliest[0][1])


def test_scores_are_the_models_own(llama: ModelSet) -> None:
    """The sum over an answer equals that of teacher forcing its tokens."""
    (pieces,) = ask(llama, temperature=1.0, seed=1, confidence=True, heal=False).values()
    assert pieces[-1].stats is not None
    answer_ids = list(pieces[-1].stats.token_ids)
    request = CompletionRequest(prompt=PROMPT, max_tokens=24, tabcast=CompletionOptions(heal=False))
    prompt_ids = prompt_tokens(llama, request).ids
    cache, total = llama.target.new_cache(), 0.0
    sequence = [*prompt_ids, *answer_ids]
    for i, token_id in enumerate(sequence[:-1]):
        logits = llama.target.step([token_id], cache)[-1].double()
        cache.commit([token_id])
        if i + 1 >= len(prompt_ids):
            total += float(logits.log_softmax(-1)[sequence[i + 1]])
    assert sum(token.logprob for token in tokens_of(pieces)) == pytest.approx(total, abs=0.3)


def test_nothing_is_scored_unless_asked_for(llama: ModelSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("decoding.completion.answer.score", lambda *_: 1 / 0)
    (pieces,) = ask(llama).values()
    assert tokens_of(pieces) == []
    with pytest.raises(ZeroDivisionError):
        ask(llama, confidence=True)


@pytest.mark.parametrize(
    ("texts", "shown", "last", "expected"),
    [
        (["ab", "cd"], [2, 2], 0, [["ab"], ["cd"], []]),
        (["ab", "cd"], [1, 1], 2, [[], ["ab"], ["cd"]]),  # held back
        (["", "é"], [0, 1], 0, [[""], ["é"], []]),  # the first ends inside a character
        (["abc"], [2], 0, [[], ["ab"]]),  # cut by a stop text
        (["ab", "STOP"], [2, 0], 0, [["ab"], [], []]),
        (["ab", "cST", "OP"], [2, 0, 1], 0, [["ab"], [], [], ["c"]]),
    ],
)
def test_tokens_come_with_the_text_that_completes_them(
    texts: list[str], shown: list[int], last: int, expected: list[list[str]]
) -> None:
    unshown, found = _Unshown(), []
    for text, num_shown in zip(texts, shown, strict=True):
        unshown.put(ScoredToken(text=text, logprob=0.0))
        found.append([token.text for token in unshown.take(num_shown, is_end=False)])
    found.append([token.text for token in unshown.take(last, is_end=True)])
    assert found == expected
    assert unshown.take(0, is_end=True) == ()


def test_offsets_are_openais() -> None:
    tokens = [ScoredToken(text=text, logprob=-0.5, likeliest=((text, -0.5),)) for text in ("ab", "", "c")]
    assert logprobs_to_json(tokens, 10) == {
        "tokens": ["ab", "", "c"],
        "token_logprobs": [-0.5] * 3,
        "top_logprobs": [{"ab": -0.5}, {"": -0.5}, {"c": -0.5}],
        "text_offset": [10, 12, 12],
    }


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_candidates_differ_share_the_prefill_and_are_the_same_by_every_method(
    llama: ModelSet, temperature: float
) -> None:
    plain = ask(llama, n=4, temperature=temperature, seed=3, method="plain")
    texts = [text_of(pieces) for pieces in plain.values()]
    assert len(set(texts)) == len(texts) == 4
    assert sum(piece.num_prefilled for piece in plain[0]) > 40
    assert all(sum(piece.num_prefilled for piece in plain[i]) <= 1 for i in (1, 2, 3))
    drafted = ask(llama, n=4, temperature=temperature, seed=3, method="auto")
    assert [text_of(pieces) for pieces in drafted.values()] == texts
    assert texts[0] == text_of(ask(llama, temperature=temperature, seed=3)[0])


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_one_of_several_answers_can_be_asked_for_by_itself(llama: ModelSet, temperature: float) -> None:
    texts = {number: text_of(pieces) for number, pieces in ask(llama, n=3, temperature=temperature, seed=3).items()}
    assert len(set(texts.values())) == 3
    for number, text in texts.items():
        (alone,) = ask(llama, choice=number, temperature=temperature, seed=3, method="auto").values()
        assert text_of(alone) == text


def test_duplicates_are_left_out_and_tries_are_bounded(llama: ModelSet) -> None:
    """At a tiny temperature every answer is the likeliest one."""
    runs = 0
    step = llama.target.step

    def counted(*arguments: Any) -> torch.Tensor:
        nonlocal runs
        runs += 1
        return step(*arguments)

    llama.target.step = counted  # type: ignore[method-assign]
    try:
        found = ask(llama, n=3, temperature=1e-4, seed=1, max_tokens=4, method="plain")
    finally:
        llama.target.step = step  # type: ignore[method-assign]
    assert list(found) == [0]
    assert runs < 50


def test_seeds_and_streams_do_not_collide(llama: ModelSet) -> None:
    """The second answer at one seed is not the first at the next."""
    texts = [text_of(pieces) for seed in range(4) for pieces in ask(llama, n=2, temperature=1.5, seed=seed).values()]
    assert len(set(texts)) == 8


def test_a_seed_is_drawn_and_told(llama: ModelSet) -> None:
    request = CompletionRequest(prompt=PROMPT, temperature=1.0)
    seeds = {with_seed(request).seed for _ in range(5)}
    assert len(seeds) == 5
    assert with_seed(replace(request, temperature=0.0)).seed is None
    (pieces,) = ask(llama, temperature=1.0).values()
    assert pieces[-1].stats is not None
    seed = pieces[-1].stats.seed
    assert seed is not None
    assert 0 <= seed < 2**53
    assert text_of(ask(llama, temperature=1.0, seed=seed)[0]) == text_of(pieces)
    (greedy,) = ask(llama).values()
    assert greedy[-1].stats is not None
    assert greedy[-1].stats.seed is None


def test_probabilities_of_a_healed_token_are_given_what_was_typed(llama: ModelSet) -> None:
    prompt = "import o"
    rest = prompt_tokens(llama, CompletionRequest(prompt=prompt, max_tokens=8)).rest
    assert rest
    (pieces,) = ask(llama, prompt=prompt, max_tokens=8, logprobs=5).values()
    first = tokens_of(pieces)[0]
    possible = [p for _, p in first.likeliest if p > -math.inf]
    assert sum(math.exp(p) for p in possible) <= 1 + 1e-9
    assert first.logprob == max(possible)
