"""Implements `python -m lsp_server filter`: what an editor would show of texts that were generated elsewhere.

It serves `tabcast bench`, which may not know the filters: one JSON object a line with `prefix`, `suffix` and `text` on
standard input, one with `text` a line on standard output. With `confidence`, [characters, log-probability] of each
token of the text, improbable ends are cut, by `min_confidence` or else by the editor's default. Texts are Python unless
`language`, or the ending of `path`, tells another. With `judged` the answer also tells whether what is shown breaks the
code: null where it had errors without it, or can't be parsed.
"""

from __future__ import annotations

import argparse
import ast
import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from lsp_server.completion.trigger import decide
from lsp_server.documents.embedded import embedded
from lsp_server.documents.store import Cursor, Snapshot, split_lines
from lsp_server.filters import Surroundings, filter_text
from lsp_server.filters.calibration import bounds_of
from lsp_server.filters.closers import num_replaced
from lsp_server.filters.confidence import cut_unlikely, is_worth_showing
from lsp_server.filters.rewriting import rewrite, rewrite_spans
from lsp_server.languages.file_names import language_of
from lsp_server.languages.grammars import is_without_errors
from lsp_server.settings import Settings


def run(_options: argparse.Namespace) -> int:
    """Filter the text of each line of standard input and return the exit code."""
    for line in sys.stdin:
        given = json.loads(line)
        is_judged, path = given.pop("judged", False), given.pop("path", "")
        given |= {"language": language_of(PurePosixPath(path))} if path else {}
        text = shown(**given)
        verdict = {"breaks": _breaks(given, text)} if is_judged else {}
        print(json.dumps({"text": text, **verdict}), flush=True)
    return 0


def shown(
    prefix: str,
    suffix: str,
    text: str,
    confidence: Sequence[tuple[int, float]] = (),
    min_confidence: float | None = None,
    language: str = "python",
    model: str = "",
) -> str:
    """Return the part of `text` that an editor would show between two texts; "" also where it wouldn't ask."""
    snapshot, cursor = read_place(prefix, suffix, language)
    place, language = embedded(snapshot.place(cursor), language)
    decision = decide(place, is_invoked=True, language=language)
    if decision.mode is None:
        return ""
    around = Surroundings(place=place, mode=decision.mode, language=language)
    left = filter_text(rewrite(text, place, language), around).text
    bound = Settings().min_confidence if min_confidence is None else min_confidence
    if not confidence or bound <= 0:
        return left
    likely = rewrite_spans(text, confidence, place, language)
    left = cut_unlikely(left, likely, 0, bounds_of(bound, model), place, language)
    return left if is_worth_showing(left) else ""


def _breaks(given: dict[str, Any], text: str) -> bool | None:
    """Return whether a text, with the closers that it replaces, makes an error in code that has none without it."""
    prefix, suffix, language = given["prefix"], given["suffix"], given.get("language", "python")
    snapshot, cursor = read_place(prefix, suffix, language)
    replaced = num_replaced(text, snapshot.place(cursor))
    before = _is_without_errors(prefix + suffix, language)
    after = _is_without_errors(prefix + text + suffix[replaced:], language)
    return None if not before or after is None else not after


def _is_without_errors(code: str, language: str) -> bool | None:
    if language != "python":
        return is_without_errors(code.removeprefix("<?php"), language)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def read_place(prefix: str, suffix: str, language: str, uri: str = "") -> tuple[Snapshot, Cursor]:
    """Return the document that two texts make, and the cursor between them."""
    lines, above = split_lines(prefix + suffix), split_lines(prefix)
    snapshot = Snapshot(uri=uri, version=None, revision=0, language=language, lines=tuple(lines), encoding="utf-32")
    return snapshot, Cursor(len(above) - 1, len(above[-1]))
