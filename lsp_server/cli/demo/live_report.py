"""Prints the demo with real models while it runs: what is under way, each suggestion as it comes, the figures last.

With `as_json`, nothing is printed but the whole outcome at the end.
"""

from __future__ import annotations

import json
import sys
from types import TracebackType
from typing import Self

from rich.console import Console

from decoding.protocol import Health
from lsp_server.cli.demo import report
from lsp_server.cli.demo.outcome import RealOutcome, Shown


class LiveReport:
    """The terminal during one demo. What is under way stands in one line that goes when the demo goes on."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._console = Console(highlight=False)
        self._shows_progress = not as_json and sys.stderr.isatty()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._clear()

    def tell_progress(self, doing: str) -> None:
        """Show what is under way, where a person watches."""
        if self._shows_progress:
            print(f"\r\x1b[K{doing} …", end="", file=sys.stderr, flush=True)

    def write_head(self, engine: Health, seconds: float) -> None:
        """Print which engine answers, and how long it took to start."""
        if not self._as_json:
            self._clear()
            report.write_head(self._console, engine, seconds)

    def write_scene(self, shown: Shown) -> None:
        """Print one suggestion."""
        if not self._as_json:
            self._clear()
            report.write_scene(self._console, shown)

    def write_end(self, outcome: RealOutcome) -> None:
        """Print the figures, or all as JSON."""
        self._clear()
        if self._as_json:
            print(json.dumps(outcome.to_json(), indent=2, ensure_ascii=False))
            return
        report.write_figures(self._console, outcome)
        if not outcome.is_good:
            print("tabcast: the methods' texts differ, or nothing was suggested", file=sys.stderr)

    def _clear(self) -> None:
        if self._shows_progress:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        sys.stdout.flush()
