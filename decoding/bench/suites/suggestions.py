"""Suggestions as an editor would show them: the engine's core for the text, the front end's filters for its end.

The filters are a process of the front end, kept open as a pipe, since the engine may not know them.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from contextlib import closing
from typing import IO, cast

from decoding.bench.harness.data import ReplayRow
from decoding.bench.suites.replay import Offer, place
from decoding.completion.completion import complete, prompt_tokens
from decoding.completion.sessions import Session
from decoding.errors import TabcastError
from decoding.models.loading.model_set import ModelSet
from decoding.protocol import CompletionOptions, CompletionRequest, ContextFile, ScoredToken, confidence_to_json

# The product's own bounds.
MAX_LINE_TOKENS = 48
MAX_BLOCK_TOKENS = 160
# The front end's sources of context.
CONTEXTS = ("imports", "open", "similar", "edits")


class FilterProcess:
    """What an editor would show of a text; one JSON object a line to the process, and one back."""

    def __init__(self, command: Sequence[str], min_confidence: float | None = None) -> None:
        self._min_confidence = min_confidence
        self._process = subprocess.Popen(
            list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", start_new_session=True
        )

    def shown(self, prefix: str, suffix: str, text: str, tokens: Sequence[ScoredToken] = ()) -> str:
        """The text that is left, less what is too improbable by its tokens. Raises `TabcastError` if it has ended."""
        stdin, stdout = cast(IO[str], self._process.stdin), cast(IO[str], self._process.stdout)
        given = {"prefix": prefix, "suffix": suffix, "text": text, "confidence": confidence_to_json(tokens)}
        try:
            stdin.write(json.dumps({**given, "min_confidence": self._min_confidence}) + "\n")
            stdin.flush()
            return str(json.loads(stdout.readline())["text"])
        except (OSError, ValueError):
            raise TabcastError("the front end's filter process ended") from None

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


class ContextProcess:
    """What of a row's other files would go with its requests; one JSON object a line to the process, and one back.

    `sources` are the front end's own names for where context comes from; "auto" is what an editor would get.
    """

    def __init__(self, command: Sequence[str], sources: Sequence[str]) -> None:
        self._sources = list(sources)
        self._process = subprocess.Popen(
            list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", start_new_session=True
        )

    def files(self, row: ReplayRow, context_tokens: int) -> tuple[ContextFile, ...]:
        """The context, made where the typing begins and kept while it lasts. Raises `TabcastError` if it ended."""
        stdin, stdout = cast(IO[str], self._process.stdin), cast(IO[str], self._process.stdout)
        wanted = {
            "path": row.path,
            "prefix": row.prefix,
            "suffix": row.suffix,
            "open_files": [{"path": path, "text": text} for path, text in row.open_files],
            "sources": self._sources,
            "context_tokens": context_tokens,
        }
        try:
            stdin.write(json.dumps(wanted) + "\n")
            stdin.flush()
            found = json.loads(stdout.readline())["files"]
        except (OSError, ValueError):
            raise TabcastError("the front end's context process ended") from None
        return tuple(ContextFile(path=file["path"], text=file["text"]) for file in found)

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


class Suggester:
    """Suggests at places of replay rows, one after the other, with one cache that stays warm over keystrokes."""

    def __init__(
        self, models: ModelSet, filters: FilterProcess | None, max_tokens: int, context: ContextProcess | None = None
    ) -> None:
        self._models = models
        self._session = Session(models)
        self._filters = filters
        self._max_tokens = max_tokens
        self._context = context
        self._row: ReplayRow | None = None
        self._files: tuple[ContextFile, ...] = ()

    def __call__(self, row: ReplayRow, position: int) -> Offer:
        """The suggestion behind `position` characters of the row's insertion."""
        began = time.perf_counter()
        gold, suffix = place(row)
        prefix = row.prefix + gold[:position]
        if row is not self._row and self._context is not None:
            self._files = self._context.files(row, self._models.target.shape.max_len)
        self._row = row
        request = _request(row, prefix, suffix, self._max_tokens, self._files)
        prompt = prompt_tokens(self._models, request)
        tokens: tuple[ScoredToken, ...] = ()
        text, num_steps, ended_by_limit = "", 0, False
        with closing(complete(self._models, self._session, request, prompt)) as pieces:  # type: ignore[type-var]
            for piece in pieces:
                text += piece.text
                tokens += piece.tokens
                # An end that comes early brings no statistics, so steps are told by what they leave in the cache.
                num_steps += piece.stats is None and len(self._session.cache) >= len(prompt.ids)
                ended_by_limit = piece.stats is not None and piece.stats.reason == "length"
                if "\n" in piece.text and self._is_cut(prefix, suffix, text[: text.rfind("\n") + 1], tokens):
                    break
        if self._filters is not None:
            if ended_by_limit and request.tabcast.line_mode == "block":  # as the product: only whole lines
                text = text[: text.rfind("\n") + 1]
            text = self._filters.shown(prefix, suffix, text, tokens) if text else ""
        num_tokens = max(0, len(self._session.cache) + 1 - len(prompt.ids))
        ms = (time.perf_counter() - began) * 1e3
        return Offer(text=text, ms=ms, num_tokens=num_tokens, num_steps=num_steps)

    def _is_cut(self, prefix: str, suffix: str, text: str, tokens: Sequence[ScoredToken]) -> bool:
        """Whether the filters end it before here, so that nothing that follows would be shown."""
        if self._filters is None or not text.strip():
            return False
        return self._filters.shown(prefix, suffix, text, tokens).rstrip() != text.rstrip()


def _request(
    row: ReplayRow, prefix: str, suffix: str, max_tokens: int, context: tuple[ContextFile, ...]
) -> CompletionRequest:
    head = prefix[prefix.rfind("\n") + 1 :].strip()
    is_block = not head or head.endswith(":")  # else the rest of the line
    return CompletionRequest(
        prompt=prefix,
        suffix=suffix,
        max_tokens=max_tokens if is_block else min(max_tokens, MAX_LINE_TOKENS),
        tabcast=CompletionOptions(
            path=row.path,
            language="python",
            repo=row.repository,
            context=context,
            line_mode="block" if is_block else "line",
            confidence=True,
        ),
    )
