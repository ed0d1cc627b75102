"""Huge requests: the tokenizer's work is bounded, and whatever fits is laid out as if it were not."""

from __future__ import annotations

import re

import pytest

from decoding.protocol import CompletionOptions, CompletionRequest, ContextFile
from decoding.text import prompt_layout
from decoding.text.prompt_layout import Layout, build_prompt, find_layout
from tests.tiny_models import make_tokenizer

BUDGET = 400
HUGE = 4_000_000


class Encoder:
    """A token for each character, for each run of up to 200 spaces, and for each long name; counts what it reads."""

    def __init__(self) -> None:
        self.num_characters = 0

    def __call__(self, text: str) -> list[int]:
        self.num_characters += len(text)
        return [hash(token) % 1000 for token in re.findall(r" {1,200}|x{1,50}|.|\n", text)]


@pytest.fixture(params=["prefix_first", "suffix_first", "none"])
def layout(request: pytest.FixtureRequest) -> Layout:
    vocabulary = make_tokenizer().get_vocab()
    return find_layout(vocabulary, {"fim_order": request.param}, [0])


def request_of(prompt: str, suffix: str = "", *context: str) -> CompletionRequest:
    files = tuple(ContextFile(path=f"{i}.py", text=text) for i, text in enumerate(context))
    return CompletionRequest(prompt=prompt, suffix=suffix, tabcast=CompletionOptions(path="a.py", context=files))


WORDS = "ab cd\n"
CASES = {
    "all of it fits": (WORDS * 10, WORDS * 5, WORDS * 2),
    "few tokens of many characters fit": (" " * 20_000 + "\nreturn", " " * 10_000, " " * 9_000),
    "names": ("x" * 9_000 + "\n" + WORDS, "x" * 3000, "x" * 5000, WORDS),
    "a context that doesn't fit stands before one that does": (WORDS, WORDS, WORDS * 500, WORDS),
    "a long suffix": (WORDS * 5, WORDS * 3000),
    "an empty one": ("", ""),
}


@pytest.mark.parametrize("name", CASES)
def test_what_fits_is_laid_out_as_if_nothing_were_cut(
    name: str, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = request_of(*CASES[name])
    found = build_prompt(request, layout, Encoder(), BUDGET)
    monkeypatch.setattr(prompt_layout, "CHARACTERS_PER_TOKEN", 1_000_000)
    assert found == build_prompt(request, layout, Encoder(), BUDGET)


@pytest.mark.parametrize(
    "request_",
    [
        request_of(WORDS * (HUGE // 6)),
        request_of(WORDS, WORDS * (HUGE // 6)),
        request_of(WORDS, WORDS, *[WORDS * (HUGE // 60)] * 10),
        request_of(WORDS, WORDS, *[WORDS] * (HUGE // 60)),
    ],
    ids=["prompt", "suffix", "context", "many files"],
)
def test_little_of_a_huge_request_is_tokenised(request_: CompletionRequest, layout: Layout) -> None:
    encoder = Encoder()
    prompt = build_prompt(request_, layout, encoder, BUDGET)
    assert 0 < len(prompt.ids) <= BUDGET
    assert encoder.num_characters < 150_000


def test_a_long_path_keeps_its_end(layout: Layout) -> None:
    if layout.template is None:
        return
    encoder = Encoder()
    options = CompletionOptions(path="d/" * 1_000_000 + "a.py", repo="r" * 1_000_000)
    build_prompt(CompletionRequest(prompt=WORDS, tabcast=options), layout, encoder, BUDGET)
    assert encoder.num_characters < 50_000
