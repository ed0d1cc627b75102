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

from decoding.protocol import PLAIN, Health
from lsp_server.cli.demo.outcome import MethodFigures, Outcome, RealOutcome, Shown
from lsp_server.cli.errors import CommandError

LINES_BEFORE: Final = 4
LINES_AFTER: Final = 2
PICTURE_WIDTH: Final = 100
GHOST_STYLE: Final = "dim italic"
# Ghost text stands between these marks where the output has no colours.
GHOST_MARKS: Final = ("«", "»")
REAL_HINT: Final = (
    "The same with a real code model, in Python, TypeScript, Go and Rust:\n"
    "make demo-real, or tabcast demo --real (fetches 1.6 GB, once)"
)


@contextlib.contextmanager
def progress(*, as_json: bool) -> Iterator[None]:
    """Show that something is under way, where a person watches."""
    if as_json or not sys.stderr.isatty():
        yield
    else:
        with Console(stderr=True).status("starting the language server and the engine, and asking them"):
            yield


def save_picture(outcome: Outcome | RealOutcome, path: Path) -> None:
    """Write what a terminal would show as an SVG: a picture of the README. Raises `CommandError`."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        console = Console(file=nowhere, record=True, force_terminal=True, width=PICTURE_WIDTH, highlight=False)
        if isinstance(outcome, RealOutcome):
            write_head(console, outcome.engine, outcome.start_seconds)
            for shown in outcome.shown:
                write_scene(console, shown)
            write_figures(console, outcome)
        else:
            _write(console, outcome)
        try:
            console.save_svg(str(path), title=f"tabcast demo{' --real' if isinstance(outcome, RealOutcome) else ''}")
        except OSError as error:
            raise CommandError(f"{path} can't be written: {error.strerror}") from None


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
        write_scene(console, shown)
    console.print(_table(outcome))
    console.print(REAL_HINT)


def write_scene(console: Console, shown: Shown) -> None:
    """Print the source around a cursor with the suggestion as ghost text."""
    console.print(f"[bold]{shown.scene.title}[/bold]  {shown.scene.file}, {_as_time(shown.wait_ms)}")
    if shown.suggestion is None:
        console.print(f"       nothing suggested ({shown.reason})\n", markup=False)
        return
    before, ghost, after = shown.suggestion.before, shown.suggestion.ghost, shown.suggestion.after
    if not _has_styles(console):
        ghost = GHOST_MARKS[0] + ghost + GHOST_MARKS[1]
    source = Syntax("", shown.scene.language or "text", theme="ansi_dark", background_color="default")
    # The whole text is highlighted, so that strings that begin further up are known; then lines are cut out.
    # Highlighting makes blanks of tabs, so places are counted with blanks.
    text = source.highlight(before + ghost + after)
    start, end = (len(part.expandtabs(source.tab_size)) for part in (before, before + ghost))
    text.stylize(GHOST_STYLE, start, end)
    lines = text.split("\n", allow_blank=True)
    first = max(0, before.count("\n") - LINES_BEFORE)
    last = min((before + ghost).count("\n") + LINES_AFTER, len(lines) - 1)
    while not lines[first].plain.strip():
        first += 1
    while not lines[last].plain.strip():
        last -= 1
    for number, line in enumerate(lines[first : last + 1], start=first + 1):
        console.print(Text(f"{number:>5}  ", style="bright_black") + line, soft_wrap=True)
    console.print()


def _as_time(ms: float) -> str:
    return f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1000:.1f} s"


def _has_styles(console: Console) -> bool:
    return console.is_terminal and not console.no_color


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


def write_head(console: Console, engine: Health, seconds: float) -> None:
    """Print which engine answers, and how long it took to start."""
    drafts = f"drafts by {engine.draft}; " if engine.draft else ""
    console.print(engine.weights or engine.model, markup=False, soft_wrap=True)
    console.print(f"{drafts}on {engine.device}, ready after {_as_time(1000 * seconds)}", markup=False, soft_wrap=True)
    where = "is ghost text" if _has_styles(console) else f"stands between {' and '.join(GHOST_MARKS)}"
    console.print(f"\nWhat an editor would show {where}, with the time that it took.\n")


def write_figures(console: Console, outcome: RealOutcome) -> None:
    """Print the table of methods, and how long all took."""
    places = ", ".join(row.scene.file for row in outcome.measured)
    console.print(f"{places}: the same prompts, decoded by each method:")
    table = Table(box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    table.add_column("method", no_wrap=True)
    for heading in ("tokens\na second", "times\nplain", "tokens\na step"):
        table.add_column(heading, justify="right", vertical="bottom", no_wrap=True)
    table.add_column("drafted tokens\nthat were accepted", vertical="bottom", no_wrap=True)
    table.add_column("same\ntext", vertical="bottom", no_wrap=True)
    plain, *others = (outcome.figures(method) for method in outcome.methods)
    for row in (plain, *others):
        table.add_row(
            row.method,
            f"{row.tokens_per_second:.1f}",
            f"{row.tokens_per_second / plain.tokens_per_second:.2f}" if plain.tokens_per_second else "",
            f"{row.tokens_per_step:.2f}",
            _shares(row),
            "" if row is plain else "yes" if row.is_identical else "NO",
        )
    console.print(table)
    for notice in outcome.notices:
        console.print(notice, markup=False)
    console.print(f"The demo took {outcome.seconds:.0f} s. Its engine has ended, and no setting was changed.")
    console.print("'tabcast setup' chooses a model for this machine, and for your editor.")


def _shares(row: MethodFigures) -> str:
    shares = ", ".join(f"{name} {counts.accepted} of {counts.drafted}" for name, counts in row.drafters.items())
    return shares or ("" if row.method == PLAIN else "none: it would not pay")
