"""Describes a model that another program keeps, and looks into folders without trusting their size."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

MAX_ENTRIES: Final = 1000  # of a folder
SPLIT: Final = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL)
# The part of a model that looks at pictures lies beside the model and is none itself.
PROJECTOR: Final = re.compile(r"mmproj", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A model of another program. `name` begins with the program's; `problem` says why it can't be used."""

    name: str
    path: Path
    num_bytes: int = 0
    problem: str = ""


def entries_of(folder: Path) -> list[Path]:
    """Return what lies in a folder, by name; nothing where it isn't there or can't be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in islice(entries, MAX_ENTRIES))
    except OSError:
        return []


def is_folder(path: Path) -> bool:
    """Return whether a path is a folder, or a link to one; a closed one is none."""
    try:
        return path.is_dir()
    except OSError:
        return False


def why_closed(folder: Path) -> str:
    """Return why a folder that is there can't be looked into, else ""."""
    try:
        with os.scandir(folder):
            return ""
    except PermissionError:
        return f"{folder} can't be read by this user"
    except OSError:
        return ""


def gguf_files(folder: Path, depth: int = 1) -> Iterator[Path]:
    """Yield the GGUF models in a folder and in so many levels below it; of one in several files, the first of them."""
    for path in entries_of(folder):
        if path.suffix == ".gguf":
            split = SPLIT.fullmatch(path.name)
            is_first = split is None or int(split["number"]) == 1
            if is_first and not PROJECTOR.search(path.name) and not is_folder(path):
                yield path
        elif depth and is_folder(path):
            yield from gguf_files(path, depth - 1)


def found_file(name: str, path: Path, program: str) -> Found:
    """Describe a GGUF file by its size, with those that it was split from; a link may lead nowhere."""
    split = SPLIT.fullmatch(path.name)
    names = [path.name]
    if split is not None:
        count = min(int(split["count"]), MAX_ENTRIES)
        names = [f"{split['stem']}-{number:05}-of-{split['count']}.gguf" for number in range(1, count + 1)]
    try:
        return Found(name=name, path=path, num_bytes=sum(path.with_name(part).stat().st_size for part in names))
    except OSError:
        return Found(name=name, path=path, problem=f"{program} has not all of its files: fetch it there again")


def unique_folders(*places: Path | str | None) -> list[Path]:
    """Return the folders that are named, each once; a place may be given by a variable that is not set."""
    folders = [Path(place).expanduser() for place in places if place]
    return list(dict.fromkeys(folder for folder in folders if folder.is_absolute()))
