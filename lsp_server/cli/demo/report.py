"""Prints the demo's results: source with ghost text and a table, or JSON. Knows the terminal, no engine or editor."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from rich import box
from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from lsp_server.cli.demo.outcome import Outcome, Shown

LINES_BEFORE: Final = 4
LINES_AFTER: Final = 2
PICTURE_WIDTH: Final = 100
GHOST_STYLE: Final = "dim italic"
# Ghost text stands between these marks where the output has no colours.
GHOST_MARKS: Final = ("«", "»")


@contextlib.contextmanager
def progress(*, as_json: bool) -> Iterator[None]:
    """Show that something is under way, where a person watches."""
    if as_json or not sys.stderr.isatty():
        yield
    else:
        with Console(stderr=True).status("starting the language server and the engine, and asking them"):
            yield


def save_picture(outcome: Outcome, path: Path) -> None:
    """Write what a terminal would show as an SVG: the README's picture."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        console = Console(file=nowhere, record=True, force_terminal=True, width=PICTURE_WIDTH, highlight=False)
        _write(console, outcome)
        console.save_svg(str(path), title="tabcast demo")


def write(outcome: Outcome, *, as_json: bool) -> None:
    """Print the results on standard output."""
    if as_json:
        print(json.dumps(outcome.to_json(), indent=2, ensure_ascii=False))
        return
    _write(Console(highlight=False), outcome)
    if not outcome.is_good:
        print("tabcast: plain and speculative decoding differ, or nothing was suggested", file=sys.stderr)


def _write(console: Console, outcome: Outcome) -> None:
    console.print(f"{outcome.engine.held} on {outcome.engine.device}, asked through the language server\n")
    for shown in outcome.shown:
        _write_scene(console, shown)
    console.print(_table(outcome))


def _write_scene(console: Console, shown: Shown) -> None:
    console.print(f"[bold]{shown.scene.title}[/bold]  {shown.scene.file}, {shown.wait_ms:.0f} ms")
    if shown.suggestion is None:
        console.print(f"       nothing suggested ({shown.reason})\n", markup=False)
        return
    before, ghost, after = shown.suggestion.before, shown.suggestion.ghost, shown.suggestion.after
    if console.no_color or not console.is_terminal:
        ghost = GHOST_MARKS[0] + ghost + GHOST_MARKS[1]
    source = Syntax("", "python", theme="ansi_dark", background_color="default")
    # The whole text is highlighted, so that strings that begin further up are known; then lines are cut out.
    text = source.highlight(before + ghost + after)
    text.stylize(GHOST_STYLE, len(before), len(before) + len(ghost))
    first = max(0, before.count("\n") - LINES_BEFORE)
    last = (before + ghost).count("\n") + LINES_AFTER
    for number, line in enumerate(text.split("\n", allow_blank=True)[first : last + 1], start=first + 1):
        console.print(Text(f"{number:>5}  ", style="bright_black") + line, soft_wrap=True)
    console.print()


def _table(outcome: Outcome) -> Table:
    title = "New text for the engine, decoded speculatively first, then plainly:"
    table = Table(title=title, title_justify="left", title_style="", box=box.SIMPLE_HEAD, collapse_padding=True)
    table.add_column("cursor", no_wrap=True)
    for heading in ("tokens", "plain\nsteps", "plain\nms", "spec.\nsteps", "spec.\nms", "tokens\n/step", "identical"):
        table.add_column(heading, justify="right", vertical="bottom", no_wrap=True)
    for row in outcome.comparisons:
        plain, speculative = row.plain, row.speculative
        table.add_row(
            row.scene.title,
            str(plain.tokens),
            str(plain.steps),
            f"{plain.decode_ms:.0f}",
            str(speculative.steps),
            f"{speculative.decode_ms:.0f}",
            f"{speculative.tokens_per_step:.2f}",
            "yes" if row.is_identical else "NO",
        )
    return table
