"""Describes the tokenizer that a GGUF file holds as a tokenizer.json would.

A file has a table of tokens with their types, and merges or scores; two names tell the rest of a tokenizer. The
description is checked like any tokenizer.json when a tokenizer is built from it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

import numpy as np

from decoding.errors import ModelError
from decoding.models.gguf.reader import Value, one_value
from decoding.models.gguf.splitting import SPLITTINGS, UNTOLD, Splitting, told_by_tokens

ADVICE: Final = "take a newer file of this model, or its Hugging Face folder"
# SentencePiece's space. No space is put before a text, because a prompt is made of several.
SPACE: Final = "▁"
SPM_MODEL: Final = "llama"
BPE_MODEL: Final = "gpt2"
# Names that converters give to ids which are no tokens, whatever type they write beside them.
PADDING: Final = re.compile(r"\[PAD\d+\]|<unused_?\d+>|<dummy\d+>")
MAX_PIECE: Final = 128  # chosen: the most characters of a SentencePiece token, since every cut of it is looked up


class TokenType(IntEnum):
    """The kind of a token in the table."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


def tokenizer_digest(metadata: Mapping[str, Value]) -> bytes:
    """Return a digest of all that tells a file's tokenizer: files with equal ones have equal tokenizers."""
    digest = hashlib.blake2b()
    for key in sorted(key for key in metadata if key.startswith("tokenizer.ggml.")):
        value = metadata[key]
        told = value.tolist() if isinstance(value, np.ndarray) else value
        digest.update(repr((key, told)).encode())
    return digest.digest()


def describe_tokenizer(metadata: Mapping[str, Value], file: Path) -> dict[str, Any]:
    """Return the table of a tokenizer.json.

    Padding ids have no place in it. Control tokens are special, and user-defined ones are matched before all else.
    Raises `ModelError` if the file's tokenizer is of another kind, or its parts don't fit together.
    """
    tokens, types = _tokens(metadata, file)
    kind = one_value(metadata, "tokenizer.ggml.model", file)
    if kind == BPE_MODEL:
        splitting = _splitting(metadata, file, tokens)
        described = _byte_pairs(metadata, file, tokens, types, splitting)
        begins = splitting.begins
    elif kind == SPM_MODEL:
        tokens = _with_spaces(tokens, types)
        described, begins = _sentence_pieces(metadata, file, tokens, types), True
    else:
        raise ModelError(f"{file}: a tokenizer of the kind {kind!r} is not read; {ADVICE}")
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": list(_added(tokens, types)),
        "post_processor": _opening(metadata, file, tokens, begins=begins),
        **described,
    }


def _tokens(metadata: Mapping[str, Value], file: Path) -> tuple[list[str], Sequence[int]]:
    tokens = metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, list) or not tokens:
        raise ModelError(f"{file} holds no tokenizer (tokenizer.ggml.tokens is missing); {ADVICE}")
    types = metadata.get("tokenizer.ggml.token_type")
    if types is None:
        types = np.full(len(tokens), TokenType.NORMAL)
    if not isinstance(types, np.ndarray) or types.dtype.kind not in "iu" or len(types) != len(tokens):
        raise ModelError(f"{file}: tokenizer.ggml.token_type must be a list of {len(tokens):,} numbers")
    kinds: list[int] = types.tolist()
    for token_id, token in enumerate(tokens):
        if token[:1] in "[<" and PADDING.fullmatch(token):
            kinds[token_id] = TokenType.UNUSED
    return tokens, kinds


def _with_spaces(tokens: Sequence[str], types: Sequence[int]) -> list[str]:
    """Write runs of spaces as such where they are matched in the text itself; older files of Gemma have `▁▁` there."""
    return [
        " " * len(token) if kind == TokenType.USER_DEFINED and len(token) > 1 and not token.strip(SPACE) else token
        for token, kind in zip(tokens, types, strict=True)
    ]


def _vocabulary(tokens: Sequence[str], types: Sequence[int], file: Path) -> dict[str, int]:
    """Return the ids by token, without padding and nameless ones."""
    vocabulary: dict[str, int] = {}
    for token_id, (token, kind) in enumerate(zip(tokens, types, strict=True)):
        if kind == TokenType.UNUSED or not token:
            continue
        if token in vocabulary:
            raise ModelError(f"{file}: the ids {vocabulary[token]} and {token_id} are both the token {token[:40]!r}")
        vocabulary[token] = token_id
    return vocabulary


