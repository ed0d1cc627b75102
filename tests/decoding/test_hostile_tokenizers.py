"""Tokenizers that would never end, or make a text grow without measure, are refused; published ones are not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, pre_tokenizers

from decoding.errors import RequestError
from decoding.models.folder.expressions import why_not_bounded
from decoding.models.folder.tokenizer_files import encode, load_tokenizer
from tests.decoding.hostile import assert_refused

ENGLISH = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
LOWER, UPPER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]", r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
# By the family that made it known; many others have the same.
PUBLISHED = {
    "gpt-2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "qwen2": rf"{ENGLISH}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{SPACES}",
    "llama-3": rf"{ENGLISH}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{SPACES}",
    "cl100k": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|"
    r"\s*[\r\n]|\s+(?!\S)|\s",
    "o200k": rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{ENGLISH}?|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{ENGLISH}?|"
    rf"\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{SPACES}",
    "kimi": rf"[\p{{Han}}]+|[^\r\n\p{{L}}\p{{N}}]?[\p{{Lu}}\p{{M}}&&[^\p{{Han}}]]*[\p{{Ll}}&&[^\p{{Han}}]]+{ENGLISH}?|"
    rf"{SPACES}",
    "deepseek-v3": r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|"
    rf" ?[\p{{P}}\p{{S}}]+[\r\n]*|{SPACES}",
    "deepseek-coder": r"[\r\n]|\s?\p{L}+|\s?\p{P}+|[一-龥ࠀ-一가-퟿]+|\p{N}",
    "bloom": r" ?[^(\s|[.,!?…。，、।۔،])]+",
    "command-r": r"\d{1,3}(?=(?:\d{3})*\b)",
    "falcon": "[0-9][0-9][0-9]",
    "lines": r"(?:\r?\n)+(?!\r?\n)",
    "t5": " {2,}",
}
ENDLESS = [
    "(a+)+$", "(a|a)*b", "(a|aa)+$", "(.*)*x", r"(\w+\s?)*$", "a?" * 30 + "a" * 30, "(a?){40}a{40}", "a*a*b",
    r"\s*\s*\s*x", "(x+x+)+y", r"(a)\1", "(?=(a+)+b)", "(a{1,99}){1,99}b", "(?:a?a)*b", "(?:a?a?b)+c", "a**b",
    "(?i)(a+)+b", "x(?i)a|(b+)+", "a*(?!b*c)d", "(.*a){12}", "(?>(a+)+)b", r"(?<n>a)\g<n>", "[a", "(", ")",
    "*a", "(?x)a # (", "(" * 99, "[" * 99, r"\X*a", "a" * 30_000,
]  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_expressions_pass(name: str) -> None:
    assert why_not_bounded(PUBLISHED[name]) == ""
    Regex(PUBLISHED[name])  # it is one


@pytest.mark.parametrize("expression", ENDLESS, ids=lambda text: text[:30])
def test_what_may_never_end_is_refused(expression: str) -> None:
    assert why_not_bounded(expression)


@pytest.mark.parametrize("expression", ["a*b", "a+b+", r"(?:\d{3})*\b", "(?:a?bc)+d", r"[a-z]{1,20}x", "x?y?z?"])
def test_what_passes_ends_on_the_text_that_hurts_most(expression: str) -> None:
    assert why_not_bounded(expression) == ""
    split = pre_tokenizers.Split(Regex(expression), "isolated")
    for text in ("a" * 2000, "1" * 2000, "ab" * 1000, "bc" * 1000):
        assert "".join(piece for piece, _ in split.pre_tokenize_str(text)) == text


def with_part(folder: Path, part: str, value: Any) -> Path:
    described = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    (folder / "tokenizer.json").write_text(json.dumps({**described, part: value}), encoding="utf-8")
    return folder


def split_by(expression: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": False}


def opened_by(*token_ids: int) -> dict[str, Any]:
    special = {"id": "<s>", "ids": list(token_ids), "tokens": ["<s>"] * len(token_ids)}
    sequence = [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    return {"type": "TemplateProcessing", "single": sequence, "pair": sequence, "special_tokens": {"<s>": special}}


def replaced(pattern: dict[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("pre_tokenizer", split_by("(a+)+$")),
        ("pre_tokenizer", {"type": "Sequence", "pretokenizers": [split_by("a"), split_by(r"(\w+\s?)*$")]}),
        ("normalizer", replaced({"Regex": "(a|aa)+$"}, "b")),
        ("decoder", {"type": "Sequence", "decoders": [replaced({"Regex": "(a+)+$"}, "b")]}),
        ("normalizer", {"type": "Sequence", "normalizers": [replaced({"String": "a"}, "a" * 100)] * 5}),
        ("normalizer", replaced({"Regex": "a"}, "b" * 10_000)),
        ("normalizer", replaced({"String": ""}, "b")),
        ("normalizer", {"type": "Sequence", "normalizers": [replaced({"Regex": "q*"}, "ab"), {"type": "NFC"}]}),
        ("pre_tokenizer", {"type": "Magic"}),
        ("pre_tokenizer", 7),
        ("post_processor", opened_by(10**6)),
        ("post_processor", opened_by(*[3] * 9)),
        ("post_processor", {"type": "BertProcessing", "sep": ["b", 2], "cls": ["a", 2**32 - 1]}),
        ("model", {"type": "BPE", "vocab": {}, "merges": []}),
        ("model", {"type": "WordLevel", "vocab": {}, "unk_token": "a"}),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_tokenizer_that_would_not_end_is_refused(copy_of: Callable[[str], Path], part: str, value: Any) -> None:
    path = with_part(copy_of("llama"), part, value)
    assert_refused(path, "tokenizer.json")


def test_a_draft_with_one_is_refused_too(tiny_model: Path, copy_of: Callable[[str], Path]) -> None:
    draft = with_part(copy_of("llama"), "pre_tokenizer", split_by("(a+)+$"))
    assert_refused(tiny_model, "tokenizer.json", "(a+)+$", draft=str(draft))


def test_a_prompt_is_neither_cut_nor_filled_up(copy_of: Callable[[str], Path]) -> None:
    cut = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    filled = {"strategy": {"Fixed": 10**6}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0}
    filled |= {"pad_type_id": 0, "pad_token": "x"}
    folder = with_part(with_part(copy_of("llama"), "truncation", cut), "padding", filled)
    assert 3 < len(load_tokenizer(folder).encode("def first_word(text): return text").ids) < 100


def test_a_tokenizer_that_fails_on_a_text_fails_the_request_alone() -> None:
    class Failing:
        def encode(self, _text: str, **_: object) -> None:
            raise BaseException("index out of bounds")

    with pytest.raises(RequestError, match="tokenizer fails"):
        encode(Failing(), "text")  # type: ignore[arg-type]


def test_a_token_of_another_alphabet_is_told(copy_of: Callable[[str], Path]) -> None:
    path = copy_of("llama")
    described = json.loads((path / "tokenizer.json").read_text(encoding="utf-8"))
    token = next(token for token, token_id in described["model"]["vocab"].items() if token_id == 599)
    described["model"]["vocab"]["\u4e2d" + token] = described["model"]["vocab"].pop(token)
    described["model"]["merges"] = []
    (path / "tokenizer.json").write_text(json.dumps(described), encoding="utf-8")
    assert_refused(path, "tokenizer.json", "byte-level")


def test_a_refusal_holds_nothing_that_a_terminal_obeys(copy_of: Callable[[str], Path]) -> None:
    path = with_part(copy_of("llama"), "model", {"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "\x1b[31m"]]})
    assert assert_refused(path, "tokenizer.json").isprintable()
