"""Turns tokens to text, correctly where a token ends inside a UTF-8 character. Knows bytes, no tensor."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise

from tokenizers import Tokenizer

from decoding.errors import ModelError


def token_bytes(tokenizer: Tokenizer, vocabulary: Mapping[str, int] | None = None) -> list[bytes]:
    """Return the bytes that each token id stands for; special tokens stand for none.

    `vocabulary` are the ids of all its tokens, if they are known. Serves byte-level tokenizers (GPT-2's alphabet) and
    those with byte fallback (SentencePiece's `<0x0A>` and `▁`).
    Raises `ModelError` for any other kind, whose text can't be put together from its tokens.
    """
    # The decoder's own description is enough: that of a whole tokenizer has megabytes.
    decoder = tokenizer.decoder.__getstate__().decode() if tokenizer.decoder else ""
    vocabulary = vocabulary or tokenizer.get_vocab(with_added_tokens=True)
    # A vocabulary may have gaps in its ids, so the table is sized by the largest id.
    table = [b""] * (max(vocabulary.values(), default=-1) + 1)
    added = tokenizer.get_added_tokens_decoder()
    if "ByteLevel" in decoder:
        read = _read_byte_level
    elif "ByteFallback" in decoder:
        read = _read_byte_fallback
    else:
        raise ModelError("tokenizer.json: only byte-level tokenizers and those with byte fallback are supported")
    plain = [token for token, token_id in vocabulary.items() if token_id not in added]
    texts = iter(read(plain))
    for token, token_id in vocabulary.items():
        if token_id not in added:
            table[token_id] = next(texts)
        elif not added[token_id].special:
            table[token_id] = token.encode()
    return table


def special_names(tokenizer: Tokenizer) -> list[str]:
    """Return the texts of a tokenizer's special tokens; no answer should contain one."""
    added = tokenizer.get_added_tokens_decoder()
    return [added[token_id].content for token_id in sorted(added) if added[token_id].special]


class Detokenizer:
    """The text of a growing list of tokens, without its first `num_skipped` bytes.

    An incomplete character is held back.
    """

    def __init__(self, table: Sequence[bytes], num_skipped: int = 0) -> None:
        self._table = table
        self._num_skipped = num_skipped
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        """Take one more token; return the text that it completes."""
        new = self._table[token_id]
        skipped = min(self._num_skipped, len(new))
        self._num_skipped -= skipped
        return self._decoder.decode(new[skipped:])


def _byte_level_alphabet() -> dict[int, int]:
    """Return the bytes of GPT-2's printable characters (Radford et al. 2019), and 256 for characters of none."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {**dict.fromkeys(others, 256), **{256 + i: byte for i, byte in enumerate(others)}}


_BYTE_LEVEL = _byte_level_alphabet()


def _read_byte_level(tokens: Sequence[str]) -> list[bytes]:
    """Read all tokens at once, each of whose characters is a byte. Raises `ModelError` if one stands for none."""
    try:
        every = "".join(tokens).translate(_BYTE_LEVEL).encode("latin-1")
    except ValueError:
        wrong = next(filter(_is_no_bytes, tokens))
        raise ModelError(
            f"tokenizer.json: its decoder is byte-level, and the token {wrong[:40]!r} isn't written that way"
        ) from None
    ends = list(accumulate(map(len, tokens), initial=0))
    return [every[begin:end] for begin, end in pairwise(ends)]


def _is_no_bytes(token: str) -> bool:
    return any(ord(character) > 255 for character in token.translate(_BYTE_LEVEL))


def _read_byte_fallback(tokens: Sequence[str]) -> list[bytes]:
    return [_read_piece(token) for token in tokens]


def _read_piece(token: str) -> bytes:
    if match := re.fullmatch(r"<0x([0-9A-Fa-f]{2})>", token):
        return bytes([int(match[1], 16)])
    return token.replace("\u2581", " ").encode()
