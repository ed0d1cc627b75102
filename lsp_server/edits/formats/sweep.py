"""Implements the format of Sweep's models: files behind `<|file_sep|>`, the region as it was, is and becomes.

It is that of the model cards of sweep-next-edit. What becomes of the region begins with its unchanged lines.
"""

from __future__ import annotations

from typing import Final

from lsp_server.edits.formats.form import Asked, with_cursor, without_cursor
from lsp_server.edits.window import Window

_SEPARATOR: Final = "<|file_sep|>"
_CURSOR: Final = "<|cursor|>"


class Sweep:
    """The format of sweep-next-edit, the first and the second."""

    def render(self, window: Window) -> Asked:
        """Return the prompt for a window."""
        path, span = window.path, f"{window.first + 1}:{window.first + len(window.region)}"
        region = "".join(window.region)
        parts = ["", _SEPARATOR, f"{path}\n{''.join((*window.above, *window.region, *window.below))}\n"]
        for one in window.recent:
            old, new = "".join(one.old).rstrip("\n"), "".join(one.new).rstrip("\n")
            parts += [_SEPARATOR, f"{path}.diff\noriginal:\n{old}\nupdated:\n{new}\n"]
        parts += [_SEPARATOR, f"original/{path}:{span}\n{region}"]
        parts += [_SEPARATOR, f"current/{path}:{span}\n{with_cursor(window, _CURSOR)}"]
        parts += [_SEPARATOR, f"updated/{path}:{span}\n{''.join(window.begun)}"]
        return Asked(
            parts=tuple(parts), draft="".join(window.region[window.num_begun :]), stops=(_SEPARATOR, "<|endoftext|>")
        )

    def read(self, window: Window, output: str, *, is_whole: bool) -> str | None:
        """Return the region's new text as far as it is written."""
        text = "".join(window.begun) + without_cursor(output, _CURSOR)
        return text.rstrip("\n") + "\n" if is_whole else text
