"""Long texts are tokenised once, and not too many are remembered."""

from __future__ import annotations

from decoding.models.loading.model_set import ModelSet
from decoding.text.encoded_texts import LEAST_CHARS, MAX_CHARS, EncodedTexts


def test_a_long_text_is_tokenised_once_and_its_tokens_are_the_callers_own() -> None:
    texts, calls = EncodedTexts(), []

    def encode(text: str) -> list[int]:
        calls.append(text)
        return [len(text)]

    long = "x" * LEAST_CHARS
    texts.encode(long, encode).append(7)
    texts.encode(long, encode).append(8)
    assert texts.encode(long, encode) == [LEAST_CHARS]
    assert len(calls) == 1
    for text in ("short", "short", "y" * (MAX_CHARS + 1)):  # quickly done, or too long to keep
        texts.encode(text, encode)
    assert len(calls) == 4


def test_the_least_recently_used_go_when_there_are_too_many() -> None:
    texts, calls = EncodedTexts(), []

    def encode(text: str) -> list[int]:
        calls.append(text[0])
        return []

    for letter in "abcab":
        texts.encode(letter * (MAX_CHARS // 2), encode)
    assert calls == ["a", "b", "c", "a", "b"]
    texts.encode("a" * (MAX_CHARS // 2), encode)
    assert len(calls) == 5


def test_a_models_tokens_are_those_of_its_tokenizer(llama: ModelSet) -> None:
    text = "def area(width, height):\n    return width * height\n" * 9
    expected = llama.tokenizer.encode(text, add_special_tokens=False).ids
    assert llama.encode(text) == llama.encode(text) == expected
