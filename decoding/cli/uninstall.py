"""Removes what Tabcast has written on this machine, or lists it: the engine's part of `tabcast uninstall`.

Everything is either in a folder of the system's that bears our name, or known by a record of our own: models of other
programs, and whatever else lies in a folder that a variable names, stay. Knows no running engine.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from decoding.config import datastores_directory, models_directory, online_directory
from decoding.errors import FolderError
from decoding.protocol import user_config_path
from decoding.storage import kept_blocks, policy_state
from decoding.storage.pulled import PARTS, RECORD, as_size, pulled_models
from decoding.storage.rounded_files import ENDING, cache_folder
from decoding.storage.setup_record import record_path

# Folders of our own that variables may put elsewhere: what else lies there isn't known to be ours.
NAMED_FOLDERS: Final = ("TABCAST_DATASTORES", "TABCAST_ONLINE_DIR")
HABITS: Final = "TABCAST_HABITS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """A file or folder of ours and what it is; `is_kept` says that only `--purge` removes it."""

    path: Path
    what: str
    is_kept: bool = True

    @property
    def num_bytes(self) -> int:
        """The size of all that is in it."""
        inside = [self.path, *self.path.rglob("*")] if self.path.is_dir() else [self.path]
        return sum(path.stat().st_size for path in inside if path.is_file() and not path.is_symlink())


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Add the subcommand, and return its parser."""
    parser: argparse.ArgumentParser = commands.add_parser("uninstall", help="remove what was written on this machine")
    parser.add_argument("--purge", action="store_true", help="also pulled models, configuration and what was learnt")
    parser.add_argument("--dry-run", action="store_true", help="list it only")
    return parser


def run(options: argparse.Namespace) -> int:
    """List or remove it; return the exit code."""
    found = [leftover for leftover in leftovers() if leftover.path.exists()]
    chosen = [leftover for leftover in found if options.purge or not leftover.is_kept]
    for leftover in chosen:
        told = f"{as_size(leftover.num_bytes):>9}  {leftover.what}: {leftover.path}"
        if not options.dry_run:
            _remove(leftover.path)
        print(f"{'would remove' if options.dry_run else 'removed'} {told}")
    if not options.dry_run:
        _remove_empty()
    for path in _not_ours():
        print(f"stays                   not Tabcast's own: {path}")
    if kept := [leftover for leftover in found if leftover not in chosen]:
        size = as_size(sum(leftover.num_bytes for leftover in kept))
        print(
            f"stays        {size:>9}  models, configuration, what was learnt: 'tabcast uninstall --purge' removes them"
        )
    return 0


def leftovers() -> Iterator[Leftover]:
    """Yield what may be there, caches first."""
    places = [policy_state.path(), policy_state.path_of(policy_state.STEP_TIMES)]
    places += kept_blocks.folder().glob(f"*{kept_blocks.ENDING}*")
    with suppress(OSError):
        places += sorted(path for path in cache_folder().parent.iterdir() if path not in places)
    yield from (Leftover(path=path, what="cache", is_kept=False) for path in places)
    for pulled in pulled_models():
        for name in (*(Path(file.name).name for file in pulled.files), RECORD, PARTS):
            yield Leftover(path=pulled.folder / name, what=f"model {pulled.name}")
        for path in sorted(pulled.folder.glob(f"*{ENDING}*")):
            yield Leftover(path=path, what=f"rounded weights of {pulled.name}", is_kept=False)
    for variable, folder, what in zip(
        NAMED_FOLDERS,
        (datastores_directory(), online_directory()),
        ("indexed code", "a draft that learns"),
        strict=True,
    ):
        if not os.environ.get(variable):
            yield Leftover(path=folder, what=what)
    habits = os.environ.get(HABITS)
    yield Leftover(path=Path(habits) if habits else _data() / "habits.json", what="which suggestions you accept")
    config = user_config_path(os.environ)
    yield Leftover(path=config, what="configuration")
    yield Leftover(path=record_path(config), what="configuration before setup")
    yield Leftover(path=config.with_name("keys.json"), what="keys of a team's engine")


def _data() -> Path:
    import platformdirs  # noqa: PLC0415 - absent on some GPU machines, where `bench` and `train` must run

    return platformdirs.user_data_path("tabcast")


def _not_ours() -> Iterator[Path]:
    """Yield folders that we leave because a variable named them, or because they hold what no pull has recorded."""
    yield from (Path(os.environ[name]) for name in NAMED_FOLDERS if os.environ.get(name))
    ours = {pulled.folder for pulled in pulled_models()}
    yield from (folder for folder in sorted(models_directory().glob("*/*")) if folder.is_dir() and folder not in ours)


def _remove(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    except OSError as error:
        raise FolderError(f"{path} can't be removed: {error.strerror or error}") from None


def _remove_empty() -> None:
    """Remove our folders where nothing is left in them."""
    models = models_directory()
    nested = [*models.glob("*/*"), *models.glob("*"), models]
    for folder in (*nested, _data(), cache_folder().parent, user_config_path(os.environ).parent):
        with suppress(OSError):  # something is in it, or it isn't there
            if "tabcast" in folder.parts or folder in nested:
                folder.rmdir()
