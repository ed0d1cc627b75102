"""Measures what suggestions do to code: files in fourteen languages, a hole at each cursor, and texts put into it.

A stub writes texts that are right, cut, doubled or broken, which tries the filters; with a model, it writes. The front
end says what it would show, and whether that breaks the code. Half of the files have tabs, half have CRLF.
"""

from __future__ import annotations

import argparse
import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from rich.progress import Progress

from decoding.bench.harness.data import ReplayRow
from decoding.bench.report.report import Row
from decoding.bench.suites.suggestions import CONTEXTS, MAX_BLOCK_TOKENS, FrontEnd, FrontEndProcess, Suggester
from decoding.errors import TabcastError
from decoding.models.loading.model_set import ModelSet

NUM_CURSORS: Final = 420
SAMPLES: Final = Path(__file__).parent.parent / "samples"
# The name that the front end has for each file's language.
LANGUAGES: Final = {
    ".c": "c",
    ".cpp": "cpp",
    ".cs": "csharp",
    ".css": "css",
    ".go": "go",
    ".java": "java",
    ".js": "javascript",
    ".json": "json",
    ".php": "php",
    ".py": "python",
    ".rb": "ruby",
    ".rs": "rust",
    ".sh": "shellscript",
    ".ts": "typescript",
}
_PLACES: Final = re.compile(r"\w+\s?|[^\w\s]\s?")
_BROKEN: Final = (r"[)\]}]", r"[(\[{]", r"\w+", r"[\"'`]")
Write = Callable[["Hole"], Iterable["Text"]]


class Text(NamedTuple):
    """A text for a hole, and what it is: `true`, `broken`, `repeated`, `indented`, `written`."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hole:
    """A place in a file where something is missing."""

    path: str
    language: str
    prefix: str
    missing: str
    suffix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What the front end shows of a text; `breaks` is None where that can't be told."""

    hole: Hole
    text: Text
    shown: str
    breaks: bool | None


def add_options(suite: argparse.ArgumentParser) -> None:
    """Add the suite's options."""
    suite.set_defaults(writer="texts of a stub")
    suite.add_argument("--data", type=Path, default=SAMPLES, metavar="FOLDER", help="files to cut holes into")
    suite.add_argument("--cursors", type=int, default=NUM_CURSORS, metavar="N", help="in all languages together")
    suite.add_argument(
        "--stub",
        dest="needs_models",
        action="store_const",
        const=False,
        help="texts that are right, doubled or broken on purpose, instead of a model's",
    )


def run(options: argparse.Namespace, models: ModelSet | None, progress: Progress) -> Iterable[Row]:
    """Put texts into holes and yield a row for each language and for all. Raises `TabcastError`."""
    if not options.front_end:
        raise TabcastError("this suite asks the front end what it shows: run it by the command `tabcast bench`")
    holes = choose_holes(options.data, options.cursors)
    if not holes:
        raise TabcastError(f"{options.data} holds no file in a known language: {', '.join(sorted(LANGUAGES))}")
    task, done = progress.add_task("filling holes", total=len(holes)), list[Shown]()
    with closing(FrontEnd(options.front_end, sources=CONTEXTS)) as front_end:
        judge = FrontEndProcess(options.front_end, "filter")
        write = stub if models is None else _writer(models, front_end)
        num_done = 0
        with closing(judge), suppress(KeyboardInterrupt):
            for hole in holes:
                done += [_put(judge, hole, text, is_written=models is not None) for text in write(hole)]
                num_done += 1
                progress.advance(task)
    if done:
        yield from summarise(done)
    if num_done < len(holes):
        raise KeyboardInterrupt


