"""Chooses real files and places in them to jump to, for `tabcast bench jump`. Knows no server.

A place is a line of code whose text was taken out of the file, and is about to be typed.
"""

from __future__ import annotations

import os
import random
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from decoding.errors import TabcastError

LANGUAGES = {".py": "python", ".ts": "typescript", ".go": "go"}
# chosen: files within so much of the wanted number of lines count as files of that size.
NEAR = (0.7, 1.4)
MAX_FILES = 4000  # of each folder and ending that are looked at
MAX_LINE = 200
MIN_CODE = 12
EDGE = 20  # lines at both ends of a file where nothing is typed
COMMENTS = ("#", "//", "/*", "*", '"', "'")


@dataclass(frozen=True, slots=True, kw_only=True)
class JumpFile:
    """A file with holes: `lines` as they are opened, and by line number, in the order of the visit, what is missing."""

    path: Path
    language: str
    lines: tuple[str, ...]
    holes: tuple[tuple[int, str], ...]


def default_folders() -> list[Path]:
    """Return folders of this machine that hold code: the standard library of Python, of Go, and packages of npm."""
    candidates = [
        Path(sysconfig.get_path("stdlib")),
        Path(os.environ.get("GOROOT", "/usr/lib/go")) / "src",
        Path("/usr/local/go/src"),
        Path("/usr/lib/node_modules"),
        Path("/usr/local/lib/node_modules"),
        Path.cwd() / "node_modules",
    ]
    return [folder for folder in candidates if folder.is_dir()]


def choose_files(folders: Sequence[Path], *, num_lines: int, num_places: int, per_file: int) -> list[JumpFile]:
    """Return files of about so many lines, languages in turns, with so many places in all.

    The choice depends on the folders alone. Raises `TabcastError` where there are too few files.
    """
    found = {ending: _files(folders, ending, num_lines) for ending in LANGUAGES}
    chosen: list[JumpFile] = []
    while sum(len(file.holes) for file in chosen) < num_places:
        before = len(chosen)
        for files in found.values():
            room = num_places - sum(len(file.holes) for file in chosen)
            if room > 0 and (file := next((made for p in files if (made := with_holes(p, min(per_file, room)))), None)):
                chosen.append(file)
        if len(chosen) == before:
            names = ", ".join(str(folder) for folder in folders)
            raise TabcastError(f"too few files of about {num_lines} lines in {names}: name a folder of code")
    return chosen


def with_holes(path: Path, num_holes: int) -> JumpFile | None:
    """Return a file with so many lines of code taken out, far from one another; None if it has too few."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError):
        return None
    chance = random.Random(path.name)  # noqa: S311 - no secret
    places = [number for number in range(EDGE, len(lines) - EDGE) if _is_code(lines[number])]
    if len(places) < 8 * num_holes or max(map(len, lines)) > MAX_LINE:
        return None
    share = len(places) // num_holes
    numbers = [chance.choice(places[part * share : (part + 1) * share]) for part in range(num_holes)]
    chance.shuffle(numbers)
    holes = []
    for number in numbers:
        line = lines[number]
        code = line.lstrip()
        lines[number] = line[: len(line) - len(code)]
        holes.append((number, code))
    return JumpFile(path=path, language=LANGUAGES[path.suffix], lines=tuple(lines), holes=tuple(holes))


def _files(folders: Sequence[Path], ending: str, num_lines: int) -> Iterator[Path]:
    """Yield files of about this many lines in an order that is neither the folders' nor another in each run."""
    for folder in folders:
        paths = sorted(_walk(folder, ending))[:MAX_FILES]
        random.Random(num_lines).shuffle(paths)  # noqa: S311 - no secret
        for path in paths:
            if NEAR[0] * num_lines <= _count_lines(path) <= NEAR[1] * num_lines:
                yield path


def _walk(folder: Path, ending: str) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in ("test", "tests", "testdata", "site-packages", ".git")]
        yield from (Path(root, name) for name in names if name.endswith(ending) and not name.endswith(".d.ts"))


def _count_lines(path: Path) -> int:
    try:
        return path.read_bytes().count(b"\n")
    except OSError:
        return 0


def _is_code(line: str) -> bool:
    code = line.strip()
    return len(code) >= MIN_CODE and code[0].isalpha() and not code.startswith(COMMENTS)
