"""Heals a word that is half typed, for servers that do it no other way: it is taken off the prompt and written again.

Models have seldom seen a word that is broken where a cursor stands. A server that can be made to begin its answer with
a text writes the half word again, together with what follows. Without that, most answers would begin otherwise, and the
half word stays in the prompt. Knows texts alone: nobody here knows the server's tokens.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Final

from decoding.protocol import CompletionRequest, CompletionStats, Confidence
from lsp_server.engine.stream import Delta, Part

# Tokens of most vocabularies begin with a word or with one sign or space before it, and never in the middle of one.
_HALF_WORD: Final = re.compile(r"(?:(?:[^\r\n\w]|_)?[^\W\d_]+|(?<=\S) )\Z")
# chosen: words of natural length; nothing longer is one.
MAX_CHARS: Final = 40
# chosen: so many typed letters all but decide which token it is.
CERTAIN_LETTERS: Final = 2


def half_word(request: CompletionRequest) -> str:
    """Return what the server is to write again: the word before the cursor, with the sign or space before it."""
    found = _HALF_WORD.search(request.prompt[-MAX_CHARS:]) if request.tabcast.heal else None
    text = found[0] if found else ""
    return text if len(text) < min(MAX_CHARS, len(request.prompt)) and max(text, default="") <= "\ud7ff" else ""


def without_half_word(request: CompletionRequest) -> CompletionRequest:
    """Return the request with the half word taken off its prompt."""
    half = half_word(request)
    return replace(request, prompt=request.prompt.removesuffix(half)) if half else request


async def behind_half_word(parts: AsyncGenerator[Part, None], half: str) -> AsyncGenerator[Part, None]:
    """Yield an answer without the half word at its beginning; one that begins otherwise ends at once, empty.

    The probability of the token that the cursor cuts is that of all its letters. Where enough of them are typed it
    counts as certain.
    """
    left, is_certain = half, sum(character.isalpha() for character in half) >= CERTAIN_LETTERS
    async with aclosing(parts):
        async for part in parts:
            if not left or not isinstance(part, Delta):
                yield part
                continue
            num_cut = min(len(left), len(part.text))
            if part.text[:num_cut] != left[:num_cut]:
                yield CompletionStats(reason="stop")
                return
            left = left[num_cut:]
            text, confidence = part.text[num_cut:], _behind(part.confidence, num_cut, is_certain=is_certain)
            if text or confidence:
                yield Delta(text, part.choice, confidence)


def _behind(confidence: Confidence, num_cut: int, *, is_certain: bool) -> Confidence:
    spans = []
    for size, log_prob in confidence:
        cut = min(size, num_cut)
        num_cut -= cut
        if cut < size or not cut:
            spans.append((size - cut, 0.0 if cut and is_certain else log_prob))
    return tuple(spans)
