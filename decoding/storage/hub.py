"""Fetches from the Hugging Face hub: models whole and checked into a folder of ours, and single files.

Takes weights (safetensors), settings (JSON) and the tokenizer's files; code and other formats of weights are not
fetched. Knows files and checksums; loads nothing. The hub's own library does the fetching: with the user's login, from
`HF_ENDPOINT`, and not at all with `HF_HUB_OFFLINE`.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from decoding.config import models_directory
from decoding.errors import ModelError
from decoding.protocol import is_hub_name
from decoding.storage.pulled import PARTS, File, Progress, Pulled, check_disk, is_whole, write_record

# The files to fetch, all at the top of a repository; the second expression excludes a copy in another layout.
WANTED: Final = re.compile(r"[\w.-]+\.(safetensors|json)|tokenizer\.model|merges\.txt|vocab\.txt|LICENSE[\w.]*")
UNWANTED: Final = re.compile(r"consolidated.*")


def pull(name: str, revision: str | None = None, progress: Progress = lambda file, done, total: None) -> Pulled:
    """Fetch the missing files of a model, check all of them, and record which files belong to it.

    Args:
        name: `owner/model`.
        revision: branch, tag or commit; the main branch if None.
        progress: is called before each file, and after each piece of it.

    Raises:
        ModelError: the name is none, the hub can't be reached or refuses, a file is damaged, or the disk is too small.
    """
    if not is_hub_name(name):
        raise ModelError(f"{name!r} is no name of a model on the hub, which are of the form owner/model")
    folder = models_directory() / name
    check_online()
    commit, files = _ask(name, revision)
    present = {file.name for file in files if is_whole(folder / file.name, file)}
    missing = [file for file in files if file.name not in present]
    total = sum(file.num_bytes for file in missing)
    check_disk(folder, total)
    pulled = Pulled(name=name, folder=folder, revision=commit, files=files, is_complete=False)
    write_record(pulled)
    done = 0
    for file in missing:
        fetch_file(name, commit, file, folder, partial(_report, progress, file.name, done, total))
        done += file.num_bytes
    _forget_others(folder, files)
    complete = Pulled(name=name, folder=folder, revision=commit, files=files, is_complete=True)
    write_record(complete)
    shutil.rmtree(folder / PARTS, ignore_errors=True)
    return complete


def size_of(name: str) -> int:
    """Return the bytes that `pull` would fetch of a model. Raises `ModelError`."""
    check_online()
    return sum(file.num_bytes for file in _ask(name, None)[1])


def check_online() -> None:
    """Raise `ModelError` if the user wants nothing to be fetched."""
    from huggingface_hub import constants  # noqa: PLC0415 - half a second

    if constants.HF_HUB_OFFLINE:
        raise ModelError("HF_HUB_OFFLINE is set, and so nothing is fetched")


def _ask(name: str, revision: str | None) -> tuple[str, tuple[File, ...]]:
    """Return the commit and the wanted files of a repository."""
    from huggingface_hub import HfApi  # noqa: PLC0415 - half a second

    with _Translated(name):
        info = HfApi().model_info(name, revision=revision, files_metadata=True, timeout=30)
    files = []
    for sibling in info.siblings or ():
        if not WANTED.fullmatch(sibling.rfilename) or UNWANTED.fullmatch(sibling.rfilename):
            continue
        digest = sibling.lfs.sha256 if sibling.lfs is not None else sibling.blob_id
        files.append(File(name=sibling.rfilename, num_bytes=int(sibling.size or 0), digest=str(digest or "")))
    if not any(file.name.endswith(".safetensors") for file in files):
        raise ModelError(f"{name} has no weights in safetensors, and other formats are not read")
    return str(info.sha), tuple(files)


def _report(progress: Progress, name: str, done: int, total: int, num_bytes: int) -> None:
    progress(name, done + num_bytes, total)


class _Counted:
    """A file that reports its length whenever something was written to it."""

    def __init__(self, file: BinaryIO, tell: Callable[[int], None]) -> None:
        self._file, self._tell = file, tell
        tell(file.tell())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, piece: bytes) -> int:
        num_bytes = self._file.write(piece)
        self._tell(self._file.tell())
        return num_bytes


def fetch_file(name: str, revision: str, file: File, folder: Path, tell: Callable[[int], None]) -> None:
    """Fetch one file of a repository, from where an earlier try stopped, and put it in place if its digest is right.

    Raises `ModelError`; what arrived damaged is deleted.

    The library's `hf_hub_download` isn't used, since it discards what it had when it is interrupted.
    """
    from huggingface_hub import hf_hub_url  # noqa: PLC0415 - half a second
    from huggingface_hub.file_download import http_get  # noqa: PLC0415
    from huggingface_hub.utils._headers import build_hf_headers  # noqa: PLC0415

    part = folder / PARTS / file.digest
    part.parent.mkdir(parents=True, exist_ok=True)
    if part.is_file() and part.stat().st_size > file.num_bytes:
        part.unlink()
    url = hf_hub_url(name, file.name, revision=revision)
    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    with _Translated(name), part.open("ab") as opened:
        http_get(
            url,
            cast("BinaryIO", _Counted(opened, tell)),
            resume_size=opened.tell(),
            headers=headers,
            expected_size=file.num_bytes,
            displayed_filename=file.name,
        )
    if not is_whole(part, file):
        part.unlink()
        raise ModelError(f"{name}: {file.name} arrived damaged (size or checksum differ); pull again")
    part.replace(folder / file.name)


class _Translated:
    """Translates the many errors of the hub's library into one line each; the next pull goes on with fetched bytes."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        from huggingface_hub import errors  # noqa: PLC0415 - half a second

        if isinstance(error, errors.GatedRepoError):
            raise ModelError(f"{self._name} wants its terms accepted on the hub, and 'hf auth login' here") from None
        if isinstance(error, errors.RepositoryNotFoundError):
            raise ModelError(f"{self._name} is not on the hub, or not for you") from None
        if isinstance(error, errors.RevisionNotFoundError):
            raise ModelError(f"{self._name} has no such revision") from None
        if error is not None and isinstance(error, Exception) and not isinstance(error, ModelError):
            text = " ".join(str(error).split()) or type(error).__name__
            raise ModelError(f"{self._name}: the hub failed ({text[:200]}); pulling again goes on from here") from None


def _forget_others(folder: Path, files: tuple[File, ...]) -> None:
    """Delete weights of an earlier revision, which would be read beside those of this one."""
    names = {file.name for file in files}
    for path in folder.glob("*.safetensors"):
        if path.name not in names:
            path.unlink()
