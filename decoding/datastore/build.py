"""Builds a datastore from the texts that another process sends: the choice of files is not this side's affair.

The front end's `files` process walks a folder by the rules that hold for a workspace, masks secrets, and writes one
JSON object a line with `path` and `text`. Knows no rules of files and no model.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
from tokenizers import Tokenizer

from decoding.datastore import files
from decoding.datastore.files import DatastoreError, Manifest
from decoding.datastore.suffix_array import Tokens, sort_places

BATCH_CHARACTERS: Final = 2_000_000
REPORT_S: Final = 1.0

Progress = Callable[[str], None]


@dataclass(slots=True)
class _Gathered:
    """Counts of what was read so far."""

    num_files: int = 0
    num_characters: int = 0
    is_cut: bool = False


def read_texts(command: Sequence[str], source: Path) -> Iterator[str]:
    """Yield the texts of a folder's files, from the front end's process. Raises `DatastoreError` if that fails."""
    with subprocess.Popen([*command, "files", str(source)], stdout=subprocess.PIPE, encoding="utf-8") as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                yield str(json.loads(line)["text"])
        except (ValueError, KeyError, TypeError):
            raise DatastoreError("the front end's process for files wrote something else") from None
        finally:
            if process.poll() is None:
                process.stdout.close()
                process.terminate()
    if process.returncode > 0:
        raise DatastoreError(f"{source} could not be read")


def build(
    texts: Iterator[str],
    tokenizer: Tokenizer,
    folder: Path,
    name: str,
    *,
    source: str,
    max_bytes: int,
    digest: str = "",
    progress: Progress = lambda text: None,
) -> tuple[Path, Manifest, bool]:
    """Write a datastore of these texts; return its path, its manifest, and whether texts were left out.

    Args:
        texts: of code; read no further than `max_bytes` allow.
        tokenizer: of the target.
        folder: of datastores.
        name: an older one of this name is replaced when this one is whole, and not before.
        source: for people: where the texts are from.
        max_bytes: of the file.
        digest: of the texts, stored in the manifest.
        progress: is told now and then how far it is.
    """
    vocabulary = tokenizer.get_vocab()
    identity = files.fingerprint(vocabulary)
    files.path_of(folder, name, identity)
    separator = max(vocabulary.values()) + 1
    kind = files.token_type(separator)
    gathered = _Gathered()
    room = (max_bytes - files.MAX_HEADER_BYTES) // (kind.itemsize + files.PLACE_BYTES)
    tokens = _tokens(texts, tokenizer, separator, room, gathered, progress)
    if not len(tokens):
        raise DatastoreError(f"{source}: there is no file of code that may be read, so nothing is indexed")
    progress(f"sorting {len(tokens):,} tokens")
    manifest = Manifest(
        name=name,
        tokenizer=identity,
        num_tokens=len(tokens),
        token_bytes=kind.itemsize,
        separator=separator,
        source=source,
        num_files=gathered.num_files,
        num_characters=gathered.num_characters,
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        digest=digest,
    )
    path = files.write(folder, manifest, tokens, sort_places(tokens))
    return path, manifest, gathered.is_cut


def _tokens(
    texts: Iterator[str],
    tokenizer: Tokenizer,
    separator: int,
    room: int,
    gathered: _Gathered,
    progress: Progress,
) -> Tokens:
    """Return all tokens, a separator behind each text, as many whole texts as there is room for."""
    parts: list[Tokens] = []
    num_tokens, reported_s = 0, time.monotonic()
    kind = files.token_type(separator)
    for batch in _batches(texts):
        for text, encoding in zip(batch, tokenizer.encode_batch_fast(batch, add_special_tokens=False), strict=True):
            ids = np.array([*encoding.ids, separator], dtype=kind)
            if num_tokens + len(ids) > room:
                gathered.is_cut = True
                break
            parts.append(ids)
            num_tokens += len(ids)
            gathered.num_files += 1
            gathered.num_characters += len(text)
        if gathered.is_cut:
            break
        if time.monotonic() - reported_s > REPORT_S:
            reported_s = time.monotonic()
            progress(f"{gathered.num_files:,} files, {gathered.num_characters / 1e6:.1f} MB of code")
    return np.concatenate(parts) if parts else np.empty(0, dtype=kind)


def _batches(texts: Iterator[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    num_characters = 0
    for text in texts:
        if text.strip():
            batch.append(text)
            num_characters += len(text)
        if num_characters >= BATCH_CHARACTERS:
            yield batch
            batch, num_characters = [], 0
    if batch:
        yield batch
