"""Forms of strings, marks of comments and expressions that several languages share."""

from __future__ import annotations

import re
from typing import Final

from lsp_server.languages.language import StringForm


def line(pattern: str) -> re.Pattern[str]:
    """Compile an expression for the beginning of a line, behind its blanks."""
    return re.compile(rf"\s*(?:{pattern})", re.ASCII)


def end(pattern: str, flags: re.RegexFlag = re.ASCII) -> re.Pattern[str]:
    """Compile an expression for the end of a line."""
    return re.compile(rf"(?:{pattern})\s*\Z", flags)


HASH: Final = ("#",)
TRIPLE: Final = (StringForm('"""', over_lines=True), StringForm("'''", over_lines=True))
LONG_DOUBLE: Final = StringForm('"""', over_lines=True)
HEREDOC: Final = re.compile(r"<<[-~]?[ \t]*[\"']?([A-Za-z_]\w*)[\"']?")
# Where a condition may stand behind a statement: `return x if y`.
LEAVES_UNLESS: Final = line(
    r"(?:return|raise|die|exit|break|last|next|redo|throw)\b(?!.*\b(?:if|unless|and|or)\b)(?!\s*[:=.])"
)
NOTHING_LEAVES: Final = re.compile(r"(?!)")
