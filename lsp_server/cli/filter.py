"""`python -m lsp_server filter`: what an editor would show of texts that were completed elsewhere.

For `tabcast bench`, which may not know the filters: one JSON object a line with `prefix`, `suffix` and `text` on
standard input, one with `text` a line on standard output.
"""

from __future__ import annotations

import argparse
import json
import sys

from lsp_server.documents import Cursor, Snapshot, split_lines
from lsp_server.filters import filter_text
from lsp_server.trigger import decide


def run(_options: argparse.Namespace) -> int:
    """Filter line by line."""
    for line in sys.stdin:
        given = json.loads(line)
        print(json.dumps({"text": shown(given["prefix"], given["suffix"], given["text"])}), flush=True)
    return 0


def shown(prefix: str, suffix: str, text: str) -> str:
    """What is left of `text` between `prefix` and `suffix`; "" also where an editor that asks by hand gets nothing."""
    lines = split_lines(prefix + suffix)
    above = split_lines(prefix)
    cursor = Cursor(len(above) - 1, len(above[-1]))
    snapshot = Snapshot(uri="", version=None, revision=0, language="", lines=tuple(lines), encoding="utf-32")
    place = snapshot.place(cursor)
    decision = decide(place, is_invoked=True)
    return filter_text(text, place, decision.mode).text if decision.mode else ""
