"""Knows where clients differ from the standard: how they count trigger kinds, and what they can't replace.

LSP 3.18 has 1 for "asked by hand" and 2 for "automatically"; clients of its drafts (vscode-languageclient 9) send 0 and
1. So 0 and 2 tell a client's way of counting, and 1 alone does not.

LSP4IJ, in the IDEs of JetBrains, keeps the part of an item's range that is behind the cursor, and inserts the item's
text after it. It must not know messages or documents.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Final

from lsprotocol import types

BY_HAND: Final = 1
AUTOMATIC: Final = 2
# chosen: editors ask automatically so soon after a key; a user would not do so by hand three times in a row.
SOON_S: Final = 0.3
MAX_BY_HAND_SOON: Final = 3
# LSP4IJ gives the name of its IDE, one of many, and as its version "2025.1 (build PY-251.23774.444)".
_JETBRAINS: Final = re.compile(r"\(build [A-Z]+-\d+")


def replaces_behind_cursor(client: types.ClientInfo | None) -> bool:
    """Return whether a client replaces the part of an item's range that is behind the cursor."""
    return client is None or _JETBRAINS.search(client.version or "") is None


def announces(capabilities: types.ClientCapabilities, name: str) -> bool:
    """Return whether a client announced that it understands something of ours."""
    experimental = capabilities.experimental
    value = experimental.get(name) if isinstance(experimental, dict) else getattr(experimental, name, None)
    return value is True


class TriggerDialect:
    """Learns from one client's requests how it counts trigger kinds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counts_from_0: bool | None = None
        self._changed_s = float("-inf")
        self._num_soon = 0

    def changed(self) -> None:
        """Note that the client changed a document."""
        self._changed_s = self._clock()

    def counts_from_0(self) -> None:
        """Note that something else about the client showed that it counts from 0."""
        self._counts_from_0 = True

    def meant(self, kind: object) -> object:
        """Return the standard's number for a kind that a client sent; a value that is no kind stays as it is."""
        if kind == 0:
            self._counts_from_0 = True
        elif kind == AUTOMATIC:
            self._counts_from_0 = False
        elif kind == BY_HAND and self._counts_from_0 is None:
            is_soon = self._clock() - self._changed_s < SOON_S
            self._num_soon = self._num_soon + 1 if is_soon else 0
            if self._num_soon >= MAX_BY_HAND_SOON:
                self._counts_from_0 = True
        return {0: BY_HAND, 1: AUTOMATIC}.get(kind, kind) if self._counts_from_0 and isinstance(kind, int) else kind