def _splitting(metadata: Mapping[str, Value], file: Path, tokens: Sequence[str]) -> Splitting:
    name = one_value(metadata, "tokenizer.ggml.pre", file)
    if (name or "") in UNTOLD:
        name = told_by_tokens(tokens) or name
    if not isinstance(name, str) or name not in SPLITTINGS:
        told = f"{name!r} is not known" if name is not None else "is missing"
        raise ModelError(
            f"{file}: how its tokenizer splits words (tokenizer.ggml.pre) {told}, and a guess would cost quality;"
            f" {ADVICE}"
        )
    return SPLITTINGS[name]


def _byte_pairs(
    metadata: Mapping[str, Value], file: Path, tokens: Sequence[str], types: Sequence[int], splitting: Splitting
) -> dict[str, Any]:
    merges = metadata.get("tokenizer.ggml.merges")
    if not isinstance(merges, list):
        raise ModelError(f"{file}: its tokenizer is not complete (tokenizer.ggml.merges is missing); {ADVICE}")
    # A merge is two tokens with a space between them; the first may begin with one.
    pairs = [(merge[: (at := merge.find(" ", 1))], merge[at + 1 :]) for merge in merges]
    return {
        "normalizer": splitting.normalizer,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": list(splitting.parts)},
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "model": _model(
            vocab=_vocabulary(tokens, types, file), merges=pairs, ignore_merges=splitting.takes_whole_words
        ),
    }


def _sentence_pieces(
    metadata: Mapping[str, Value], file: Path, tokens: Sequence[str], types: Sequence[int]
) -> dict[str, Any]:
    scores = metadata.get("tokenizer.ggml.scores")
    if not isinstance(scores, np.ndarray) or scores.dtype.kind not in "fiu" or len(scores) != len(tokens):
        raise ModelError(f"{file}: tokenizer.ggml.scores must be a list of {len(tokens):,} numbers")
    vocabulary = _vocabulary(tokens, types, file)
    unknown = next((tokens[i] for i, kind in enumerate(types) if kind == TokenType.UNKNOWN), None)
    decoders = [{"type": "Replace", "pattern": {"String": SPACE}, "content": " "}, {"type": "ByteFallback"}]
    return {
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": SPACE},
        "pre_tokenizer": None,
        "decoder": {"type": "Sequence", "decoders": [*decoders, {"type": "Fuse"}]},
        "model": _model(
            vocab=vocabulary,
            merges=_merges_by_score(vocabulary, types, scores.tolist()),
            unk_token=unknown,
            fuse_unk=True,
            byte_fallback=True,
        ),
    }


def _merges_by_score(
    vocabulary: Mapping[str, int], types: Sequence[int], scores: Sequence[float]
) -> list[tuple[str, str]]:
    """Return what SentencePiece would merge, the best first: all cuts of a piece in two, ranked by its score.

    A text's own "</s>" must not become the token of this name, so that only normal pieces are merged.
    """
    normal = {token: token_id for token, token_id in vocabulary.items() if types[token_id] == TokenType.NORMAL}
    ranked = []
    for token, token_id in normal.items():
        if len(token) > MAX_PIECE:
            continue
        for cut in range(1, len(token)):
            left, right = token[:cut], token[cut:]
            if left in normal and right in normal:
                ranked.append((-scores[token_id], token_id, normal[left], normal[right], left, right))
    ranked.sort(key=lambda merge: merge[:4])
    return [(left, right) for *_, left, right in ranked]


def _model(**own: Any) -> dict[str, Any]:
    plain = {
        "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
        "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
    }  # fmt: skip
    return plain | own


def _added(tokens: Sequence[str], types: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Yield tokens that are matched as a whole, before a text is split."""
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    for token_id, (token, kind) in enumerate(zip(tokens, types, strict=True)):
        if token and kind in (TokenType.CONTROL, TokenType.USER_DEFINED):
            yield {"id": token_id, "content": token, **plain, "special": kind == TokenType.CONTROL}


def _opening(
    metadata: Mapping[str, Value], file: Path, tokens: Sequence[str], *, begins: bool
) -> dict[str, Any] | None:
    """Return the part that puts tokens before every text, as the file says it."""
    adds = one_value(metadata, "tokenizer.ggml.add_bos_token", file)
    token_id = one_value(metadata, "tokenizer.ggml.bos_token_id", file)
    if token_id is None or not (begins if adds is None else adds):
        return None
    if type(token_id) is not int or not 0 <= token_id < len(tokens):
        raise ModelError(f"{file}: tokenizer.ggml.bos_token_id must be one of its {len(tokens):,} tokens")
    name = tokens[token_id]
    texts = [{"Sequence": {"id": part, "type_id": 0}} for part in "AB"]
    begin = {"SpecialToken": {"id": name, "type_id": 0}}
    return {
        "type": "TemplateProcessing",
        "single": [begin, texts[0]],
        "pair": [begin, *texts],
        "special_tokens": {name: {"id": name, "ids": [token_id], "tokens": [name]}},
    }
