"""Describes the places where a demo asks: a cursor in a sample project, and what is removed from the file after it.

Knows the sample project's text and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lsp_server.documents.store import Cursor, Snapshot, split_lines
from lsp_server.languages.file_names import language_of

PROJECT: Final = Path(__file__).with_name("project")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A cursor behind `before`, which occurs once in the file; `cut` follows there and is removed."""

    title: str
    file: str
    before: str
    cut: str
    project: Path = PROJECT

    @property
    def path(self) -> Path:
        """Return the file's path in the sample project."""
        return self.project / self.file

    @property
    def language(self) -> str:
        """Return the language, by the name that editors give it."""
        return language_of(self.path)

    def prefix_and_suffix(self) -> tuple[str, str]:
        """Return the text before and behind the cursor, as the editor has it open."""
        text = self.path.read_text(encoding="utf-8")
        head, tail = text.split(self.before + self.cut)
        return head + self.before, tail

    def snapshot(self) -> tuple[Snapshot, Cursor]:
        """Return the document as the language server would hold it, and the cursor in it."""
        prefix, suffix = self.prefix_and_suffix()
        lines = tuple(split_lines(prefix + suffix))
        snapshot = Snapshot(
            uri=self.path.as_uri(), version=None, revision=0, language=self.language, lines=lines, encoding="utf-32"
        )
        return snapshot, Cursor(prefix.count("\n"), len(prefix) - prefix.rfind("\n") - 1)


# Each scene has a file of its own, so that what an engine remembers of one prompt is of no use for the next.
SCENES: Final = (
    Scene(
        title="empty body",
        file="members.py",
        before="    def __len__(self) -> int:\n        ",
        cut="return len(self._members)",
    ),
    Scene(
        title="inside a word",
        file="shelves.py",
        before="    return sum(len(shelf.titles) for she",
        cut="lf in shelves)",
    ),
    Scene(
        title="rest of a signature",
        file="loans.py",
        before="    def loans_of_member(self, member: ",
        cut="str) -> list[Loan]:",
    ),
    Scene(
        title="prefix and suffix",
        file="books.py",
        before="        if title not in ",
        cut="self._books:",
    ),
    Scene(
        title="lines that repeat",
        file="storage.py",
        before='    with path.open("w", ',
        cut='encoding="utf-8") as file:',
    ),
)
