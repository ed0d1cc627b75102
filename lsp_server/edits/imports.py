"""Finds an import that a change has made due: of a standard module that is used now, or of a name that is used no more.

It is sure only where nothing else in the text speaks of the name: Python and the family of JavaScript.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from lsp_server.documents.store import without_end
from lsp_server.edits.code import Code
from lsp_server.edits.history import Hunk
from lsp_server.edits.proposal import Replaced
from lsp_server.languages.table import name_of

# chosen: modules whose names are hardly anybody's variable; others of the standard library stay unasked for.
MODULES: Final = sys.stdlib_module_names & {
    *(
        "argparse",
        "asyncio",
        "base64",
        "bisect",
        "collections",
        "contextlib",
        "csv",
        "ctypes",
        "dataclasses",
        "difflib",
    ),
    *("functools", "glob", "hashlib", "heapq", "importlib", "inspect", "itertools", "json", "logging", "math"),
    *("multiprocessing", "os", "pathlib", "pickle", "random", "re", "shlex", "shutil", "sqlite3", "statistics"),
    *("subprocess", "sys", "tempfile", "textwrap", "threading", "tomllib", "traceback", "typing", "unittest", "uuid"),
    *("warnings", "weakref", "zipfile", "zoneinfo"),
}
# React's own name is used by every tag, without being written there.
_IMPLICIT: Final = frozenset(("React",))
_SCRIPTS: Final = frozenset(("javascript", "typescript"))
_NAME: Final = re.compile(r"[^\W\d]\w*")
_ATTRIBUTE: Final = re.compile(r"(?<![\w.])([a-z]\w*)\.[^\W\d]")
_PYTHON: Final = re.compile(
    r"^(?:import[ \t]+(?P<modules>[^\n(;\\]+)|from[ \t]+(?P<of>[\w.]+)[ \t]+import[ \t]*"
    r"(?:\((?P<among>[^()]*)\)|(?P<names>[^\n(;\\*]+)))[ \t\r]*$",
    re.M,
)
_SCRIPT: Final = re.compile(
    r"^import[ \t]+(?:type[ \t]+)?(?:\*[ \t]+as[ \t]+(?P<all>\w+)|(?P<default>\w+)"
    r"|(?:\w+[ \t]*,[ \t]*)?\{(?P<among>[^{}]*)\})\s+from[ \t]+\"+;?[ \t\r]*$",
    re.M,
)
_PIECE: Final = re.compile(r"[^,]+")
_TOP: Final = re.compile(r"^(import|from)[ \t]+(\w+)[^\n;\\]*$", re.M)
_BODY: Final = re.compile(r"^(?!from\b|import\b)(?:[^\W\d]|@)", re.M)


class Imported(NamedTuple):
    """A name that is imported by the statement from `at` to `end`; without the name it needs not what `cut` has."""

    name: str
    at: int
    end: int
    cut: tuple[int, int]


def due_for_imports(code: Code, hunks: Sequence[Hunk], language: str) -> list[Replaced]:
    """Return an import that the last change of the user asks for, or one that it has left without a use."""
    hunk = next((hunk for hunk in hunks if not hunk.is_ours), None)
    known = name_of(language)
    if hunk is None or (known != "python" and known not in _SCRIPTS):
        return []
    if known == "python" and (due := _missing(code, hunk)):
        return [due]
    gone = {name for name in _names(hunk.versions[0]) - _names(hunk.lines) - _IMPLICIT if name in code.text}
    return list(_needless(code, gone, known)) if gone else []


def _names(lines: Sequence[str]) -> set[str]:
    return {name for line in lines for name in _NAME.findall(line)}


def _missing(code: Code, hunk: Hunk) -> Replaced | None:
    """Return the import of a standard module that the hunk uses, whose name stands nowhere but there."""
    start = code.starts[hunk.first] if hunk.first < len(code.starts) else len(code.text)
    end = code.starts[hunk.end] if hunk.end < len(code.starts) else len(code.text)
    before = _names(hunk.versions[0])
    used = {found[1] for line in hunk.lines for found in _ATTRIBUTE.finditer(line)}
    if not used & MODULES - before:
        return None  # which takes no look at the whole text
    if re.search(r"^\s*from\s+\S+\s+import\s*\*", code.masked, re.M):
        return None
    for found in _ATTRIBUTE.finditer(code.masked, start, end):
        name = found[1]
        if name not in MODULES or name in before:
            continue
        places = code.words(name)
        is_attribute = all(_ATTRIBUTE.match(code.masked, at) for at in places)
        if is_attribute and all(start <= at < end for at in places) and (at := _place(code, name)) is not None:
            return at
    return None


def _place(code: Code, name: str) -> Replaced | None:
    """Return the import of a module where it belongs: in its order among others of the standard library."""
    body = _BODY.search(code.masked)
    end = body.start() if body else len(code.masked)
    tops = [found for found in _TOP.finditer(code.masked, 0, end) if found[2] != "__future__"]
    own = [found for found in tops if found[2] in sys.stdlib_module_names]
    line_end = code.text[len(without_end(code.lines[0])) : len(code.lines[0])] or "\n" if code.lines else "\n"
    new = f"import {name}{line_end}"
    plain = [found for found in own if found[1] == "import"]
    later = next((found for found in plain if found[2] > name), None)
    if later is not None:
        return Replaced(later.start(), "", new)
    if plain:
        at = code.masked.find("\n", plain[-1].start()) + 1
        return Replaced(at, "", new) if at else None
    if own:
        return Replaced(own[0].start(), "", new)
    if tops:
        return Replaced(tops[0].start(), "", new + line_end)
    first = next((i for i, line in enumerate(code.masked.splitlines()) if line.strip(' \t"')), None)
    if first is None or re.search(r"^from __future__", code.masked, re.M):
        return None
    return Replaced(code.starts[first], "", new + 2 * line_end)


def _needless(code: Code, gone: set[str], known: str) -> Iterator[Replaced]:
    """Yield what is needless of an import whose name went with its last use."""
    if known == "python" and "__all__" in code.text:
        return
    imported = list(_python(code) if known == "python" else _script(code))
    for one in imported:
        if one.name not in gone or sum(other.name == one.name for other in imported) > 1:
            continue
        statement = code.text[one.at : one.end]
        if "#" in statement or "//" in statement or "/*" in statement:
            continue  # it says why it is there
        word = re.compile(rf"(?<!\w){re.escape(one.name)}(?!\w)")
        if word.search(code.text, 0, one.at) or word.search(code.text, one.end):
            continue
        start, end = one.cut
        yield Replaced(start, code.text[start:end], "")
        return


def _python(code: Code) -> Iterator[Imported]:
    """Yield the names that Python's imports at the outermost level bind."""
    for found in _PYTHON.finditer(code.masked):
        if found["of"] != "__future__":
            kind = next(kind for kind in ("modules", "among", "names") if found[kind] is not None)
            yield from _pieces(code, found, kind)


