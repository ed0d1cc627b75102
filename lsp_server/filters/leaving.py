"""Tells whether a block that stands above a line always leaves, so that the line never runs.

It follows the indentation of the lines above, and knows the headers whose bodies always run, the branches of which one
runs, and the loops that end by a `break` alone. Where it knows a header less well, the line counts as reachable.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from lsp_server.languages.language import Language
from lsp_server.languages.syntax import indentation, unclosed, without_comment
from lsp_server.languages.table import language_named

# chosen: so many lines above are read for the head of the block.
MAX_LINES: Final = 100
_END_BRACE: Final = re.compile(r"\}[;\s]*\Z")
_ALWAYS_RUNS: Final = re.compile(
    r"(?:async\s+)?with\b[\s\S]*:\Z|(?:synchronized|using|lock|fixed)\s*\(|(?:unsafe|checked|unchecked)\s*(?:\{|\Z)"
)
# Managers of contexts that end an exception, so that what follows runs.
_ENDS_EXCEPTIONS: Final = re.compile(r"(?i)suppress|ignor|raises|warns|catch|handl|skip|move_on|cancel|scope|sub_?test")
_ENDLESS: Final = re.compile(
    r"while\s*\(?\s*(?:[Tt]rue|1)\s*\)?\s*[:{]?\s*\Z|for\s*\(\s*;\s*;\s*\)\s*\{?\s*\Z|(?:for|loop)\s*(?:\{|\Z)"
)
_BRANCH: Final = re.compile(r"(?:\}\s*)?(?P<word>if|else\s*if|elif|else|try|catch|except|finally)\b")
_LEADS_ON: Final = re.compile(r"(?:\}\s*)?(?:else\s*if|elif|else|catch|except|finally)\b")
_BREAK: Final = re.compile(r"\b(?:break|goto)\b")


class _Statement(NamedTuple):
    """A statement's indentation, and its lines without the comments."""

    width: int
    code: str


class _Part(NamedTuple):
    """A header, and the statements of its body."""

    header: str
    body: Sequence[_Statement]


def block_leaves(lines: Sequence[str], width: int, language: str) -> bool:
    """Return whether the block or the branches that end above a line of this indentation always leave."""
    nearest = next((line for line in reversed(lines) if line.strip()), "")
    known = language_named(language)
    if known.body not in ("indent", "braces"):
        return False
    is_end = indentation(nearest) == width and known.body == "braces" and _END_BRACE.match(nearest.lstrip())
    if not is_end and indentation(nearest) <= width:
        return False
    statements = _statements(lines, width, language)
    return bool(statements) and _leaves(statements, width, known)


def _statements(lines: Sequence[str], width: int, language: str) -> list[_Statement]:
    """Return the statements above that are no less deep than a line; none where a preprocessor chooses among them."""
    start = len(lines)
    while start > 0 and len(lines) - start < MAX_LINES:
        above = lines[start - 1]
        if above.strip() and indentation(above) < width:
            break
        start -= 1
    known, found, waiting = language_named(language), list[_Statement](), ""
    for line in lines[start:]:
        code = without_comment(line, language).rstrip()
        if not waiting and not code.strip():
            continue
        if code.startswith("#") and "#" not in known.line_comments:
            return []
        waiting = f"{waiting}\n{code}" if waiting else code
        open_now = unclosed(waiting, language)
        if not open_now.text and all(opener in known.statements_in for opener in open_now.openers):
            found.append(_Statement(indentation(waiting), waiting.strip()))
            waiting = ""
    return [] if waiting else found


def _leaves(statements: Sequence[_Statement], width: int, language: Language) -> bool:
    """Return whether the last statement of a block of this indentation leaves, or the last header's bodies do."""
    if not statements or any(statement.width < width for statement in statements):
        return False
    last = statements[-1]
    if last.width == width and not _END_BRACE.match(last.code):
        return language.leaves.match(last.code) is not None
    return _parts_leave(_last_parts(statements, width), language)


def _last_parts(statements: Sequence[_Statement], width: int) -> list[_Part]:
    """Return the last header of this indentation with its body, and those before it that it goes on with."""
    parts, end, held = list[_Part](), len(statements), None
    for number in range(len(statements) - 1, -1, -1):
        statement = statements[number]
        if statement.width != width:
            continue
        body, end = statements[number + 1 : end], number
        if _END_BRACE.match(statement.code):
            if body or held is not None:
                return []
            continue
        if statement.code == "{" and held is None:
            held = body
            continue
        if held is not None and body:
            return []
        parts.append(_Part(statement.code, held if held is not None else body))
        held = None
        if not _LEADS_ON.match(statement.code):
            return parts[::-1]
    return []


def _parts_leave(parts: Sequence[_Part], language: Language) -> bool:
    if len(parts) == 1:
        return _one_leaves(parts[0], language)
    found = [_BRANCH.match(part.header) for part in parts]
    words = [" ".join(match["word"].split()) if match else "" for match in found]
    if words[:1] == ["if"]:
        return words[-1] == "else" and _are_ordered(words) and all(_body_leaves(part, language) for part in parts)
    if words[:1] != ["try"]:
        return False
    leaves = {word: _body_leaves(part, language) for word, part in zip(words, parts, strict=True)}
    if leaves.get("finally"):
        return True
    of_errors = [part for word, part in zip(words, parts, strict=True) if word in ("catch", "except")]
    return (leaves["try"] or leaves.get("else", False)) and all(_body_leaves(part, language) for part in of_errors)


def _one_leaves(part: _Part, language: Language) -> bool:
    """Return whether a header's body always runs and leaves, or runs until a `break` that it doesn't have."""
    if _ENDLESS.match(part.header):
        return bool(part.body) and not any(_BREAK.search(code) for _, code in part.body)
    is_sure = _ALWAYS_RUNS.match(part.header) and not _ENDS_EXCEPTIONS.search(part.header)
    return bool(is_sure) and _body_leaves(part, language)


def _body_leaves(part: _Part, language: Language) -> bool:
    return bool(part.body) and _leaves(part.body, part.body[0].width, language)


def _are_ordered(words: Sequence[str]) -> bool:
    """Return whether nothing but the last branch of an `if` is without a condition."""
    return all(word in ("elif", "else if") for word in words[1:-1]) and all(a != "else" for a, _ in pairwise(words))
