"""Turns tokens to text, correctly where a token ends inside a UTF-8 character. Knows bytes, no tensor."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Sequence

from tokenizers import Tokenizer

from decoding.errors import ModelError


def token_bytes(tokenizer: Tokenizer) -> list[bytes]:
    """Return the bytes that each token id stands for; special tokens stand for none.

    Serves byte-level tokenizers (GPT-2's alphabet) and those with byte fallback (SentencePiece's `<0x0A>` and `▁`).
    Raises `ModelError` for any other kind, whose text can't be put together from its tokens.
    """
    described = json.loads(tokenizer.to_str())
    decoder = json.dumps(described.get("decoder"))
    # A vocabulary may have gaps in its ids, so the table is sized by the largest id.
    table = [b""] * (max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1)
    special = {token["id"] for token in described.get("added_tokens", ()) if token["special"]}
    added = {token["id"] for token in described.get("added_tokens", ())}
    if "ByteLevel" in decoder:
        read = _read_byte_level
    elif "ByteFallback" in decoder:
        read = _read_byte_fallback
    else:
        raise ModelError("tokenizer.json: only byte-level tokenizers and those with byte fallback are supported")
    for token, token_id in tokenizer.get_vocab(with_added_tokens=True).items():
        if token_id not in special:
            try:
                table[token_id] = token.encode() if token_id in added else read(token)
            except (KeyError, ValueError):
                raise ModelError(
                    f"tokenizer.json: its decoder is byte-level, and the token {token[:40]!r} isn't written that way"
                ) from None
    return table


def special_names(tokenizer: Tokenizer) -> list[str]:
    """Return the texts of a tokenizer's special tokens; no answer should contain one."""
    described = json.loads(tokenizer.to_str())
    return [token["content"] for token in described.get("added_tokens", ()) if token["special"]]


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


def _byte_level_alphabet() -> dict[str, int]:
    """Return GPT-2's printable characters for all bytes (Radford et al. 2019)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


_BYTE_LEVEL = _byte_level_alphabet()


def _read_byte_level(token: str) -> bytes:
    return bytes(_BYTE_LEVEL[character] for character in token)


def _read_byte_fallback(token: str) -> bytes:
    if match := re.fullmatch(r"<0x([0-9A-Fa-f]{2})>", token):
        return bytes([int(match[1], 16)])
    return token.replace("\u2581", " ").encode()
