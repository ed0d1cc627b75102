"""Chooses the pieces that go with a request, and their order: the best that find room, the most stable first.

Sources are laid out from the one that changes least to the one that changes most, and pieces that were sent before keep
their place, so that the engine can reuse what it computed. It must not know where pieces come from, nor tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from decoding.protocol import ContextFile
from lsp_server.context.masking import mask_text
from lsp_server.context.snippets import SOURCES, Snippet
from lsp_server.settings import Source

WEIGHTS: Final[dict[Source, float]] = {
    "imports": 1.0,
    "definitions": 0.95,
    "similar": 0.9,
    "edits": 0.8,
    "staged": 1.0,
    "open": 0.6,
}
# Their pieces are no lines of a file.
DIFFS: Final = ("edits", "staged")
SOURCE_SHARE: Final = 0.5
HEADER_CHARS: Final = 12
# measured: the shipped vocabulary of 8,192 has 3.1 characters of Python to a token, larger ones more; this is safe.
CHARS_PER_TOKEN: Final = 2.8
MIN_CONTEXT_TOKENS: Final = 2049
UNKNOWN_CONTEXT_TOKENS: Final = 4096
CONTEXT_SHARE: Final = 0.3
MAX_CHARS: Final = 24_000


def room_for(context_tokens: int) -> int:
    """Return how many characters of context suit a model with a window of so many tokens; 0 if its length is unknown.

    A small window is better filled with the document itself: see docs/decisions/context-and-privacy.md.
    """
    tokens = context_tokens or UNKNOWN_CONTEXT_TOKENS
    return room_in(tokens) if tokens >= MIN_CONTEXT_TOKENS else 0


def room_in(context_tokens: int) -> int:
    """Return how many characters of context fit beside the document in a window of so many tokens."""
    return min(MAX_CHARS, int(context_tokens * CONTEXT_SHARE * CHARS_PER_TOKEN))


def choose(snippets: Iterable[Snippet], max_chars: int, before: Sequence[ContextFile] = ()) -> tuple[ContextFile, ...]:
    """Return the best pieces that fit, with secrets masked, as files in a stable order."""
    ranked = sorted(snippets, key=lambda s: -WEIGHTS[s.source] * s.score)
    num_sources = len({snippet.source for snippet in ranked})
    share = max_chars * (SOURCE_SHARE if num_sources > 1 else 1.0)
    kept: list[Snippet] = []
    used: dict[str, float] = {}
    room = max_chars
    for snippet in ranked:
        size = len(snippet.text) + len(snippet.path) + HEADER_CHARS
        if size > room or used.get(snippet.source, 0) + size > share or _is_covered(snippet, kept):
            continue
        kept.append(snippet)
        room -= size
        used[snippet.source] = used.get(snippet.source, 0) + size
    return _lay_out(kept, before)


def _is_covered(snippet: Snippet, kept: Sequence[Snippet]) -> bool:
    return snippet.source not in DIFFS and any(
        other.path == snippet.path
        and other.source not in DIFFS
        and snippet.first_line <= other.last_line
        and other.first_line <= snippet.last_line
        for other in kept
    )


def _lay_out(kept: Sequence[Snippet], before: Sequence[ContextFile]) -> tuple[ContextFile, ...]:
    places = {file.path: number for number, file in enumerate(before)}
    best = {(s.source, s.path): 0.0 for s in kept}
    for snippet in kept:
        key = (snippet.source, snippet.path)
        best[key] = max(best[key], snippet.score)
    groups = sorted(best, key=lambda g: (SOURCES.index(g[0]), places.get(g[1], len(places)), -best[g], g[1]))
    files = []
    for source, path in groups:
        pieces = sorted((s for s in kept if (s.source, s.path) == (source, path)), key=lambda s: s.first_line)
        files.append(
            ContextFile(path=path, text=mask_text("\n".join(piece.text.strip("\n") for piece in pieces)) + "\n")
        )
    return tuple(files)
