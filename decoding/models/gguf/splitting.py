"""Maps the name that a GGUF file gives to the way in which a text is split into words before byte pairs are merged.

A file holds no expression, only the name of one (`tokenizer.ggml.pre`). A wrong expression works and silently costs
quality, so that an unknown name is refused. The expressions are those of the models' published tokenizer.json files;
the names are those of llama.cpp (https://github.com/ggml-org/llama.cpp, src/llama-vocab.cpp).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

Part = dict[str, Any]

_CONTRACTIONS: Final = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS: Final = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_SIGNS: Final = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
_SPACES: Final = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER: Final = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER: Final = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
ONE_DIGIT: Final = rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}|{_SIGNS}|{_SPACES}"
THREE_DIGITS: Final = rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}{{1,3}}|{_SIGNS}|{_SPACES}"
SIGNS_ALONE: Final = rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{_SPACES}"
BY_CASE: Final = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*"
    rf"|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}"
)
# Several expressions, applied in order; the last has Chinese, Japanese and Korean characters.
_EASTERN: Final = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
DEEPSEEK_CODER: Final = (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _EASTERN)
# Letters of alphabets with two cases, but for those that the published list doesn't have: it is older than some.
_CASED: Final = (
    r"[\p{Lu}\p{Ll}\p{Lt}&&[^\x{560}-\x{588}\x{10C7}-\x{10FF}\x{1C80}-\x{1C8A}\x{2D00}-\x{2D2D}\x{A790}-\x{A7FA}"
    r"\x{AB30}-\x{AB68}\x{10570}-\x{105BC}\x{10D50}-\x{10D85}\x{16E40}-\x{16E7F}\x{1D400}-\x{1D7CB}\x{1DF00}-\x{1DF2A}]]"
)
DEEPSEEK_LLM: Final = (r"[\r\n]", rf"\s?{_CASED}+", r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", _EASTERN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Splitting:
    """The parts of a tokenizer's description that a name stands for.

    `takes_whole_words`: a word that is a token is not merged from its bytes. `begins` says whether a token starts every
    text where the file doesn't say it.
    """

    parts: tuple[Part, ...]
    normalizer: Part | None = None
    takes_whole_words: bool = False
    begins: bool = False


def _split(expression: str) -> Part:
    return {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": False}


def _byte_level(*, splits: bool) -> Part:
    """Return a part with GPT-2's alphabet, with or without its own expression."""
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": splits}


_DIGITS: Final[Part] = {"type": "Digits", "individual_digits": True}
_GPT2: Final = Splitting(parts=(_byte_level(splits=True),))
_STARCODER: Final = Splitting(parts=(_DIGITS, _byte_level(splits=True)))
_LLAMA3: Final = Splitting(parts=(_split(THREE_DIGITS), _byte_level(splits=False)), takes_whole_words=True, begins=True)
_THREE_DIGITS: Final = Splitting(parts=(_split(THREE_DIGITS), _byte_level(splits=False)))
SPLITTINGS: Final[Mapping[str, Splitting]] = {
    "qwen2": Splitting(parts=(_split(ONE_DIGIT), _byte_level(splits=False)), normalizer={"type": "NFC"}),
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "deepseek-coder": Splitting(parts=(*map(_split, DEEPSEEK_CODER), _DIGITS, _byte_level(splits=False))),
    "deepseek-llm": Splitting(parts=(*map(_split, DEEPSEEK_LLM), _DIGITS, _byte_level(splits=False))),
    "starcoder": _STARCODER,
    "refact": _STARCODER,  # also Granite's code models
    "smollm": _STARCODER,
    "codeshell": _STARCODER,
    "gpt-2": _GPT2,
    "mellum": _GPT2,
    "seed-coder": Splitting(parts=(_split(SIGNS_ALONE), _byte_level(splits=False))),
    "glm4": _THREE_DIGITS,
    "chatglm-bpe": _THREE_DIGITS,
    "dbrx": _THREE_DIGITS,  # also Granite 4
    "stablelm2": Splitting(parts=(_split(ONE_DIGIT), _byte_level(splits=False))),
    "tekken": Splitting(parts=(_split(BY_CASE), _byte_level(splits=False)), takes_whole_words=True, begins=True),
}

# What converters write that don't know the model's way, "" where they write nothing.
UNTOLD: Final = ("", "default")
# The tokens of families whose files were written before there was such a name, the most of their vocabulary, and its
# way: larger vocabularies with these tokens are split otherwise. A name of tokens alone tells it for no other family.
_TOLD_BY_TOKENS: Final = (
    (("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"), 2**16, "deepseek-coder"),
    (("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"), 2**17, "deepseek-llm"),
    (("<|fim_prefix|>", "<|fim_suffix|>", "<|file_sep|>", "<|repo_name|>"), 2**18, "qwen2"),
    (("<fim_prefix>", "<fim_suffix>", "<file_sep>", "<repo_name>"), 2**16, "starcoder"),
)


def told_by_tokens(tokens: Collection[str]) -> str:
    """Return the name for a vocabulary whose file doesn't say it, "" where its tokens don't tell the family."""
    known = frozenset(tokens)
    fitting = (name for names, most, name in _TOLD_BY_TOKENS if len(tokens) <= most and known.issuperset(names))
    return next(fitting, "")
