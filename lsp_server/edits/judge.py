"""Decides whether a change that a model wrote is worth showing, and makes an edit of it. It must not know the engine.

Nothing is shown that changes only blanks or comments, takes back what the user just did, or that the model was unsure
of; only the tokens of the change count for that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from decoding.protocol import Confidence
from lsp_server.documents.store import Cursor, without_end
from lsp_server.edits.code import masked
from lsp_server.edits.history import Hunk
from lsp_server.edits.proposal import Change, Edit, applied

BY_MODEL: Final = "by the model"
# chosen: a change of more lines than these is rather the model's than the user's.
MAX_LINES: Final = 8
# chosen: how probable the change's tokens have to be on average, and the least probable of them.
MIN_MEAN: Final = 0.7
MIN_TOKEN: Final = 0.3


def edit_of(change: Change, first: int, lines: Sequence[str]) -> Edit | None:
    """Return a change of the region that begins at line `first` as an edit; None if it is at the document's open end.

    A line that became another is changed from its first different character to its last.
    """
    start, end = first + change.first, first + change.end
    line_end = next((line[len(without_end(line)) :] for line in lines if line != without_end(line)), "\n")
    old = [without_end(line) for line in change.old]
    new = [without_end(line) for line in change.new]
    if len(old) == len(new) == 1:
        head, tail = _around(old[0], new[0])
        return Edit(
            start=Cursor(start, head),
            end=Cursor(start, len(old[0]) - tail),
            old=old[0][head : len(old[0]) - tail],
            new=new[0][head : len(new[0]) - tail],
            why=BY_MODEL,
        )
    if end >= len(lines):
        return None
    return Edit(
        start=Cursor(start, 0),
        end=Cursor(end, 0),
        old="".join(lines[start:end]),
        new="".join(line + line_end for line in new),
        why=BY_MODEL,
    )


def why_unwanted(edit: Edit, lines: Sequence[str], language: str, hunks: Sequence[Hunk]) -> str:
    """Return why an edit isn't shown, or ""."""
    if edit.old.split() == edit.new.split():
        return "only blanks would change"
    if max(edit.old.count("\n"), edit.new.count("\n")) > MAX_LINES:
        return "too much would change"
    after = applied(edit, lines)
    if _code(lines, language) == _code(after, language):
        return "only a comment would change"
    if any(_takes_back(edit, hunk, after) for hunk in hunks):
        return "it takes back what was just changed"
    return ""


def _takes_back(edit: Edit, hunk: Hunk, after: Sequence[str]) -> bool:
    """Return whether a line that the user changed becomes again what it was."""
    if not edit.start.line < hunk.end or not hunk.first <= edit.end.line or len(after) < hunk.first:
        return False
    if any(tuple(after[hunk.first : hunk.first + len(version)]) == version for version in hunk.versions if version):
        return True
    before = [version for version in hunk.versions if len(version) == len(hunk.lines)]
    now = after[hunk.first : hunk.end]
    return any(
        was != line and was == new
        for version in before
        for was, line, new in zip(version, hunk.lines, now, strict=False)
    )


def is_sure(text: str, change: Change, region: Sequence[str], begun: str, confidence: Confidence) -> bool:
    """Return whether the tokens of a change are probable enough. `text` is the region's new text with `begun`.

    `confidence` has the characters and the log-probability of each token behind `begun`.
    """
    start, end = _span(text, change, region)
    log_probs, at = [], len(begun)
    for size, log_prob in confidence:
        if at < end and start < at + size:
            log_probs.append(log_prob)
        at += size
    if not log_probs:
        return False
    return math.exp(sum(log_probs) / len(log_probs)) >= MIN_MEAN and math.exp(min(log_probs)) >= MIN_TOKEN


def _span(text: str, change: Change, region: Sequence[str]) -> tuple[int, int]:
    """Return where the change begins and ends in the new text; what is only taken away is told by what follows it."""
    start = sum(map(len, region[: change.first]))
    old, new = "".join(change.old), "".join(change.new)
    head, tail = _around(old, new)
    return start + head, max(start + len(new) - tail, start + head + 1)


def _around(old: str, new: str) -> tuple[int, int]:
    """Return how many characters two texts have in common at their beginning, and behind that at their end."""
    shorter = min(len(old), len(new))
    head = next((i for i in range(shorter) if old[i] != new[i]), shorter)
    shorter -= head
    tail = next((i for i in range(shorter) if old[-1 - i] != new[-1 - i]), shorter)
    return head, tail


def _code(lines: Sequence[str], language: str) -> list[str]:
    """Return the words of a text without its comments."""
    text = "".join(lines)
    code = masked(text, language)
    return "".join(a if a.isspace() or not b.isspace() else " " for a, b in zip(text, code, strict=True)).split()
