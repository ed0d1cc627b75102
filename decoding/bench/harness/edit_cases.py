"""Makes cases for `tabcast bench edits` out of real files: a change at one place, and the text that it asks for.

In a quiet case nothing may be offered. The choice depends on the files alone.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from decoding.bench.harness import edit_names_python, edit_names_tree
from decoding.bench.harness.edit_names_python import Named
from decoding.errors import TabcastError

ENDINGS: Final = {"python": ".py", "typescript": ".ts", "go": ".go"}
MIN_CHARS, MAX_CHARS = 1_500, 200_000
MAX_FILES: Final = 3_000
MAX_OF_FILE: Final = 8
_COMMENTS: Final = {"python": "#", "typescript": "//", "go": "//"}
_WORD: Final = re.compile(r"[^\W\d]\w*")
_IMPORT: Final = re.compile(r"^(?:import|from)\b.*$", re.M)
_VALUE: Final = re.compile(r"(?<![\w.\"'])\d+(?![\w.\"'])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The text from offset `at` to `end` becomes `new`."""

    at: int
    end: int
    new: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A file, the changes that the user makes in it, and the text that they ask for; `kind` is for people."""

    path: Path
    language: str
    kind: str
    text: str
    changes: tuple[Change, ...]
    wanted: str


def rename_cases(folders: Sequence[Path], language: str, num_cases: int) -> list[Case]:
    """Return so many renames, each begun where the name is first defined. Raises `TabcastError` if there are fewer."""
    return _take(folders, language, num_cases, _renames)


def quiet_cases(folders: Sequence[Path], language: str, num_cases: int) -> list[Case]:
    """Return so many changes that ask for nothing. Raises `TabcastError` if there are fewer."""
    return _take(folders, language, num_cases, _quiet)


_Maker = Callable[[Path, str, str, list[Named], random.Random], Iterator[Case]]


def _take(folders: Sequence[Path], language: str, num_cases: int, make: _Maker) -> list[Case]:
    found: list[Case] = []
    for path in _files(folders, ENDINGS[language]):
        chance = random.Random(path.name)  # noqa: S311 - no secret
        text = path.read_text(encoding="utf-8", errors="replace")
        if not MIN_CHARS <= len(text) <= MAX_CHARS or "\r" in text or max(text) >= "\ufffd":
            continue
        try:
            names = (
                edit_names_python.names_of(text) if language == "python" else edit_names_tree.names_of(text, language)
            )
        except (SyntaxError, RecursionError):
            continue
        found += [case for case, _ in zip(make(path, language, text, names, chance), range(MAX_OF_FILE), strict=False)]
        if len(found) >= num_cases:
            return found[:num_cases]
    where = ", ".join(map(str, folders))
    raise TabcastError(
        f"{len(found)} of {num_cases} cases in {language} found in {where}: name a folder with more code"
    )


def _files(folders: Sequence[Path], ending: str) -> list[Path]:
    found: list[Path] = []
    for folder in folders:
        found += [path for path in folder.rglob(f"*{ending}") if path.is_file() and not path.name.endswith(".d.ts")]
    found = sorted(found, key=lambda path: (path.name, str(path)))[:MAX_FILES]
    random.Random(7).shuffle(found)  # noqa: S311 - no secret
    return found


def _renames(path: Path, language: str, text: str, names: list[Named], chance: random.Random) -> Iterator[Case]:
    several = [one for one in names if len({text.count("\n", 0, at) for at in one.places}) > 1 and _is_usual(one)]
    chance.shuffle(several)
    for one in several:
        new = chance.choice([f"{one.name}_new", f"new_{one.name}", "zephyr", one.name[:-1]])
        if re.search(rf"\b{new}\b", text):
            continue
        at = one.defined[0]
        change = Change(at=at, end=at + len(one.name), new=new)
        wanted = _replaced(text, one, new, is_script=language == "typescript")
        yield Case(path=path, language=language, kind=one.kind, text=text, changes=(change,), wanted=wanted)


def _is_usual(one: Named) -> bool:
    return len(one.name) > 2 and one.name not in {"self", "cls"} and not one.name.startswith("__")


def _replaced(text: str, one: Named, new: str, *, is_script: bool) -> str:
    """Return a text with all places of a name renamed; a shorthand property keeps its key."""
    pieces: list[str] = []
    end = 0
    for at in one.places:
        left, right = text[:at].rstrip()[-1:], text[at + len(one.name) :].lstrip()[:1]
        is_shorthand = is_script and at not in one.defined and left in {"{", ","} and right in {",", "}"}
        is_shorthand = is_shorthand and _opener(text, at) == " {"
        pieces += [text[end:at], f"{one.name}: {new}" if is_shorthand else new]
        end = at + len(one.name)
    return "".join((*pieces, text[end:]))


def _opener(text: str, at: int) -> str:
    """Return the bracket that is open in front of an offset, as far as a look back tells, and whether `$` is before."""
    depth = 0
    for i in range(at - 1, max(0, at - 2_000), -1):
        depth += (text[i] in ")]}") - (text[i] in "([{")
        if depth < 0:
            return ("$" if text[i - 1] == "$" else " ") + text[i]
    return ""


def _quiet(path: Path, language: str, text: str, names: list[Named], chance: random.Random) -> Iterator[Case]:
    makers = (_value, _use, _undo, _deleted, _copied, _copied_and_changed, _alone, _commented)
    for make in chance.sample(makers, len(makers)):
        if (changes := make(language, text, names, chance)) is not None:
            kind = make.__name__.strip("_").replace("_", " ")
            yield Case(path=path, language=language, kind=kind, text=text, changes=changes, wanted="")


def _value(_language: str, text: str, _names: list[Named], chance: random.Random) -> tuple[Change, ...] | None:
    """Change a number."""
    found = list(_VALUE.finditer(text))
    if not found:
        return None
    one = chance.choice(found)
    return (Change(at=one.start(), end=one.end(), new=str(int(one[0]) + 1)),)


def _use(_language: str, text: str, names: list[Named], chance: random.Random) -> tuple[Change, ...] | None:
    """Let a use of a name use another one."""
    used = [(one, at) for one in names for at in one.places if at not in one.defined]
    if not used or len(names) < 2:
        return None
    one, at = chance.choice(used)
    other = chance.choice([other for other in names if other is not one])
    if other.name == one.name or _takes_last_use(text, one.name):
        return None
    return (Change(at=at, end=at + len(one.name), new=other.name),)


def _takes_last_use(text: str, piece: str) -> bool:
    """Return whether a name stands only once where a piece is gone, as in an import that is no longer needed."""
    gone = Counter(_WORD.findall(piece))
    kept = Counter(word for word in _WORD.findall(text) if word in gone)
    elsewhere = Counter(word for word in _WORD.findall(_IMPORT.sub("", text)) if word in gone)
    return any(kept[word] - number == 1 or elsewhere[word] == number for word, number in gone.items())


def _undo(_language: str, text: str, names: list[Named], chance: random.Random) -> tuple[Change, ...] | None:
    """Rename a definition, and take that back."""
    if not names:
        return None
    one = chance.choice(names)
    at = one.defined[0]
    there = Change(at=at, end=at + len(one.name), new="zephyr")
    return there, Change(at=at, end=at + 6, new=one.name)


def _lines(text: str) -> list[tuple[int, str]]:
    """Return the lines of code that stand for themselves, with their offsets."""
    found, at = [], 0
    for line in text.split("\n"):
        if len(line.strip()) > 8 and line.strip()[-1] in ";)" and line.count("(") == line.count(")"):
            found.append((at, line))
        at += len(line) + 1
    return found


def _deleted(_language: str, text: str, _names: list[Named], chance: random.Random) -> tuple[Change, ...] | None:
    """Delete a line that no name is defined on."""
    lines = [(at, line) for at, line in _lines(text) if "=" not in line and "import" not in line]
    lines = [(at, line) for at, line in lines if not _takes_last_use(text, line)]
    if not lines:
        return None
    at, line = chance.choice(lines)
    return (Change(at=at, end=at + len(line) + 1, new=""),)


def _copied(_language: str, text: str, _names: list[Named], chance: random.Random) -> tuple[Change, ...] | None:
    """Repeat a line below itself."""
    if not (lines := _lines(text)):
        return None
    at, line = chance.choice(lines)
    return (Change(at=at, end=at, new=line + "\n"),)


def _copied_and_changed(
    language: str, text: str, names: list[Named], chance: random.Random
) -> tuple[Change, ...] | None:
    """Repeat a line, and change a word of the copy."""
    copied = _copied(language, text, names, chance)
    if copied is None:
        return None
    words = list(re.finditer(r"[A-Za-z_]\w{2,}", copied[0].new))
    word = chance.choice(words)
    at = copied[0].at + word.start()
    return *copied, Change(at=at, end=at + len(word[0]), new="zephyr")


def _alone(_language: str, text: str, names: list[Named], chance: random.Random) -> tuple[Change, ...] | None:
    """Rename what is used nowhere else, though its name stands in the file."""
    lonely = [one for one in names if len(one.places) == 1 and len(re.findall(rf"\b{one.name}\b", text)) > 1]
    if not lonely:
        return None
    one = chance.choice(lonely)
    return (Change(at=one.places[0], end=one.places[0] + len(one.name), new="zephyr"),)


def _commented(language: str, text: str, names: list[Named], chance: random.Random) -> tuple[Change, ...] | None:
    """Write the name of something in a comment, and then another."""
    if not names or not (lines := _lines(text)):
        return None
    at, line = chance.choice(lines)
    mark, name = _COMMENTS[language], chance.choice(names).name
    end = at + len(line)
    start = end + len(f"  {mark} ")
    return Change(at=end, end=end, new=f"  {mark} {name}"), Change(at=start, end=start + len(name), new="zephyr")
