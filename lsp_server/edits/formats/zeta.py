"""Implements the formats of Zed's models: Zeta, an instruction with a marked excerpt, and Zeta 2, marks of a merge.

The later ones write the whole region, since they may write instead that nothing has to change.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Final

from lsp_server.edits.formats.form import Asked, with_cursor, without_cursor
from lsp_server.edits.window import Recent, Window

_INSTRUCTION: Final = (
    "### Instruction:\nYou are a code completion assistant and your task is to analyze user edits and then rewrite an"
    " excerpt that the user provides, suggesting the appropriate edits within the excerpt, taking into account the"
    " cursor location.\n\n### User Edits:\n\n"
)
_START, _END, _HERE = "<|editable_region_start|>", "<|editable_region_end|>", "<|user_cursor_is_here|>"
_CURSOR: Final = "<|user_cursor|>"
_UPDATED: Final = ">>>>>>> UPDATED"
_NO_EDITS: Final = "NO_EDITS"
_MARKS: Final = ("<|marker_1|>", "<|marker_2|>")


class Zeta:
    """The format of the first Zeta."""

    def render(self, window: Window) -> Asked:
        """Return the prompt for a window."""
        edits = [f'User edited "{window.path}":\n```diff\n{_diff(one)}```' for one in window.recent]
        is_start = window.first == len(window.above)
        excerpt = f"```{window.path}\n{'<|start_of_file|>' + chr(10) if is_start else ''}"
        excerpt += f"{''.join(window.above)}{_START}\n{with_cursor(window, _HERE)}{_END}\n{''.join(window.below)}```"
        text = "\n\n".join(edits)
        prompt = f"{_INSTRUCTION}{text}\n\n### User Excerpt:\n\n{excerpt}\n\n### Response:\n\n"
        prompt += f"```{window.path}\n"
        prompt += f"<|start_of_file|>\n{_START}\n" if is_start else f"{_START}\n"
        rest = "".join(window.region[window.num_begun :])
        return Asked(parts=(prompt + "".join(window.begun),), draft=f"{rest}{_END}", stops=(f"\n{_END}",))

    def read(self, window: Window, output: str, *, is_whole: bool) -> str | None:
        """Return the region's new text as far as it is written."""
        text = "".join(window.begun) + without_cursor(output, _HERE)
        return text + "\n" if is_whole and not text.endswith("\n") else text


class Zeta2:
    """The format of Zeta 2: the text below first, then the history and the file, and the region as in a merge."""

    def render(self, window: Window) -> Asked:
        """Return the prompt for a window."""
        parts = _merged(window, f"<<<<<<< CURRENT\n{with_cursor(window, _CURSOR)}=======\n")
        return Asked(parts=parts, draft=f"{''.join(window.region)}{_UPDATED}", stops=(_UPDATED,))

    def read(self, window: Window, output: str, *, is_whole: bool) -> str | None:
        """Return the region's new text as far as it is written; None if the model says that nothing has to change."""
        return None if output.startswith(_NO_EDITS) else without_cursor(output, _CURSOR)


class Zeta21:
    """The format of Zeta 2.1: as Zeta 2, with the region between two numbered marks."""

    def render(self, window: Window) -> Asked:
        """Return the prompt for a window."""
        parts = _merged(window, f"{_MARKS[0]}\n{with_cursor(window, _CURSOR)}{_MARKS[1]}\n")
        return Asked(parts=parts, draft=f"{_MARKS[0]}\n{''.join(window.region)}{_MARKS[1]}", stops=(_MARKS[1],))

    def read(self, window: Window, output: str, *, is_whole: bool) -> str | None:
        """Return the region's new text as far as it is written; None if the model says that nothing has to change."""
        head = f"{_MARKS[0]}\n"
        if not output.startswith(head):
            return None
        text = without_cursor(output[len(head) :], _CURSOR)
        return text + "\n" if is_whole and not text.endswith("\n") else text


def _merged(window: Window, current: str) -> tuple[str, ...]:
    """Return the parts of a prompt of Zeta 2: what stands below, the history, and the file with its region."""
    edits = "".join(f"{_headers(window.path, one)}{_diff(one)}\n" for one in window.recent)
    history = f"<filename>edit_history\n{edits}" if edits else ""
    prefix = f"{history}<filename>{window.path}\n{''.join(window.above)}{current}"
    below = "".join(window.below) or "\n"
    return "", "<[fim-suffix]>", below, "<[fim-prefix]>", prefix, "<[fim-middle]>", ""


def _headers(path: str, one: Recent) -> str:
    return f"{'// User accepted prediction:' + chr(10) if one.is_ours else ''}--- a/{path}\n+++ b/{path}\n"


def _diff(one: Recent) -> str:
    """Return an edit as the hunk of a diff, with no lines around."""
    span = f"@@ -{_span(one.first, one.old)} +{_span(one.first, one.new)} @@\n"
    changed = list(difflib.ndiff(one.old, one.new))
    return span + "".join(line[0] + line[2:] for line in changed if line[0] != "?")


def _span(first: int, lines: Sequence[str]) -> str:
    return f"{first + 1},{len(lines)}"
