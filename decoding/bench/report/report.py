"""Defines a report of figures, and its forms: a table in the terminal, JSON, a page of HTML."""

from __future__ import annotations

import datetime
import html
import importlib.metadata
import json
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any

import tokenizers
import torch
import transformers
from rich.console import Console
from rich.table import Table

from decoding.bench.report import plots
from decoding.errors import TabcastError
from decoding.models.loading.model_set import ModelSet
from decoding.protocol import VERSION

Row = dict[str, Any]

WIDTH_OF_FILES = 130


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The figures of a run, where and by which command it ran; `is_complete` is false if the run was interrupted."""

    suite: str
    rows: Sequence[Row]
    model: str
    machine: dict[str, Any]
    versions: dict[str, str]
    command: str = field(default_factory=lambda: _command())  # noqa: PLW0108 - defined below
    date: str = field(default_factory=lambda: datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"))
    is_complete: bool = True

    def write_json(self, path: Path) -> None:
        """Write the report as one JSON object. Raises `TabcastError`."""
        _write(path, json.dumps(asdict(self), indent=1) + "\n")

    def write_html(self, path: Path) -> None:
        """Write a page that needs nothing else; lists of figures are in its pictures and in the JSON object alone.

        Raises `TabcastError`.
        """
        names = [name for name in _columns(self.rows) if name == "method" or self._has(name, int | float | dict)]
        head = "".join(f"<th>{html.escape(_title(name))}</th>" for name in names)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(_cell(row.get(name)))}</td>" for name in names) + "</tr>\n"
            for row in self.rows
        )
        facts = "".join(f"<li>{html.escape(line)}</li>" for line in (*self.settings(), *self.facts()))
        try:
            pictures = "".join(f"<figure>{picture}</figure>\n" for picture in plots.draw(self.rows))
        except ImportError:
            pictures = f"<p>{html.escape(plots.ADVICE)}</p>\n"
        page = PAGE.format(title=html.escape(self.suite), facts=facts, head=head, body=body, pictures=pictures)
        _write(path, page)

    def facts(self) -> list[str]:
        """Return the facts without which the figures are worth nothing: machine, versions, command."""
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        machine = ", ".join(f"{name} {value}" for name, value in self.machine.items())
        state = "" if self.is_complete else " (interrupted: the rows so far)"
        return [f"{self.model}{state}", machine, versions, f"{self.date}: {self.command}"]

    def show(self, console: Console | None = None) -> None:
        """Print the numbers as a table, and the facts below it."""
        console = console or Console()
        if not console.is_terminal:
            console.width = max(console.width, WIDTH_OF_FILES)
        console.print(self._table())
        for line in (*self.settings(), *self.facts()):
            console.print(line, style="dim", highlight=False, soft_wrap=True)

    def settings(self) -> list[str]:
        """Return the settings of rows that aren't ours alone; only once if it is equal for all."""
        lines = [(str(row["method"]), str(row["settings"])) for row in self.rows if row.get("settings")]
        if len(lines) == len(self.rows) > 1 and len({settings for _, settings in lines}) == 1:
            return [f"all rows: {lines[0][1]}"]
        return [f"{method}: {settings}" for method, settings in lines]

    def _table(self) -> Table:
        numbers = [name for name in _columns(self.rows) if name != "method" and self._has(name, int | float)]
        heads = [_title(name) for name in numbers]
        methods = [str(row["method"]) for row in self.rows]
        cells = [[_cell(row.get(name)) for name in numbers] for row in self.rows]
        table = Table(title=f"tabcast bench {self.suite}", title_justify="left")
        table.add_column("method", no_wrap=True)
        if len(numbers) > 3 * len(self.rows):  # many figures of few rows read better as columns
            heads, methods, cells = methods, heads, [list(column) for column in zip(*cells, strict=True)]
        for head in heads:
            table.add_column(head, justify="right", overflow="fold")  # a digit must not be lost
        for method, line in zip(methods, cells, strict=True):
            table.add_row(method, *line)
        return table

    def _has(self, column: str, kind: type | UnionType) -> bool:
        return any(isinstance(row.get(column), kind) for row in self.rows)


def machine(models: ModelSet | None) -> dict[str, Any]:
    """Describe the machine in a few words; nothing in it names its user."""
    device = models.target.device if models else torch.device("cpu")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {"device": device.type, "name": name, "cores": os.cpu_count(), "threads": torch.get_num_threads()}


def versions() -> dict[str, str]:
    """Return the versions of all packages that decide a figure; optional ones only where they are installed."""
    optional = {}
    with suppress(importlib.metadata.PackageNotFoundError):
        optional["xllamacpp"] = importlib.metadata.version("xllamacpp")
    return {
        "tabcast": VERSION,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "tokenizers": tokenizers.__version__,
        **optional,
    }


def _command() -> str:
    """Return the command as it was typed, without the arguments that `tabcast` adds for the engine's side."""
    return shlex.join(["tabcast", *(word for word in sys.argv[1:] if not word.startswith("--front-end="))])


def _columns(rows: Sequence[Row]) -> list[str]:
    names = dict.fromkeys(name for row in rows for name in row)
    return [name for name in names if any(row.get(name) not in (None, {}, [], "") for row in rows)]


def _title(column: str) -> str:
    return column.replace("_percent", " %").replace("_", " ")


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_cell(item)}" for name, item in value.items())
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"
    return str(value)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>tabcast bench {title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem; color: #222; background: #fff }}
table {{ border-collapse: collapse }}
th, td {{ padding: .3rem .8rem; border-bottom: 1px solid #ddd; text-align: right }}
th:first-child, td:first-child {{ text-align: left; white-space: nowrap }} li {{ color: #666 }}
.wide {{ overflow-x: auto }} figure {{ margin: 2rem 0; max-width: 50rem }} svg {{ width: 100%; height: auto }}
</style>
<h1>tabcast bench {title}</h1>
<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>
{body}</tbody></table></div>
{pictures}<ul>{facts}</ul>
</html>
"""


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise TabcastError(f"{path} can't be written: {error.strerror}") from None
