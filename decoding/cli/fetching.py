"""Fetches a model by its name: of the catalogue or of the hub. Says how far it is on standard error; loads nothing."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Callable

from decoding.errors import TabcastError
from decoding.models.catalogue import known_model, pieces_of
from decoding.models.listed import folder_of
from decoding.storage import hub
from decoding.storage.pinned_file import REVISION, pull_file
from decoding.storage.pulled import File, Progress, Pulled, as_size


def fetch(name: str, revision: str | None, progress: Progress, failed: Callable[[str], None]) -> Pulled:
    """Fetch what is missing of a model and check it; `failed` gets the reason when another source is tried.

    Raises `TabcastError`, and `OSError` of a disk that is full or closed.
    """
    quieten_the_hub()
    known = known_model(name)
    if known is None or not known.file:
        return hub.pull(name, revision, progress)
    if revision:
        raise TabcastError(f"{known.name} is one file with a known checksum, and has no other revisions")
    file = File(name=known.file, num_bytes=known.num_bytes, digest=known.sha256)
    missing = Pulled(name=known.name, folder=folder_of(known.name), revision=REVISION, files=(file,), is_complete=False)
    return pull_file(missing, known.repository, pieces_of(known.name), progress, failed)


def quieten_the_hub() -> None:
    """Keep the hub's library from writing to the terminal: progress and failures are told by us."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub.utils import logging as hub_logging  # noqa: PLC0415 - half a second

    hub_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    for name in ("httpx", "httpx2"):
        logging.getLogger(name).setLevel(logging.ERROR)


def tell_another_source(reason: str) -> None:
    """Say why a source failed."""
    print(f"{reason}. Another source is tried.", file=sys.stderr, flush=True)


class ProgressLine:
    """Shows a line for each file; on a terminal it is rewritten as the file grows."""

    def __init__(self) -> None:
        self._file = ""

    def __call__(self, file: str, done: int, total: int) -> None:
        """Show how many bytes of all files have arrived."""
        if sys.stderr.isatty():
            end = "\n" if done == total else ""
            line = f"{100 * done // max(total, 1):3} % of {as_size(total)}: {file}"
            print(f"\r{line[: shutil.get_terminal_size().columns - 1]}\033[K", end=end, file=sys.stderr, flush=True)
        elif file != self._file:
            print(f"{file} ({as_size(done)} of {as_size(total)} are there)", file=sys.stderr, flush=True)
        self._file = file
