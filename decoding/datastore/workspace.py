"""Keeps the datastores of workspaces, which the front end has made in the background, one for each folder worked in.

One is made again only if a text has changed, by a process of the lowest priority that ends with the front end that
started it. Their number is bounded: those of folders that are gone or unused for longest go first. The front end
decides which files go in, and masks secrets in them.
"""

from __future__ import annotations

import hashlib
import os
import re
import signal
import threading
import time
from _thread import interrupt_main
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout
from tokenizers import Tokenizer

from decoding.datastore import files
from decoding.datastore.build import build
from decoding.datastore.files import WORKSPACE, DatastoreError, Manifest

# measured: 10 MB of code are nearly as good as 100 to draft from; building takes 52 bytes of memory a token.
MAX_MB: Final = 24
MAX_CHARACTERS: Final = 12_000_000
MAX_WORKSPACES: Final = 8
LEFT_BEHIND_S: Final = 3600.0
GRACE_S: Final = 3.0


def name_of(root: Path) -> str:
    """Return the datastore's name: the folder's own for people, and a digest of its path."""
    readable = re.sub(r"[^\w.-]", "-", root.name)[:32]
    return f"{WORKSPACE}{readable}-{hashlib.sha256(os.fsencode(root)).hexdigest()[:12]}"


def refresh(root: Path, texts: Iterable[str], load_tokenizer: Callable[[], Tokenizer], folder: Path) -> Manifest:
    """Make or renew a workspace's datastore; return its manifest.

    Raises `DatastoreError`, also while another process does.

    Args:
        root: of the workspace, resolved.
        texts: of its files; read no further than the limits allow.
        load_tokenizer: of the target.
        folder: of datastores.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        with FileLock(folder / f".{name_of(root)}.lock", timeout=0):
            found = _refreshed(root, texts, load_tokenizer(), folder)
            _prune(folder)
            return found
    except Timeout:
        raise DatastoreError(f"another process indexes {root} already") from None


def end_with_input() -> None:
    """Interrupt this process when its standard input closes, as it does when its starter ends; then end it."""

    def wait() -> None:
        with suppress(OSError):  # `sys.stdin` isn't used: its lock must be free when the interpreter ends
            while os.read(0, 64):
                pass
        if os.name == "posix":
            os.kill(os.getpid(), signal.SIGINT)  # only a signal wakes a main thread that waits for a pipe
        else:
            interrupt_main()
        time.sleep(GRACE_S)
        os._exit(1)

    threading.Thread(target=wait, name="input", daemon=True).start()


def _refreshed(root: Path, texts: Iterable[str], tokenizer: Tokenizer, folder: Path) -> Manifest:
    held = list(_bounded(texts))
    digest = hashlib.sha256()
    for text in held:
        digest.update(f"{len(text)}\n".encode() + text.encode("utf-8", "surrogatepass"))
    path = files.path_of(folder, name_of(root), files.fingerprint(tokenizer.get_vocab()))
    with suppress(DatastoreError):
        known = files.read_manifest(path)
        if known.digest == digest.hexdigest():
            path.touch()  # because the newest datastores are searched
            return known
    return build(
        iter(held),
        tokenizer,
        folder,
        name_of(root),
        source=str(root),
        max_bytes=MAX_MB * 1_000_000,
        digest=digest.hexdigest(),
    )[1]


def _bounded(texts: Iterable[str]) -> Iterator[str]:
    num_characters = 0
    for text in texts:
        num_characters += len(text)
        if num_characters > MAX_CHARACTERS:
            return
        yield text


def _prune(folder: Path) -> None:
    """Remove datastores of workspaces that are gone, those beyond the limit, and the files of killed processes."""
    kept = 0
    for path in reversed(files.by_age(folder)):
        if path.name.startswith(WORKSPACE):
            kept += 1
            if kept > MAX_WORKSPACES or _is_gone(path):
                path.unlink(missing_ok=True)
    for path in folder.glob(f".{WORKSPACE}*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > LEFT_BEHIND_S:
                path.unlink()


def _is_gone(path: Path) -> bool:
    try:
        return not Path(files.read_manifest(path).source).is_dir()
    except DatastoreError:
        return True
