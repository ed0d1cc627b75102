"""Defines what the rules want to know of a language: comments, strings, brackets, and how a block opens and ends.

A rule reads these fields and never a language's name, so that a new language is one more entry of `table.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

Body = Literal["braces", "indent", "words", "tags", "prose"]
"""How a block is told: by `{}`, by indentation alone, by words like `end`, by tags, or not at all in prose."""

_BRACE_AT_END: Final = re.compile(r"\{\s*\Z")
_NEVER: Final = re.compile(r"(?!)")
_LEAVES: Final = re.compile(
    r"\s*(?:(?:return|throw|break|continue)(?![\w:=.-])|raise(?=\s+\w|\s*\Z)|goto\s+\w)", re.ASCII
)
_LABEL: Final = re.compile(r"\s*(?:case\b|(?:default|public|private|protected)\b[^;=(]*:)")
_BRACKET_CLOSER: Final = re.compile(r"\s*[)\]}][)\]};,\s]*\Z")
_BRACKET_GOES_ON: Final = re.compile(r"\s*[)\]}]")


@dataclass(frozen=True, slots=True)
class StringForm:
    """One way to write a string.

    `over_lines` is true if the string may hold line ends; `escape` is the character that takes away the next one's
    meaning, or "". `is_char` is true for quotes that hold one character, so that a lone one opens nothing (`'a` in
    Rust). `interpolation` opens code within the string that ends at its closing brace, or is "".
    """

    opener: str
    closer: str = ""
    over_lines: bool = False
    escape: str = "\\"
    is_char: bool = False
    interpolation: str = ""

    @property
    def end(self) -> str:
        """Return the mark that ends the string."""
        return self.closer or self.opener


DOUBLE: Final = StringForm('"')
SINGLE: Final = StringForm("'")
CHARACTER: Final = StringForm("'", is_char=True)


@dataclass(frozen=True, kw_only=True)
class Language:
    """One language, with the defaults of the family of C.

    Attributes:
        line_comments: marks of comments that end with the line.
        comment_after_blank: whether such a mark counts only at a line's start and behind a blank, as in a shell.
        block_comments: pairs of marks around a comment.
        strings: the forms of strings; the longer opener counts first.
        brackets: the pairs that count, in a row: `"()[]{}"`; "" where they mean nothing.
        statements_in: the opening brackets in which a statement may begin.
        body: how a block is told.
        header_end: matches the end of a line whose next line is deeper.
        header_start: matches the first line of a statement that has a body; None if the end says enough.
        block_end: matches a line that only ends a block, besides closing brackets: `end`, `done`, `</div>`.
        goes_on: matches a line at the block's indentation that continues the statement above it, besides brackets.
        leaves: matches a statement behind which nothing at its indentation runs.
        definition: matches the first line of the next definition, before which a block ends.
        heredoc: matches the mark of a text that begins on the next line; its group 1 names the end.
        literal: matches what looks like strings or brackets and is none, such as a regular expression.
        label: matches the first line of a part of a body, which may stand at the header's indentation.
        tag: matches a tag, or what holds none; its groups `opens` and `closes` name what it begins or ends.
        needs_no_end: matches the name of a tag that may stay open.
        embeds: whether scripts and styles in other languages stand in it.
    """

    line_comments: tuple[str, ...] = ("//",)
    comment_after_blank: bool = False
    block_comments: tuple[tuple[str, str], ...] = (("/*", "*/"),)
    strings: tuple[StringForm, ...] = (DOUBLE, SINGLE)
    brackets: str = "()[]{}"
    statements_in: str = "{"
    body: Body = "braces"
    header_end: re.Pattern[str] = _BRACE_AT_END
    header_start: re.Pattern[str] | None = None
    block_end: re.Pattern[str] = _NEVER
    goes_on: re.Pattern[str] = re.compile(r"\s*(?:else|catch|finally|while)\b")
    leaves: re.Pattern[str] = _LEAVES
    definition: re.Pattern[str] = _NEVER
    heredoc: re.Pattern[str] | None = None
    literal: re.Pattern[str] | None = None
    label: re.Pattern[str] = _LABEL
    tag: re.Pattern[str] | None = None
    needs_no_end: re.Pattern[str] = _NEVER
    embeds: bool = False

    def is_block_end(self, line: str) -> bool:
        """Return whether a line only ends a block or a bracket."""
        return bool(_BRACKET_CLOSER.match(line) or self.block_end.match(line))

    def continues(self, line: str) -> bool:
        """Return whether a line belongs to the statement above it that has the same indentation."""
        return bool(_BRACKET_GOES_ON.match(line) or self.goes_on.match(line) or self.block_end.match(line))

    @cached_property
    def pairs(self) -> dict[str, str]:
        """Return the opening bracket of each closing one."""
        return dict(zip(self.brackets[1::2], self.brackets[::2], strict=True))

    @cached_property
    def comment_ends(self) -> dict[str, re.Pattern[str]]:
        """Return what matches the rest of a block comment, by the mark that opens it."""
        return {opener: re.compile(rf"[\s\S]*?{re.escape(end)}") for opener, end in self.block_comments}

    @cached_property
    def tokens(self) -> re.Pattern[str]:
        """Return the expression that finds all that a scan stops at; what comes first in it wins at one place."""
        marks = [*self.comment_ends, *(form.opener for form in self.strings)]
        if not self.comment_after_blank:
            marks += self.line_comments
        quoted = [re.escape(mark) for mark in sorted(marks, key=len, reverse=True)]
        if self.comment_after_blank:
            quoted = [rf"(?<!\S){re.escape(mark)}" for mark in self.line_comments] + quoted
        own = [pattern.pattern for pattern in (self.literal, self.heredoc) if pattern]
        brackets = [f"[{re.escape(self.brackets)}]"] if self.brackets else []
        return re.compile("|".join(("\n", *own, *quoted, *brackets)), re.MULTILINE)

    @cached_property
    def string_of(self) -> dict[str, tuple[StringForm, re.Pattern[str]]]:
        """Return each string form by its opener, with the expression that reads it up to its end or a piece of code."""
        return {form.opener: (form, _reader(form)) for form in self.strings}


def _reader(form: StringForm) -> re.Pattern[str]:
    """Return what matches the rest of a string; the group `code` is set where code within it begins."""
    end, escape, code = (re.escape(mark) for mark in (form.end, form.escape, form.interpolation))
    if form.is_char:
        return re.compile(rf"(?:{escape}[^\n']{{1,8}}|[^'\\\n]){end}")
    stops = re.escape(form.end[0] + form.escape + form.interpolation[:1] + ("" if form.over_lines else "\n"))
    parts = [f"[^{stops}]++"]
    parts += [rf"{escape}[\s\S]"] if escape else []
    parts += [rf"{re.escape(form.end[0])}(?!{re.escape(form.end[1:])})"] if len(form.end) > 1 else []
    parts += [rf"{re.escape(form.interpolation[0])}(?!{re.escape(form.interpolation[1:])})"] if code else []
    ends = rf"(?:{end}|(?P<code>{code}))" if code else end
    return re.compile(rf"(?:{'|'.join(parts)})*+{ends}")
