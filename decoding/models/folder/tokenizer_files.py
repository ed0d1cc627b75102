"""Reads a model folder's tokenizer, and compares two of them.

A tokenizer.json may be anybody's: its numbers are bounded, and an expression in it that might be matched for ever is
refused (`expressions.py`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tokenizers import AddedToken, Tokenizer
from tokenizers.models import BPE

from decoding.errors import ModelError, RequestError
from decoding.models.folder.expressions import why_not_bounded
from decoding.models.folder.json_files import MIB, printable, read_json, shown
from decoding.models.folder.model_config import MAX_VOCABULARY, read_file
from decoding.models.gguf.split_files import GgufModel, is_gguf
from decoding.models.gguf.tokenizer import describe_tokenizer

TOKENIZER_FILE: Final = "tokenizer.json"
SETTINGS_FILE: Final = "tokenizer_config.json"
MAX_TOKENIZER_BYTES: Final = 256 * MIB
MAX_SETTINGS_BYTES: Final = 64 * MIB
# The library itself refuses what lies deeper.
MAX_DEPTH: Final = 128
# The keys under which parts of a tokenizer's description hold other parts.
NESTED: Final = ("normalizer", "pre_tokenizer", "decoder", "normalizers", "pretokenizers")
PARTS: Final = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
# chosen: replacements in a tokenizer may make a text so many times as long.
MAX_GROWTH: Final = 256
MAX_REASON: Final = 300
MAX_BEGIN: Final = 8  # chosen: tokens that open a text; published models have one or two
SAMPLE: Final = "def f(a):\n    return a[0] + 1  # \u00e4 \u4e2d\n"  # a text that every tokenizer must be able to cut


# The ids of all tokens, added ones included. To ask a large tokenizer for it takes longer than to read its file.
Vocabulary = Mapping[str, int]


def load_tokenizer(folder: Path) -> Tokenizer:
    """Load the folder's tokenizer.json. Raises `ModelError`.

    It puts no space of its own before a text, because a prompt is made of several.
    """
    return load_with_vocabulary(folder)[0]


def load_with_vocabulary(folder: Path) -> tuple[Tokenizer, Vocabulary]:
    """Load as `load_tokenizer` does."""
    if is_gguf(folder):
        return tokenizer_of(read_file(folder))
    path = folder / TOKENIZER_FILE
    if not path.is_file():
        raise ModelError(f"{folder} is not a complete model folder: tokenizer.json is missing")
    return build_tokenizer(read_json(path, most_bytes=MAX_TOKENIZER_BYTES, most_depth=MAX_DEPTH), path)


def tokenizer_of(model: GgufModel) -> tuple[Tokenizer, Vocabulary]:
    """Return the tokenizer in a GGUF file. Raises `ModelError`."""
    return build_tokenizer(describe_tokenizer(model.metadata, model.file), model.file, from_tables)


def _from_json(described: Mapping[str, Any]) -> tuple[Tokenizer, Vocabulary]:
    tokenizer = _parsed(described)
    return tokenizer, tokenizer.get_vocab(with_added_tokens=True)


def _parsed(described: Mapping[str, Any]) -> Tokenizer:
    return Tokenizer.from_str(json.dumps(described, ensure_ascii=False))


def from_tables(described: Mapping[str, Any]) -> tuple[Tokenizer, Vocabulary]:
    """Make the same tokenizer as `_from_json` from a table of byte pairs, without writing and reading megabytes.

    All added tokens are in the table, too, so that it is the whole vocabulary.
    """
    model = described["model"]
    rest = {**described, "model": {**model, "vocab": {}, "merges": [], "unk_token": None}, "added_tokens": []}
    tokenizer = _parsed(rest)
    tokenizer.model = BPE(**{key: value for key, value in model.items() if key != "type" and value is not None})
    for token in described["added_tokens"]:
        made = AddedToken(**{key: value for key, value in token.items() if key != "id"})
        (tokenizer.add_special_tokens if token["special"] else tokenizer.add_tokens)([made])
    return tokenizer, model["vocab"]


def build_tokenizer(
    described: Any, path: Path, make: Callable[[Mapping[str, Any]], tuple[Tokenizer, Vocabulary]] = _from_json
) -> tuple[Tokenizer, Vocabulary]:
    """Build the tokenizer of a description: the contents of a tokenizer.json, or of `path` in another form.

    Raises `ModelError`.
    """
    if not isinstance(described, dict) or not isinstance(described.get("model"), dict):
        raise ModelError(f"{path}: model must be a table that describes a tokenizer")
    for part in PARTS:
        _check_expressions(described.get(part), path, part)
    with _refusing(path):
        tokenizer, vocabulary = make(_without_leading_space(described))
        # Only the engine may cut or pad a prompt.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        sample = tokenizer.encode(SAMPLE, add_special_tokens=False).ids
    count = num_token_ids(vocabulary)
    if not sample or max(sample) >= count:
        raise ModelError(f"{path} describes no tokenizer: it makes no tokens of its own out of a text")
    if count > MAX_VOCABULARY:
        raise ModelError(f"{path}: token ids must be below {MAX_VOCABULARY:,}, and one is {count - 1:,}")
    # A user's file may contain a special token's name, which is plain text there.
    tokenizer.encode_special_tokens = True
    return tokenizer, vocabulary


def begin_token_ids(folder: Path, tokenizer: Tokenizer) -> list[int]:
    """Return the tokens that start every text: by its tokenizer_config.json, else as the tokenizer does by itself.

    Raises `ModelError` if one of the two can't be right.
    """
    path = folder / SETTINGS_FILE
    settings = read_json(path, most_bytes=MAX_SETTINGS_BYTES) if path.is_file() else {}
    if not isinstance(settings, dict):
        raise ModelError(f"{path} must hold a table, not {shown(settings)}")
    if isinstance(adds := settings.get("add_bos_token"), bool):
        name = settings.get("bos_token")
        token_id = tokenizer.token_to_id(str(name.get("content") if isinstance(name, dict) else name))
        return [token_id] if adds and token_id is not None else []
    described = folder / TOKENIZER_FILE
    with _refusing(described):
        plain, opened = (tokenizer.encode("a", add_special_tokens=adds).ids for adds in (False, True))
    begin: list[int] = opened[: opened.index(plain[0])] if plain and plain[0] in opened else []
    if len(begin) > MAX_BEGIN:
        raise ModelError(f"{described}: post_processor opens a text with {len(begin):,} tokens, which can't be meant")
    if begin and max(begin) >= (count := num_token_ids(tokenizer.get_vocab(with_added_tokens=True))):
        raise ModelError(f"{described}: post_processor opens a text with token {max(begin)}, and there are {count:,}")
    return begin


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Raise as `ModelError` what the library raises: bare Exception, and where it panics not even that."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        reason = printable(" ".join(str(error).split()))[:MAX_REASON]
        raise ModelError(f"{path} describes no tokenizer: {reason or 'it was refused'}") from None


def encode(tokenizer: Tokenizer, text: str) -> list[int]:
    """Return token ids of plain text.

    Raises `RequestError` where the library fails, which ends a request and no engine.
    """
    try:
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    except BaseException as error:  # a panic of the library's Rust code is a BaseException
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        raise RequestError("this model's tokenizer fails on the text that it was given") from None
    return ids


def num_token_ids(vocabulary: Vocabulary) -> int:
    """Return one more than the largest id: the ids may have gaps, and logits behind the largest are padding."""
    return max(vocabulary.values(), default=-1) + 1


def unused_ids(vocabulary: Vocabulary) -> tuple[int, ...]:
    """Return the gaps between the ids, in their order; a model computes logits for them all the same."""
    used = set(vocabulary.values())
    count = num_token_ids(vocabulary)
    return () if len(used) == count else tuple(token_id for token_id in range(count) if token_id not in used)


def why_not_alike(ours: Vocabulary, theirs: Vocabulary) -> str:
    """Return why a draft's token ids mean something else than the target's, or ""."""
    if ours == theirs:
        return ""
    names, others = ({token_id: token for token, token_id in known.items()} for known in (ours, theirs))
    differing = sorted(token_id for token, token_id in ours.items() if others.get(token_id) != token)
    if not differing:
        return f"it has {len(theirs)} tokens and the target {len(ours)}"
    token_id = differing[0]
    return f"{len(differing)} ids differ: {token_id} is {names[token_id]!r} and {others.get(token_id)!r}"


def _check_expressions(part: Any, path: Path, name: str) -> None:
    """Raise `ModelError` if a part of a tokenizer might try for ever, or make a text grow without bound."""
    growth = 1.0
    for item in _tables_in(part):
        pattern, content = item.get("pattern"), item.get("content")
        expression = pattern.get("Regex") if isinstance(pattern, dict) else None
        if isinstance(expression, str) and (problem := why_not_bounded(expression)):
            raise ModelError(f"{path}: the expression {shown(expression)} of {name} can't be used, because {problem}")
        if isinstance(pattern, dict) and pattern.get("String") == "":
            raise ModelError(f"{path}: {name} looks for an empty text, which is everywhere")
        if item.get("type") == "Replace" and isinstance(content, str):
            replaced = pattern.get("String") if isinstance(pattern, dict) else None
            growth *= max(1, len(content) / (len(replaced) or 1)) if isinstance(replaced, str) else 1 + len(content)
    if growth > MAX_GROWTH:
        raise ModelError(f"{path}: {name} makes a text more than {MAX_GROWTH} times as long, which can't be meant")


def _tables_in(part: Any) -> Iterator[dict[str, Any]]:
    if isinstance(part, dict):
        yield part
    for child in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from _tables_in(child)


def _without_leading_space(part: Any) -> Any:
    """Return a tokenizer's description without the space that it puts before every text (`▁` of SentencePiece)."""
    if isinstance(part, list):
        return [_without_leading_space(item) for item in part if not _is_prepender(item)]
    if not isinstance(part, dict):
        return part
    kept = {
        key: None if _is_prepender(value) else _without_leading_space(value) if key in NESTED else value
        for key, value in part.items()
    }
    if part.get("type") == "Metaspace":
        return {key: value for key, value in kept.items() if key != "add_prefix_space"} | {"prepend_scheme": "never"}
    return kept | {"add_prefix_space": False} if part.get("type") == "ByteLevel" else kept


def _is_prepender(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "Prepend"
