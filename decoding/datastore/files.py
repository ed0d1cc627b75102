"""Reads and writes datastores on disk: one file each, written aside and then renamed, read as a memory map.

A file has a line of JSON that describes it, the tokens of its texts with a separator behind each, and their places in
order. One that is broken or belongs to another tokenizer is reported in one line and not used; damage inside can at
worst propose wrong tokens. Knows files and numbers, no text and no model.
"""

from __future__ import annotations

import hashlib
import json
import logging
import mmap
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np

from decoding.datastore.suffix_array import Places, SuffixArray, Tokens
from decoding.errors import TabcastError

log = logging.getLogger(__name__)

MAGIC: Final = b"tabcast datastore 1\n"
ENDING: Final = ".index"
MAX_HEADER_BYTES: Final = 1 << 16
ALIGNMENT: Final = 64
PLACE_BYTES: Final = 4
NAME: Final = re.compile(r"\w[\w.-]{0,63}")
LOOK_AGAIN_S: Final = 5.0
MAX_DATASTORES: Final = 4  # chosen: only the newest ones are searched
# The prefix of names of datastores that are made automatically, one for each workspace.
WORKSPACE: Final = "workspace-"
MAX_SEARCHED_WORKSPACES: Final = 2


class DatastoreError(TabcastError):
    """A datastore can't be made, read or found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The description of a datastore.

    `tokenizer` is its `fingerprint`; `token_bytes` the width of a token; `separator`, which is no token, stands behind
    each text; `digest` is of all texts where it is known.
    """

    name: str
    tokenizer: str
    num_tokens: int
    token_bytes: int
    separator: int
    source: str = ""
    num_files: int = 0
    num_characters: int = 0
    made: str = ""
    digest: str = ""


