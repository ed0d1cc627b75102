"""Finds the definitions of a source file by its lines alone: signatures, the first line of docstrings, fields.

Line by line and tolerant, because a file that is being edited seldom parses, and because Python's own parser would hold
up the event loop for a large file. It must not know files or documents.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

MAX_SIGNATURE_LINES: Final = 12
MAX_MEMBERS: Final = 24
MAX_LINE_CHARS: Final = 200

PYTHON: Final = "python"
SCRIPT_LANGUAGES: Final = frozenset({"javascript", "javascriptreact", "typescript", "typescriptreact"})

_DEFINITION: Final = re.compile(r"(?P<indent>[ \t]*)(?:async[ \t]+)?(?P<kind>def|class)[ \t]+(?P<name>\w+)")
_CONSTANT: Final = re.compile(r"(?P<name>[A-Za-z_]\w*)[ \t]*(?::[^=]+)?=[^=]")
_FIELD: Final = re.compile(r"[ \t]+[A-Za-z_]\w*[ \t]*:[ \t]*[A-Za-z\"'(]")
_DOCSTRING: Final = re.compile(r"\s*[rRuU]?(?P<quote>\"\"\"|''')(?P<text>.*)")
_SCRIPT: Final = re.compile(
    r"(?:export\s+)?(?:default\s+)?(?:declare\s+)?(?:abstract\s+)?(?:async\s+)?"
    r"(?P<kind>function\*?|class|interface|type|enum|const|let|var)\s+(?P<name>[\w$]+)"
)
_SCRIPT_MEMBER: Final = re.compile(r"\s+(?!return\b|if\b|for\b|while\b|switch\b)[\w$#]+[^=;]*[({:?]")


class Definition(NamedTuple):
    """A name that a file defines, the number of its line, counted from 0, and the text that tells how to use it."""

    name: str
    line: int
    text: str


def outline(lines: Sequence[str], language: str) -> list[Definition]:
    """Return the definitions at the outermost level in their order; none for a language that isn't supported here.

    `lines` have no line ends.
    """
    if language == PYTHON:
        return _outline_python(lines)
    return _outline_script(lines) if language in SCRIPT_LANGUAGES else []


def _outline_python(lines: Sequence[str]) -> list[Definition]:
    found = []
    for number, line in enumerate(lines):
        if line[:1] in ("", " ", "\t", "#", ")"):
            continue
        if match := _DEFINITION.match(line):
            text = _class(lines, number) if match["kind"] == "class" else _signature(lines, number)
            found.append(Definition(match["name"], number, text))
        elif (match := _CONSTANT.match(line)) and len(line) <= MAX_LINE_CHARS:
            found.append(Definition(match["name"], number, line))
    return found


def _signature(lines: Sequence[str], number: int) -> str:
    """Return the head of a function or class with its docstring's first line, or "..." in place of the body."""
    head, depth, end = _decorators(lines, number), 0, number
    for end in range(number, min(number + MAX_SIGNATURE_LINES, len(lines))):
        head.append(lines[end][:MAX_LINE_CHARS])
        depth += sum(lines[end].count(c) for c in "([{") - sum(lines[end].count(c) for c in ")]}")
        if depth <= 0 and ":" in (behind := lines[end].split("#")[0].rpartition(")")[2].rstrip()):
            if not behind.endswith(":"):
                return "\n".join(head)  # the body is on this line too
            break
    summary = _docstring(lines, end + 1)
    if not summary:
        return "\n".join(head) + " ..."
    indent = lines[number][: len(lines[number]) - len(lines[number].lstrip())]
    return "\n".join([*head, f'{indent}    """{summary}"""'])


def _decorators(lines: Sequence[str], number: int) -> list[str]:
    first = number
    while first > 0 and lines[first - 1].lstrip().startswith("@"):
        first -= 1
    return [line[:MAX_LINE_CHARS] for line in lines[first:number]]


def _docstring(lines: Sequence[str], number: int) -> str:
    for line in lines[number : number + 2]:
        if match := _DOCSTRING.match(line):
            return match["text"].partition(match["quote"])[0].strip()[:MAX_LINE_CHARS]
        if line.strip():
            return ""
    return ""


def _class(lines: Sequence[str], number: int) -> str:
    parts = [_signature(lines, number)]
    inner = ""
    for at in range(number + 1, len(lines)):
        line = lines[at]
        if line.strip() and line[0] not in " \t)#":
            break
        indent = line[: len(line) - len(line.lstrip())]
        if not indent or (inner and indent != inner):
            continue
        if match := _DEFINITION.match(line):
            inner = inner or indent
            if not match["name"].startswith("_") or match["name"] in ("__init__", "__call__"):
                parts.append(_signature(lines, at))
        elif _FIELD.match(line) and (not inner or indent == inner):
            inner = inner or indent
            parts.append(line[:MAX_LINE_CHARS])
        if len(parts) > MAX_MEMBERS:
            break
    parts[0] = parts[0].removesuffix(" ...") if len(parts) > 1 else parts[0]
    return "\n".join(parts)


def _outline_script(lines: Sequence[str]) -> list[Definition]:
    found = []
    for number, line in enumerate(lines):
        match = _SCRIPT.match(line)
        if match is None:
            continue
        kind = match["kind"]
        if kind in ("interface", "enum", "type"):
            text = _until_closed(lines, number)
        elif kind == "class":
            members = [m.rstrip(" {") for m in _block(lines, number) if _SCRIPT_MEMBER.match(m) and _is_outer(m)]
            text = "\n".join([line, *members[:MAX_MEMBERS], "}"])
        else:
            text = line.rstrip().removesuffix("{").rstrip()
        found.append(Definition(match["name"], number, text[: MAX_LINE_CHARS * MAX_SIGNATURE_LINES]))
    return found


def _block(lines: Sequence[str], number: int) -> list[str]:
    for end in range(number + 1, len(lines)):
        if lines[end][:1] not in ("", " ", "\t", "/", "*"):
            return list(lines[number + 1 : end])
    return list(lines[number + 1 :])


def _until_closed(lines: Sequence[str], number: int) -> str:
    if not lines[number].rstrip().endswith(("{", "(", "=", "|")):
        return lines[number]
    inside = _block(lines, number)[:MAX_SIGNATURE_LINES]
    return "\n".join([lines[number], *inside, *(["}"] if lines[number].rstrip().endswith("{") else [])])


def _is_outer(member: str) -> bool:
    indent = len(member) - len(member.lstrip())
    return indent <= 4 or (member.startswith("\t") and not member.startswith("\t\t"))