def choose_holes(folder: Path, num_holes: int) -> list[Hole]:
    """Return so many holes, spread over the files and within each."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in LANGUAGES and path.is_file())
    chosen: list[Hole] = []
    for number, path in enumerate(files):
        code = path.read_text(encoding="utf-8", errors="replace").replace("\r\n", "\n")
        if number % 4 >= 2:
            code = re.sub(r"^ +", lambda blanks: "\t" * (len(blanks[0]) // 2), code, flags=re.MULTILINE)
        found = [*_holes(path, code)]
        wanted = -(-num_holes // len(files))
        step = max(1, len(found) // wanted)
        ends = "\r\n" if number % 2 else "\n"
        chosen += [
            Hole(
                path=hole.path,
                language=hole.language,
                prefix=hole.prefix.replace("\n", ends),
                missing=hole.missing,
                suffix=hole.suffix.replace("\n", ends),
            )
            for hole in found[::step][:wanted]
        ]
    return chosen


def _holes(path: Path, code: str) -> Iterator[Hole]:
    """Yield holes from each place between words to its line's end, or to the tail's last word; and whole lines."""
    start = 0
    for line in code.split("\n"):
        width = len(line) - len(line.lstrip())
        ends = [match.end() for match in _PLACES.finditer(line)]
        for number, column in enumerate([width, *ends[:-1]] if line.strip() else []):
            last = len(line) if number % 3 else max(column, ends[-1 if column == width else -2])
            yield Hole(
                path=path.name,
                language=LANGUAGES[path.suffix],
                prefix=code[: start + column],
                missing=code[start + column : start + last],
                suffix=code[start + last :],
            )
        start += len(line) + 1


def stub(hole: Hole) -> Iterator[Text]:
    """Yield what is missing, and what a poor model may write instead."""
    if not hole.missing.strip():
        return
    yield Text("true", hole.missing)
    chance = random.Random(hole.prefix)  # noqa: S311 - texts that repeat from run to run
    for pattern in _BROKEN:
        if places := [*re.finditer(pattern, hole.missing)]:
            found = chance.choice(places)
            yield Text("broken", hole.missing[: found.start()] + hole.missing[found.end() :])
            yield Text("broken", hole.missing[: found.end()] + hole.missing[found.start() :])
    below = hole.suffix.replace("\r\n", "\n").split("\n")[1:4]
    yield Text("repeated", "\n".join((hole.missing, *below)))
    yield Text("indented", hole.missing + "\n                " + hole.missing.strip())


def _writer(models: ModelSet, front_end: FrontEnd) -> Write:
    suggest = Suggester(models, front_end, MAX_BLOCK_TOKENS)

    def write(hole: Hole) -> Iterator[Text]:
        row = ReplayRow(
            name=hole.path,
            repository="samples",
            commit="",
            path=hole.path,
            kind="",
            prefix=hole.prefix,
            suffix=hole.suffix,
            gold="",
            open_files=(),
        )
        yield Text("written", suggest(row, 0).text)

    return write


def _put(judge: FrontEndProcess, hole: Hole, text: Text, *, is_written: bool) -> Shown:
    place = {"prefix": hole.prefix, "suffix": hole.suffix, "language": hole.language}
    if not text.text:
        return Shown(hole=hole, text=text, shown="", breaks=None)
    answer = judge.ask(**place, text=text.text, judged=True)
    shown = text.text if is_written else str(answer["text"])  # what a model wrote was filtered already
    return Shown(hole=hole, text=text, shown=shown, breaks=answer["breaks"] if shown else None)


def summarise(done: Sequence[Shown]) -> Iterator[Row]:
    """Yield a row for each language, and for all."""
    by_language: dict[str, list[Shown]] = defaultdict(list)
    for one in done:
        by_language[one.hole.language].append(one)
    for language in sorted(by_language):
        yield {"method": language, **_row(by_language[language])}
    yield {"method": "all", **_row(done)}


def _row(done: Sequence[Shown]) -> Row:
    shown = [one for one in done if one.shown]
    told = [one.breaks for one in shown if one.breaks is not None]
    true = [one for one in done if one.text.kind == "true"]
    lines = [(one, *_lines(one)) for one in shown]
    return {
        "cursors": len({(one.hole.path, len(one.hole.prefix)) for one in done}),
        "texts": len(done),
        "shown_percent": _percent([bool(one.shown) for one in done]),
        "broken_percent": _percent(told),
        "broken_told": len(told),
        "true_kept_percent": _percent([one.shown.strip() == one.text.text.strip() for one in true]),
        "repeated_percent": _percent([bool(below) and first == below for _, first, below in lines]),
        "stubs_percent": _percent([len(one.shown.strip()) < 3 for one in shown]),
    }


def _lines(one: Shown) -> tuple[str, str]:
    """Return the last line that is shown and the first one below, both as they stand."""
    below = one.hole.suffix.replace("\r\n", "\n").split("\n")[1:]
    last = one.shown.rstrip().rpartition("\n")[2]
    return last.strip(), next((line.strip() for line in below if len(line.strip()) > 3), "")


def _percent(hits: Sequence[bool | None]) -> float | None:
    return round(100 * sum(map(bool, hits)) / len(hits), 2) if hits else None
