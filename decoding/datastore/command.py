"""Implements `tabcast models index`: makes, lists and removes datastores of code.

The front end's process, whose command line is passed in, tells which files of a folder may be read.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from tokenizers import Tokenizer

from decoding.config import datastores_directory
from decoding.datastore import files, workspace
from decoding.datastore.build import build, read_texts
from decoding.datastore.files import DatastoreError
from decoding.errors import Interrupted

MAX_MB: Final = 256
NICENESS: Final = 10
LEAST_PRIORITY: Final = 19

Row = dict[str, Any]


def add_parser(actions: Any) -> argparse.ArgumentParser:
    """Add the parser below `tabcast models`."""
    index: argparse.ArgumentParser = actions.add_parser(
        "index",
        help="make a datastore of a folder's code, which the drafter suffix looks into",
        description="Make a datastore of a folder's code, for the drafter suffix. Without a folder, list them.",
    )
    index.add_argument(
        "folder", metavar="DIR", type=Path, nargs="?", help="below it, what .gitignore names is left out"
    )
    index.add_argument("--name", help="of the datastore; one of that name is replaced (default: the folder's name)")
    index.add_argument(
        "--max-mb", type=_megabytes, default=MAX_MB, metavar="N", help="size limit on disk (default: %(default)s)"
    )
    index.add_argument("--refresh", action="store_true", help="make those again that are there, from their folders")
    index.add_argument("--remove", metavar="NAME", help="delete the datastores of that name")
    # The language server passes this: the folder is worked in, and its datastore is made again if anything changed.
    index.add_argument("--workspace", action="store_true", help=argparse.SUPPRESS)
    # The `tabcast` command passes this: how to start the front end's own programs.
    index.add_argument("--front-end", type=shlex.split, default=[], help=argparse.SUPPRESS)
    return index


def run(options: argparse.Namespace, load_tokenizer: Callable[[], Tokenizer]) -> Row | list[Row]:
    """Make, list or remove datastores; return what there is to print. Raises `DatastoreError`."""
    if options.remove is not None:
        return _remove(options.remove)
    if options.folder is None and not options.refresh:
        return [_row(path) for path in files.listed(datastores_directory())]
    if not options.front_end:
        raise DatastoreError("which files may be read is for the front end to say: use 'tabcast models index'")
    if hasattr(os, "nice"):
        os.nice(LEAST_PRIORITY if options.workspace else NICENESS)
    if options.refresh:
        return _refresh(options, load_tokenizer())
    source = options.folder.expanduser().absolute()
    if options.workspace:
        return _index_workspace(options, load_tokenizer, source)
    return _index(options, load_tokenizer(), source, options.name or source.resolve().name or "root")


def _refresh(options: argparse.Namespace, tokenizer: Tokenizer) -> list[Row]:
    """Renew the datastores of this tokenizer one by one; each is replaced when its new one is whole.

    Those of workspaces are left out: they are renewed while they are worked in.
    """
    identity = files.fingerprint(tokenizer.get_vocab())
    for path in files.listed(datastores_directory()):
        try:
            manifest = files.read_manifest(path)
            if manifest.tokenizer == identity and not path.name.startswith(files.WORKSPACE):
                _index(options, tokenizer, Path(manifest.source), manifest.name)
        except DatastoreError as error:
            print(f"tabcast: {error}", file=sys.stderr)
    return [_row(path) for path in files.listed(datastores_directory())]


def _index_workspace(options: argparse.Namespace, load_tokenizer: Callable[[], Tokenizer], source: Path) -> Row:
    if not source.is_dir():
        raise DatastoreError(f"{source} is no folder")
    os.environ["RAYON_NUM_THREADS"] = "1"  # limits the tokenizer's threads
    workspace.end_with_input()
    texts = read_texts(options.front_end, source)
    try:
        found = workspace.refresh(source.resolve(), texts, load_tokenizer, datastores_directory())
    except KeyboardInterrupt:
        raise Interrupted("interrupted") from None
    return {"name": found.name, "files": found.num_files, "characters": found.num_characters, "made": found.made}


def _index(options: argparse.Namespace, tokenizer: Tokenizer, source: Path, name: str) -> Row:
    if not source.is_dir():
        raise DatastoreError(f"{source} is no folder")
    try:
        path, manifest, is_cut = build(
            read_texts(options.front_end, source),
            tokenizer,
            datastores_directory(),
            name,
            source=str(source),
            max_bytes=options.max_mb * 1_000_000,
            progress=_show,
        )
    except KeyboardInterrupt:
        raise Interrupted("interrupted; a datastore that was there before stays") from None
    if is_cut:
        print(f"It is full with {options.max_mb} MB, and files were left out; --max-mb allows more.", file=sys.stderr)
    print("The drafter suffix looks into it; a running engine takes it up within seconds.", file=sys.stderr)
    return {
        "name": manifest.name,
        "path": str(path),
        "source": manifest.source,
        "files": manifest.num_files,
        "tokens": manifest.num_tokens,
        "megabytes": round(path.stat().st_size / 1e6, 1),
    }


def describe() -> str:
    """Return a line on what is indexed."""
    paths = files.listed(datastores_directory())
    num_workspaces = sum(path.name.startswith(files.WORKSPACE) for path in paths)
    size = sum(path.stat().st_size for path in paths) / 1e6
    return f"{len(paths)} indexed ({num_workspaces} of workspaces), {size:.0f} MB; 'tabcast models index' lists them"


def _row(path: Path) -> Row:
    row: Row = {"name": path.name, "role": "datastore", "path": str(path), "selected": False}
    try:
        found = files.read_manifest(path)
    except DatastoreError as error:
        return {**row, "ok": False, "error": str(error)}
    note = f"{found.num_files:,} files, {found.num_characters / 1e6:.1f} MB of code, of {found.source}, {found.made}"
    return {**row, "name": found.name, "megabytes": round(path.stat().st_size / 1e6, 1), "note": note}


def _remove(name: str) -> Row:
    """Remove all datastores of a name, whichever tokenizer they are for."""
    found = [path for path in files.listed(datastores_directory()) if path.name.rpartition("-")[0] == name]
    if not found:
        raise DatastoreError(f"there is no datastore {name!r}")
    for path in found:
        try:
            path.unlink()
        except OSError as error:
            raise DatastoreError(f"{path} can't be removed: {error.strerror}") from None
    return {"name": name, "removed": len(found)}


def _show(text: str) -> None:
    if sys.stderr.isatty():
        with suppress(OSError):
            print(f"\r{text[: shutil.get_terminal_size().columns - 1]}\033[K", end="", file=sys.stderr, flush=True)
    else:
        print(text, file=sys.stderr, flush=True)


def _megabytes(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 16_000:
        raise argparse.ArgumentTypeError(f"expected 1 to 16000, got {text}")
    return number
