"""Implements the source "imports": the definitions that a document imports from local modules.

Definitions that are named near the cursor come first. Modules are looked for among open documents, then among the files
that may be read; libraries outside of the workspace are not. It must not know requests or the wire.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from lsp_server.context.outline import PYTHON, SCRIPT_LANGUAGES, Definition, outline
from lsp_server.context.snippets import EditorState, Snippet
from lsp_server.documents.store import without_end

NUM_LINES_NEAR: Final = 25
MAX_IMPORTS: Final = 60
MAX_FOLLOWED: Final = 2
MAX_STATEMENT_LINES: Final = 40
LINES_AT_ONCE: Final = 100
MAX_CHARS: Final = 1000
SOURCE_FOLDERS: Final = ("", "src", "lib", "python")
SCRIPT_ENDINGS: Final = (".ts", ".tsx", ".js", ".jsx", ".mjs", ".d.ts", "/index.ts", "/index.tsx", "/index.js", "")

_FROM: Final = re.compile(r"\s*from\s+(?P<dots>\.*)(?P<module>[\w.]*)\s+import\s+(?P<names>.+)", re.S)
_IMPORT: Final = re.compile(r"\s*import\s+(?P<names>[\w., ]+)$")
_NAMED: Final = re.compile(r"(?P<name>[\w.$]+)(?:\s+as\s+(?P<alias>[\w$]+))?")
_SCRIPT_FROM: Final = re.compile(
    r"(?:import|export)\s+(?:type\s+)?(?P<names>[\w$\s{},*]*?)\s*from\s*[\"'](?P<path>\.{1,2}/[^\"']*)[\"']"
    r"|(?:const|let|var)\s+(?P<required>[\w$\s{},:]+?)\s*=\s*require\(\s*[\"'](?P<module>\.{1,2}/[^\"']*)[\"']"
)
_WORD: Final = re.compile(r"[A-Za-z_$][\w$]*")


class Import(NamedTuple):
    """One imported name: its `module` (with leading dots, or a relative path), its `name` there and its `alias` here.

    `name` is "" where the whole module is imported.
    """

    module: str
    name: str
    alias: str


class ModuleFile(NamedTuple):
    """A local module: its file, its path as a prompt names it, what it defines and what it imports itself."""

    file: Path
    path: str
    definitions: Sequence[Definition]
    imports: Sequence[Import]


def read_module(file: Path, path: str, lines: Sequence[str]) -> ModuleFile:
    """Read the definitions and imports of a file; `lines` have no line ends."""
    if file.suffix == ".py":
        return ModuleFile(file, path, outline(lines, PYTHON), find_imports(lines))
    return ModuleFile(file, path, outline(lines, "typescript"), find_script_imports(lines))


Find = Callable[[Path], ModuleFile | None]
"""The module in a file, if it is open or may be read."""


def imported_definitions(view: EditorState, roots: Sequence[Path], find: Find) -> Iterator[Snippet]:
    """Yield a snippet for each imported definition; the caller may stop between any two."""
    document = view.current
    if document.file is None or document.language not in {PYTHON, *SCRIPT_LANGUAGES}:
        return
    lines = document.lines
    line = max(0, document.line)
    near = _words(lines[max(0, line - NUM_LINES_NEAR) : line + NUM_LINES_NEAR])
    used: set[str] | None = None
    is_python = document.language == PYTHON
    seen: set[tuple[Path, str]] = set()
    for one in (find_imports(lines) if is_python else find_script_imports(lines))[:MAX_IMPORTS]:
        candidates = _python_files if is_python else _script_files
        for module, definition in _definitions(one, document.file, roots, find, candidates):
            if used is None:  # computed late: most documents define all that they use, or take it from libraries
                used = _words([line for line in lines if "import" not in line])
            key = (module.file, definition.name)
            known_as = definition.name if not one.name else one.alias
            if module.file == document.file or key in seen or (not one.name and definition.name not in used):
                continue
            seen.add(key)
            score = 1.0 if known_as in near else 0.4 if known_as in used else 0.1
            yield Snippet(
                source="imports", path=module.path, text=definition.text, first_line=definition.line, score=score
            )


def _words(lines: Sequence[str]) -> set[str]:
    """Return the words of these lines.

    They are searched in portions, since one search of a large text holds up all threads.
    """
    found: set[str] = set()
    for first in range(0, len(lines), LINES_AT_ONCE):
        found.update(_WORD.findall("\n".join(line[:MAX_CHARS] for line in lines[first : first + LINES_AT_ONCE])))
    return found


def find_imports(lines: Sequence[str]) -> list[Import]:
    """Return the imports of a Python document, also those in brackets over several lines. Lines may have their ends."""
    found: list[Import] = []
    for number, line in enumerate(lines):
        if "import" not in line or not line.lstrip().startswith(("from ", "import ")):
            continue
        statement = _statement(lines, number)
        if match := _FROM.match(statement):
            module = match["dots"] + match["module"]
            names = re.sub(r"#[^\n]*|[()\\\n]", " ", match["names"])
            for name, alias in _NAMED.findall(names):
                found.append(Import(module, name, alias or name))
        elif match := _IMPORT.match(statement.partition("#")[0].rstrip()):
            found += [Import(name, "", alias or name) for name, alias in _NAMED.findall(match["names"])]
    return found


def find_script_imports(lines: Sequence[str]) -> list[Import]:
    """Return the relative imports of a JavaScript or TypeScript document. Lines may have their ends."""
    found: list[Import] = []
    for match in _SCRIPT_FROM.finditer("\n".join(line[:MAX_CHARS] for line in lines[:400])):
        path = match["path"] or match["module"]
        names = re.sub(r"\btype\b|[{},*]", " ", match["names"] or match["required"] or "")
        found += [Import(path, name, alias or name) for name, alias in _NAMED.findall(names)]
    return found


def _statement(lines: Sequence[str], number: int) -> str:
    line = without_end(lines[number])
    if "(" not in line or ")" in line:
        return line
    for end in range(number + 1, min(number + MAX_STATEMENT_LINES, len(lines))):
        if ")" in lines[end]:
            return "\n".join(map(without_end, lines[number : end + 1]))
    return line


Candidates = Callable[[Import, Path, Sequence[Path]], Iterator[tuple[Path, Import]]]
"""Where a module may lie, the best first, and what is wanted of it there."""


def _definitions(
    wanted: Import, file: Path, roots: Sequence[Path], find: Find, candidates: Candidates, followed: int = 0
) -> Iterator[tuple[ModuleFile, Definition]]:
    for path, still in candidates(wanted, file, roots):
        module = find(path)
        if module is None:
            continue
        matching = [d for d in module.definitions if not still.name or d.name == still.name]
        yield from ((module, definition) for definition in matching)
        if not matching and followed < MAX_FOLLOWED:  # the module may re-export the name from another
            for passed in (one for one in module.imports if one.alias == still.name):
                yield from _definitions(passed, module.file, roots, find, candidates, followed + 1)
        return


def _python_files(wanted: Import, file: Path, roots: Sequence[Path]) -> Iterator[tuple[Path, Import]]:
    module = wanted.module.lstrip(".")
    level = len(wanted.module) - len(module)
    if level:
        bases = [file.parents[level - 1]] if level <= len(file.parents) else []
    elif module.partition(".")[0] in sys.stdlib_module_names:
        bases = []
    else:
        inside = [folder for folder in file.parents if any(r == folder or r in folder.parents for r in roots)]
        bases = [*inside, *(root / name for root in roots for name in SOURCE_FOLDERS if name)]
    for base in bases:
        place = base.joinpath(*module.split(".")) if module else base
        if wanted.name:
            yield place / f"{wanted.name}.py", wanted._replace(name="")
        if module:
            yield place.with_name(place.name + ".py"), wanted
        yield place / "__init__.py", wanted


def _script_files(wanted: Import, file: Path, _roots: Sequence[Path]) -> Iterator[tuple[Path, Import]]:
    # Joined as text, so that "./x" can take the ending ".ts"; the dots are resolved when the file is looked for.
    place = str(file.parent / wanted.module)
    for ending in SCRIPT_ENDINGS:
        yield Path(place.removesuffix(".js") + ending if ending else place), wanted
