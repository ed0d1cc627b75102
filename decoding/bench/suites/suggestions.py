"""Makes suggestions as an editor would show them: the front end's request and filters, the engine's core for the text.

The front end's parts are processes of it, kept open as pipes, since the engine may not import them.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from typing import IO, Any, cast

from decoding.bench.harness.data import ReplayRow
from decoding.bench.suites.replay import ReplayedOffer, place
from decoding.completion.completion import complete, prompt_tokens
from decoding.completion.sessions import Session
from decoding.errors import TabcastError
from decoding.models.loading.model_set import ModelSet
from decoding.protocol import CompletionRequest, ContextFile, ScoredToken, confidence_to_json

# The product's own bound.
MAX_BLOCK_TOKENS = 160
# The front end's sources of context.
CONTEXTS = ("imports", "definitions", "open", "similar", "edits")


class FrontEndProcess:
    """A program of the front end that answers each line of JSON with another."""

    def __init__(self, command: Sequence[str], name: str) -> None:
        self._name = name
        self._process = subprocess.Popen(
            [*command, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", start_new_session=True
        )

    def ask(self, **given: object) -> dict[str, Any]:
        """Send an object and return the answer. Raises `TabcastError` if the process has ended."""
        stdin, stdout = cast(IO[str], self._process.stdin), cast(IO[str], self._process.stdout)
        try:
            stdin.write(json.dumps(given) + "\n")
            stdin.flush()
            answer: dict[str, Any] = json.loads(stdout.readline())
        except (OSError, ValueError):
            raise TabcastError(f"the front end's {self._name} process ended") from None
        return answer

    def close(self) -> None:
        """End the process and wait for its end."""
        self._process.communicate()


class FrontEnd:
    """Asks the front end about a place: the request that it would send, and what it would show of the answer.

    Args:
        command: starts the front end.
        min_confidence: how probable a suggestion must be, None for the editor's default.
        sources: the front end's own names for where context comes from; "auto" is what an editor would get.
    """

    def __init__(
        self, command: Sequence[str], min_confidence: float | None = None, sources: Sequence[str] = ("auto",)
    ) -> None:
        self._min_confidence = min_confidence
        self._sources = list(sources)
        self._requests, self._filters, self._contexts = (
            FrontEndProcess(command, name) for name in ("request", "filter", "context")
        )

    def request(self, row: ReplayRow, prefix: str, suffix: str, max_tokens: int) -> CompletionRequest | None:
        """Return what an editor would ask there, None if it would not.

        Raises `TabcastError` if the process has ended.
        """
        place = {"prefix": prefix, "suffix": suffix, "path": row.path, "repo": row.repository}
        found = self._requests.ask(**place, max_tokens=max_tokens)["request"]
        return None if found is None else CompletionRequest.from_json(found)

    def shown(self, path: str, prefix: str, suffix: str, text: str, tokens: Sequence[ScoredToken] = ()) -> str:
        """Return the part of a text that an editor would show in such a file, given its tokens' probabilities.

        Raises `TabcastError`.
        """
        place = {"prefix": prefix, "suffix": suffix, "path": path}
        given = {"text": text, "confidence": confidence_to_json(tokens), "min_confidence": self._min_confidence}
        return str(self._filters.ask(**place, **given)["text"])

    def files(self, row: ReplayRow, context_tokens: int) -> tuple[ContextFile, ...]:
        """Return the context, gathered where the typing begins and kept while it lasts. Raises `TabcastError`."""
        found = self._contexts.ask(
            path=row.path,
            prefix=row.prefix,
            suffix=row.suffix,
            open_files=[{"path": path, "text": text} for path, text in row.open_files],
            sources=self._sources,
            context_tokens=context_tokens,
        )["files"]
        return tuple(ContextFile(path=file["path"], text=file["text"]) for file in found)

    def close(self) -> None:
        """End all processes of the front end."""
        for process in (self._requests, self._filters, self._contexts):
            process.close()


class Suggester:
    """Suggests at places of replay rows, one after the other, with one cache that stays warm over keystrokes."""

    def __init__(self, models: ModelSet, front_end: FrontEnd, max_tokens: int) -> None:
        self._models = models
        self._session = Session(models)
        self._front_end = front_end
        self._max_tokens = max_tokens
        self._row: ReplayRow | None = None
        self._files: tuple[ContextFile, ...] = ()

    def __call__(self, row: ReplayRow, position: int) -> ReplayedOffer:
        """Return the suggestion behind `position` characters of the row's insertion."""
        gold, suffix = place(row)
        prefix = row.prefix + gold[:position]
        if row is not self._row:
            self._files = self._front_end.files(row, self._models.target.shape.max_len)
        self._row = row
        request = self._front_end.request(row, prefix, suffix, self._max_tokens)
        if request is None:
            return ReplayedOffer(text="", ms=0.0)
        request = replace(request, tabcast=replace(request.tabcast, context=self._files))
        began = time.perf_counter()
        prompt = prompt_tokens(self._models, request)
        tokens: tuple[ScoredToken, ...] = ()
        text, num_steps, ended_by_limit = "", 0, False
        with closing(complete(self._models, self._session, request, prompt)) as pieces:  # type: ignore[type-var]
            for piece in pieces:
                text += piece.text
                tokens += piece.tokens
                # If the generator is closed early there are no statistics, so steps are told by the cache's length.
                num_steps += piece.stats is None and len(self._session.cache) >= len(prompt.ids)
                ended_by_limit = piece.stats is not None and piece.stats.reason == "length"
                if "\n" in piece.text and self._is_cut(row.path, prefix, suffix, text[: text.rfind("\n") + 1], tokens):
                    break
        if ended_by_limit and request.tabcast.line_mode == "block":  # as the product: only whole lines
            text = text[: text.rfind("\n") + 1]
        text = self._front_end.shown(row.path, prefix, suffix, text, tokens) if text else ""
        num_tokens = max(0, len(self._session.cache) + 1 - len(prompt.ids))
        ms = (time.perf_counter() - began) * 1e3
        return ReplayedOffer(text=text, ms=ms, num_tokens=num_tokens, num_steps=num_steps)

    def _is_cut(self, path: str, prefix: str, suffix: str, text: str, tokens: Sequence[ScoredToken]) -> bool:
        """Return whether the filters end the text before here, so that nothing that follows would be shown."""
        shown = self._front_end.shown(path, prefix, suffix, text, tokens) if text.strip() else text
        return shown.rstrip() != text.rstrip()