def _script(code: Code) -> Iterator[Imported]:
    """Yield the names that imports of JavaScript bind."""
    for found in _SCRIPT.finditer(code.masked):
        end = _line_end(code, found.end())
        if name := found["all"] or found["default"]:
            yield Imported(name, found.start(), end, (found.start(), end))
        else:
            yield from _pieces(code, found, "among", is_whole=not re.match(r"import[ \t]+\w+[ \t]*,", found[0]))


def _pieces(code: Code, found: re.Match[str], kind: str, *, is_whole: bool = True) -> Iterator[Imported]:
    """Yield the names of a list, each with what goes with it: the statement, its own line, or itself and a comma."""
    start, end = found.start(), _line_end(code, found.end())
    pieces = [piece for piece in _PIECE.finditer(code.masked, *found.span(kind)) if piece[0].strip()]
    for number, piece in enumerate(pieces):
        words = _NAME.findall(piece[0])
        name = words[-1] if len(words) > 1 and "as" in words else words[0] if kind == "modules" else words[-1]
        if len(pieces) == 1:
            if is_whole:
                yield Imported(name, start, end, (start, end))
            continue
        yield Imported(name, start, end, _cut(code, [piece.span() for piece in pieces], number, found.end(kind)))


def _cut(code: Code, pieces: Sequence[tuple[int, int]], number: int, end: int) -> tuple[int, int]:
    """Return what to take out of a list for one of its pieces."""
    text = code.masked
    at, behind = pieces[number]
    at += len(text[at:behind]) - len(text[at:behind].lstrip())
    behind = at + len(text[at:behind].rstrip())
    line, line_end = text.rfind("\n", 0, at) + 1, _line_end(code, behind)
    if not text[line:at].strip() and text[behind:line_end].strip() in ("", ","):
        return line, line_end
    if number + 1 < len(pieces):
        following = pieces[number + 1][0]
        return at, following + len(text[following : pieces[number + 1][1]]) - len(
            text[following : pieces[number + 1][1]].lstrip()
        )
    last = pieces[number - 1][1]
    return last - (len(text[:last]) - len(text[:last].rstrip())), min(behind, end)


def _line_end(code: Code, at: int) -> int:
    """Return the offset behind the line of an offset."""
    found = code.masked.find("\n", at)
    return found + 1 if found >= 0 else len(code.masked)
