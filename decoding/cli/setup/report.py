"""Tells what `tabcast setup` finds and does: as lines for people, or as one JSON object a line for programs.

docs/language-server.md describes the objects. Knows their fields and no more.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from typing import Any, Protocol

from decoding.cli.fetching import ProgressLine
from decoding.cli.setup.editors import hints
from decoding.storage.pulled import as_size

Fields = Mapping[str, Any]
SOURCES: Mapping[str, str] = {
    "disk": "it lies on this machine; nothing is fetched or copied",
    "bundled": "it came with this program; nothing is fetched",
    "in use": "it is in use; nothing is fetched",
}


class Report(Protocol):
    """Where events go."""

    def tell(self, event: str, **fields: Any) -> None:
        """Tell one event."""


class JsonReport:
    """Prints an object a line."""

    def tell(self, event: str, **fields: Any) -> None:
        """Tell one event."""
        print(json.dumps({"event": event, **fields}, ensure_ascii=False), flush=True)


class TextReport:
    """Prints sentences; progress goes to standard error."""

    def __init__(self) -> None:
        self._fetching = ProgressLine()

    def tell(self, event: str, **fields: Any) -> None:
        """Tell one event."""
        if event == "progress":
            self._progress(fields)
        elif event == "machine":
            _line("This machine", fields["text"])
        elif event == "recommendation":
            _recommendation(fields)
        elif event == "done":
            _done(fields)
        else:
            begin = "\n" if sys.stderr.isatty() and fields["message"].startswith("interrupted") else ""
            print(f"{begin}tabcast: {fields['message']}", file=sys.stderr, flush=True)

    def _progress(self, fields: Fields) -> None:
        if fields["stage"] == "fetch":
            self._fetching(fields["file"], fields["done"], fields["total"])
        elif sys.stderr.isatty():
            is_over = fields["done"] == fields["total"]
            text = "" if is_over else f"{fields['message']} ..."[: shutil.get_terminal_size().columns - 1]
            print(f"\r{text}\033[K", end="", file=sys.stderr, flush=True)


def _line(name: str, text: str) -> None:
    print(f"{name + ':':<14} {text}", flush=True)


def _recommendation(fields: Fields) -> None:
    draft = fields["draft"]
    beside = f", drafts by {draft}" if draft not in ("none", "bundled") else ""
    _line("Recommended", f"{fields['title']}, {fields['kind']} ({fields['name']}){beside}")
    _line("Why", fields["reason"])
    if fields["tokens_per_second"]:
        busy = "; the machine is busy, so it may be faster than that" if fields["is_busy"] else ""
        speed = f"about {fields['tokens_per_second']:.0f} tokens a second, and more where drafts fit"
        prompt = f"{fields['prompt_tokens_per_second']:.0f} of a new prompt"
        _line("Speed", f"{speed}; {prompt} (estimated from a measurement{busy})")
    _line("Memory", f"{as_size(fields['memory_bytes'])}")
    if fields["source"] == "pull":
        _line("To fetch", f"{as_size(fields['download_bytes'])}, into {fields['folder']}")
    else:
        _line("To fetch", SOURCES[fields["source"]])


def _done(fields: Fields) -> None:
    if fields.get("undone"):
        _line("Undone", f"{fields['config']} {fields['message']}")
        return
    if fields["completion"]:
        _line("It completes", f"{fields['prompt']}{fields['completion']}".strip())
    else:
        _line("It answers", f"but suggests nothing for the sample: {fields['message']}")
    if fields["changed"]:
        _line("Written", f"{fields['config']} ('tabcast setup --undo' puts back what was there before)")
    else:
        _line("Unchanged", fields["config"])
    for editor, text in hints().items():
        _line(editor, text)
