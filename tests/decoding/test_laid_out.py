"""A prompt that its caller laid out: only the names of special tokens become such, and nothing of it is cut."""

from __future__ import annotations

import pytest

from decoding.completion.completion import complete, prompt_tokens
from decoding.completion.sessions import Session
from decoding.errors import RequestError
from decoding.models.loading.model_set import ModelSet
from decoding.protocol import CompletionOptions, CompletionRequest

TEXT = "def add(a, b):\n    return a + b\n"


def laid_out(*parts: str, **more: object) -> CompletionRequest:
    options = CompletionOptions(laid_out=parts, heal=False, **more)  # type: ignore[arg-type]
    return CompletionRequest(prompt="".join(parts), max_tokens=16, tabcast=options)


def test_names_become_tokens_and_texts_stay_texts(llama: ModelSet) -> None:
    (name, token_id) = next(iter(llama.layout.ids.items()))
    ids = prompt_tokens(llama, laid_out(TEXT, name, TEXT)).ids
    assert ids == [*llama.layout.begin_ids, *llama.encode(TEXT), token_id, *llama.encode(TEXT)]
    assert token_id not in prompt_tokens(llama, laid_out(TEXT + name + TEXT)).ids
    unknown = prompt_tokens(llama, laid_out(TEXT, "<|no such token|>", TEXT)).ids
    assert unknown == [*llama.encode(TEXT), *llama.encode("<|no such token|>"), *llama.encode(TEXT)]
    assert prompt_tokens(llama, laid_out("")).ids


def test_one_that_does_not_fit_is_refused_and_never_cut(llama: ModelSet) -> None:
    with pytest.raises(RequestError, match="this model has room for"):
        prompt_tokens(llama, laid_out(TEXT * 4_000))


def test_the_answer_is_the_same_with_a_draft_of_it(llama: ModelSet) -> None:
    name = next(iter(llama.layout.ids))

    def answer(proposal: str) -> tuple[str, int]:
        request = laid_out("", name, TEXT, proposal=proposal, method="lookup")
        *pieces, last = complete(llama, Session(llama), request, prompt_tokens(llama, request))
        assert last.stats is not None
        return "".join(piece.text for piece in (*pieces, last)), last.stats.steps

    text, steps = answer("")
    again, fewer = answer(text)
    assert (again, fewer < steps) == (text, True)


def test_it_goes_over_the_wire() -> None:
    request = laid_out("a", "<|im_end|>", "b")
    assert CompletionRequest.from_json(request.to_json()) == request
