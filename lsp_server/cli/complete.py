"""Implements `tabcast complete`: the suggestion at a cursor in a file, as for an editor that asks by hand."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from decoding.protocol import CompletionOptions, CompletionRequest, CompletionStats
from lsp_server.cli.connection import chosen_connection
from lsp_server.cli.errors import CommandError
from lsp_server.cli.parser import engine_arguments
from lsp_server.completion.build_request import build_request
from lsp_server.completion.cache import CursorContext, cursor_context
from lsp_server.completion.settling import Growing, Settling
from lsp_server.completion.trigger import decide
from lsp_server.documents.store import Cursor, Snapshot, split_lines, without_end
from lsp_server.engine.seam import Client
from lsp_server.filters import Surroundings, filter_text
from lsp_server.filters.rewriting import SpanRewriter, rewrite
from lsp_server.filters.surroundings import Mode
from lsp_server.languages.file_names import language_of
from lsp_server.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The suggestion ("" if there is none), the engine's statistics, the time, and why the text ended where it does."""

    text: str
    stats: CompletionStats
    ms: float
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Return the object that `--json` prints."""
        return {
            "text": self.text,
            "tokens": self.stats.tokens,
            "steps": self.stats.steps,
            "tokens_per_step": round(self.stats.tokens_per_step, 3),
            "ms": round(self.ms, 1),
            "drafters": {name: asdict(counts) for name, counts in self.stats.drafters.items()},
            "reason": self.reason,
            "notice": self.stats.notice,
        }


def run(options: argparse.Namespace) -> int:
    """Print the suggestion at the cursor and return the exit code."""
    snapshot = read_snapshot(options.file)
    cursor = checked_cursor(snapshot, options.line, options.column)
    answer = asyncio.run(_answer(options, snapshot, cursor))
    if options.json:
        print(json.dumps(answer.to_json(), ensure_ascii=False))
    elif answer.text:
        print(answer.text)
    else:
        print(f"tabcast: nothing to suggest here: {answer.reason}", file=sys.stderr)
    if answer.stats.notice:
        print(f"tabcast: {answer.stats.notice}", file=sys.stderr)
    return 0


def read_snapshot(path: Path) -> Snapshot:
    """Read a file as an editor would open it. Raises `CommandError` if it is no text file."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise CommandError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise CommandError(f"{path} is a directory") from None
    except UnicodeDecodeError as error:
        raise CommandError(
            f"{path} is not UTF-8: byte {error.start + 1} is 0x{error.object[error.start]:02x}"
        ) from None
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from None
    return Snapshot(
        uri=path.resolve().as_uri(),
        version=None,
        revision=0,
        language=language_of(path),
        lines=tuple(split_lines(text)),
        encoding="utf-32",
    )


def checked_cursor(snapshot: Snapshot, line: int, column: int) -> Cursor:
    """Return the cursor of a line and a column that count from 1. Raises `CommandError` if it is not in the file."""
    num_lines = len(snapshot.lines)
    if not 1 <= line <= num_lines:
        raise CommandError(f"line {line} is outside of the file, whose lines are 1 to {num_lines}")
    last = len(without_end(snapshot.lines[line - 1])) + 1
    if not 1 <= column <= last:
        raise CommandError(f"column {column} is outside of line {line}, whose columns are 1 to {last}")
    return Cursor(line - 1, column - 1)


async def _answer(options: argparse.Namespace, snapshot: Snapshot, cursor: Cursor) -> Answer:
    spot = cursor_context(snapshot, cursor)
    decision = decide(spot.place, is_invoked=True, language=spot.language)
    if decision.mode is None:
        return Answer(text="", stats=CompletionStats(), ms=0.0, reason=decision.reason)
    request = _request(options, snapshot, cursor, decision.mode)
    async with chosen_connection(engine_arguments(options)) as client:
        await client.ensure()
        health = await client.wait_ready()
        if health.languages and snapshot.language not in health.languages:
            known = ", ".join(health.languages)
            raise CommandError(f"{health.held} knows {known} only; 'tabcast models list' shows others")
        needs_figures = bool(options.json or request.tabcast.method)
        return await _ask(client, request, spot, decision.mode, needs_figures=needs_figures)


def _request(options: argparse.Namespace, snapshot: Snapshot, cursor: Cursor, mode: Mode) -> CompletionRequest:
    chosen = CompletionOptions(method="plain" if options.plain else options.method or "")
    request = build_request(snapshot, cursor, mode, Settings(), _project(options.file), options=chosen, reads_on=True)
    return replace(request, max_tokens=options.max_tokens or request.max_tokens)


def _project(file: Path) -> list[str]:
    """Return the folder that an editor would have open: the file's repository, if it lies in one."""
    return next(([folder.as_uri()] for folder in file.resolve().parents if (folder / ".git").exists()), [])


async def _ask(
    client: Client, request: CompletionRequest, spot: CursorContext, mode: Mode, *, needs_figures: bool
) -> Answer:
    """Ask the engine until the text is settled, as for an editor.

    The engine's figures come last: where they are needed, the rest is read for them, and counts for nothing else.
    """
    started, place, language = time.perf_counter(), spot.place, spot.language
    text, num_steps, stats = "", 0, CompletionStats()
    settling, spans, settled_ms = Settling(spot, mode), SpanRewriter(place, language), 0.0
    async with aclosing(client.complete(request)) as parts:
        async for part in parts:
            if isinstance(part, CompletionStats):
                stats = part
            elif not settled_ms:
                text, num_steps = text + part.text, num_steps + 1
                spans.feed(part.text, part.confidence)
                if settling.is_settled(Growing(rewrite(text, place, language), spans.known, spot, 0)):
                    settled_ms = (time.perf_counter() - started) * 1000
                    if not needs_figures:
                        break
    if settled_ms:
        stats = replace(stats, tokens=len(spans.known), steps=num_steps, reason="settled")
    around = Surroundings(place=place, mode=mode, is_cut_short=stats.reason == "length", language=language)
    kept, dropped_by = filter_text(rewrite(text, place, language), around)
    ms = settled_ms or (time.perf_counter() - started) * 1000
    return Answer(text=kept, stats=stats, ms=ms, reason=f"filter: {dropped_by}" if dropped_by else stats.reason)