def fingerprint(vocabulary: Mapping[str, int]) -> str:
    """Return a digest of a tokenizer; it is equal where all token ids stand for equal texts."""
    digest = hashlib.sha256()
    for text, token_id in sorted(vocabulary.items(), key=lambda item: item[1]):
        digest.update(f"{token_id} {text}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def token_type(separator: int) -> np.dtype[Any]:
    """Return the narrowest type that holds all tokens and a separator."""
    return np.dtype("<u2") if separator < 1 << 16 else np.dtype("<u4")


def path_of(folder: Path, name: str, tokenizer: str) -> Path:
    """Return the path of a datastore. Raises `DatastoreError` for an invalid name."""
    if not NAME.fullmatch(name):
        raise DatastoreError(f"{name!r} can't name a datastore: letters, digits, dots, dashes and underscores can")
    return folder / f"{name}-{tokenizer[:12]}{ENDING}"


def write(folder: Path, manifest: Manifest, tokens: Tokens, order: Places) -> Path:
    """Write a datastore whole or not at all, instead of an older one of its name. Raises `DatastoreError`."""
    path = path_of(folder, manifest.name, manifest.tokenizer)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            with open(draft, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
                file.write(MAGIC + json.dumps(asdict(manifest)).encode() + b"\n")
                for numbers in (tokens, order):
                    _pad(file)
                    numbers.tofile(file)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise DatastoreError(f"{path} can't be written: {error.strerror}") from None
    return path


def read_manifest(path: Path) -> Manifest:
    """Read the manifest at a file's beginning, and check that the file is whole. Raises `DatastoreError`."""
    return _read(path)[0]


def open_datastore(path: Path, tokenizer: str) -> SuffixArray:
    """Map a file into memory. Raises `DatastoreError` if it is broken or its tokens are another tokenizer's."""
    manifest, begin = _read(path)
    if manifest.tokenizer != tokenizer:
        raise DatastoreError(f"{path} was made for another tokenizer")
    kind = np.dtype(f"<u{manifest.token_bytes}")
    try:
        tokens = np.memmap(path, kind, mode="r", offset=begin, shape=manifest.num_tokens)
        places = _aligned(begin + tokens.nbytes)
        order = np.memmap(path, np.dtype("<u4"), mode="r", offset=places, shape=manifest.num_tokens + 1)
    except (OSError, ValueError) as error:
        raise DatastoreError(f"{path} can't be mapped: {error}") from None
    for numbers in (tokens, order):
        _read_ahead(numbers)
    return SuffixArray(np.asarray(tokens), np.asarray(order), manifest.separator)


def listed(folder: Path) -> list[Path]:
    """Return the files of a folder that should be datastores."""
    return sorted(path for path in folder.glob(f"[!.]*{ENDING}") if path.is_file())


def by_age(folder: Path) -> list[Path]:
    """Return the files of a folder that should be datastores, the oldest first."""
    found = []
    for path in listed(folder):
        with suppress(OSError):
            found.append((path.stat().st_mtime_ns, path))
    return [path for _, path in sorted(found)]


class Datastores:
    """The datastores of a folder that fit a tokenizer.

    Those that another process adds, replaces or removes are noticed.
    """

    def __init__(
        self, folder: Path, vocabulary: Callable[[], Mapping[str, int]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`vocabulary` is only called if there is a datastore at all."""
        self._folder, self._vocabulary, self._clock = folder, vocabulary, clock
        self._fingerprint = ""
        self._looked_s = float("-inf")
        self._known: dict[tuple[Path, int, int], SuffixArray | None] = {}

    def current(self) -> Sequence[SuffixArray]:
        """Return the usable datastores, the newest first; the list may be a few seconds old."""
        if self._clock() - self._looked_s >= LOOK_AGAIN_S:
            self._looked_s = self._clock()
            self._look()
        usable = [(path, store) for (path, _, _), store in self._known.items() if store is not None]
        workspaces = [store for path, store in usable if path.name.startswith(WORKSPACE)][MAX_SEARCHED_WORKSPACES:]
        return [store for _, store in usable if store not in workspaces][:MAX_DATASTORES]

    def _look(self) -> None:
        found = []
        for path in listed(self._folder):
            with suppress(OSError):
                status = path.stat()
                found.append((status.st_mtime_ns, path, status.st_size))
        keys = [(path, made, size) for made, path, size in sorted(found, reverse=True)]
        self._known = {key: self._known[key] if key in self._known else self._open(key[0]) for key in keys}

    def _open(self, path: Path) -> SuffixArray | None:
        self._fingerprint = self._fingerprint or fingerprint(self._vocabulary())
        try:
            return open_datastore(path, self._fingerprint)
        except DatastoreError as error:
            log.warning("%s, and is not used", error)
            return None


def _read(path: Path) -> tuple[Manifest, int]:
    """Return the manifest, and the place where the tokens begin."""
    try:
        with path.open("rb") as file:
            head = file.read(MAX_HEADER_BYTES)
            size = os.fstat(file.fileno()).st_size
        if not head.startswith(MAGIC):
            raise ValueError("it has another form")
        end = head.index(b"\n", len(MAGIC)) + 1
        value = json.loads(head[len(MAGIC) : end])
        told = {"digest": "", **value}  # older files have no digest
        manifest = Manifest(**{field.name: told[field.name] for field in fields(Manifest)})
        _check(manifest)
    except OSError as error:
        raise DatastoreError(f"{path} can't be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise DatastoreError(f"{path} is broken: {error}") from None
    begin = _aligned(end)
    wanted = _aligned(begin + manifest.num_tokens * manifest.token_bytes) + (manifest.num_tokens + 1) * PLACE_BYTES
    if size != wanted:
        raise DatastoreError(f"{path} is broken: it has {size} bytes instead of {wanted}")
    return manifest, begin


def _check(manifest: Manifest) -> None:
    for field in fields(Manifest):
        value = getattr(manifest, field.name)
        if type(value) is not (int if field.type == "int" else str):
            raise TypeError(f"{field.name} is {value!r}")
    if manifest.token_bytes not in (2, 4) or not 0 < manifest.num_tokens < (1 << 32) - 1:
        raise ValueError(f"{manifest.num_tokens} tokens of {manifest.token_bytes} bytes")


def _read_ahead(numbers: np.memmap[Any, Any]) -> None:
    """Have the system read a file in the background: a search touches pages all over it."""
    if hasattr(mmap, "MADV_WILLNEED") and isinstance(mapped := getattr(numbers, "_mmap", None), mmap.mmap):
        with suppress(OSError):
            mapped.madvise(mmap.MADV_WILLNEED)


def _aligned(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT


def _pad(file: BinaryIO) -> None:
    file.write(b"\0" * (_aligned(file.tell()) - file.tell()))
