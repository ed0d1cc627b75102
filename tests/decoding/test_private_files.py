"""The address and the token of an engine: believed only where nobody else could have written them, and whole."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from decoding.protocol import (
    ADDRESS_FILE,
    ENGINE_LOCK_FILE,
    Address,
    folder_trouble,
    is_token,
    make_private,
    read_private,
    write_private,
)
from decoding.service import lifecycle

posix_only = pytest.mark.skipif(os.name != "posix", reason="there are no such owners and modes")

ADDRESS = Address(port=4711, token="0123456789abcdef" * 2, pid=1)
Spoil = Callable[[Path], object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A runtime directory with the address of an engine."""
    folder = tmp_path / "base" / "engine"
    make_private(folder)
    ADDRESS.write(folder)
    return folder


def _link_file(folder: Path) -> None:
    file = folder / ADDRESS_FILE
    file.replace(folder / "elsewhere")
    file.symlink_to(folder / "elsewhere")


def _link_folder(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to(folder.with_name("elsewhere"))


def _make_pipe(folder: Path) -> None:
    (folder / ADDRESS_FILE).unlink()
    os.mkfifo(folder / ADDRESS_FILE, 0o600)


def _make_folder(folder: Path) -> None:
    (folder / ADDRESS_FILE).unlink()
    (folder / ADDRESS_FILE).mkdir(mode=0o700)


UNTRUSTED: dict[str, tuple[Spoil, str]] = {
    "a link": (_link_file, "is a link"),
    "a folder that is a link": (_link_folder, "is a link"),
    "a pipe": (_make_pipe, "no plain file"),
    "a folder": (_make_folder, "no plain file"),
    "readable by others": (lambda folder: (folder / ADDRESS_FILE).chmod(0o604), "chmod 600"),
    "writable by the group": (lambda folder: (folder / ADDRESS_FILE).chmod(0o620), "chmod 600"),
    "in a folder that others may enter": (lambda folder: folder.chmod(0o755), "chmod 700"),
}


@posix_only
@pytest.mark.parametrize("name", UNTRUSTED)
def test_what_others_could_have_written_is_not_believed(folder: Path, name: str) -> None:
    assert Address.read(folder) == ADDRESS
    spoil, problem = UNTRUSTED[name]
    spoil(folder)
    assert Address.read(folder) is None
    assert problem in Address.problem(folder)


@posix_only
def test_what_belongs_to_another_user_is_not_believed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: user + 1)
    assert Address.read(folder) is None
    assert "belongs to another user" in Address.problem(folder)
    with pytest.raises(PermissionError, match=r"belongs to another user; .*TABCAST_RUNTIME_DIR"):
        make_private(folder)


@posix_only
def test_a_runtime_directory_that_is_a_link_is_not_used(folder: Path) -> None:
    _link_folder(folder)
    with pytest.raises(PermissionError, match="is a link"):
        make_private(folder)


DAMAGED: dict[str, bytes] = {
    "empty": b"",
    "cut short": json.dumps(asdict(ADDRESS)).encode()[:-20],
    "binary": bytes(range(256)),
    "huge": b'{"port": 1' + b" " * 10_000_000 + b"}",
    "deep": b"[" * 50_000,
    "no object": b"7",
    "a token that is empty": json.dumps(asdict(ADDRESS) | {"token": ""}).encode(),
    "a token that is short": json.dumps(asdict(ADDRESS) | {"token": "x" * 31}).encode(),
    "a token of another kind": json.dumps(asdict(ADDRESS) | {"token": "\udcff" * 40}).encode(),
    "a token of zeros": json.dumps(asdict(ADDRESS) | {"token": "\0" * 43}).encode(),
    "a token of several lines": json.dumps(asdict(ADDRESS) | {"token": ADDRESS.token + "\nX: y"}).encode(),
    "a port of another kind": json.dumps(asdict(ADDRESS) | {"port": "1"}).encode(),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_address_is_none(folder: Path, name: str) -> None:
    write_private(folder / ADDRESS_FILE, DAMAGED[name])
    assert Address.read(folder) is None
    assert "is damaged" in Address.problem(folder)
    ADDRESS.write(folder)
    assert Address.read(folder) == ADDRESS
    assert Address.problem(folder) == ""


def test_an_address_that_is_not_there_is_no_problem(tmp_path: Path) -> None:
    assert Address.read(tmp_path / "nowhere") is None
    assert Address.problem(tmp_path / "nowhere") == ""


def test_a_short_token_opens_nothing() -> None:
    for token in ("", "x" * 31):
        with pytest.raises(ValueError, match="at least 32 characters"):
            Address(port=1, token=token, pid=1)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_is_broken_off_leaves_what_was_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = folder / "token"
    write_private(path, b"before", is_kept=True)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((os, "fsync") if step == "fsync" else (Path, "replace")), fail)
    with pytest.raises(OSError, match="No space left"):
        write_private(path, b"after", is_kept=True)
    assert read_private(path, 100) == b"before"
    assert sorted(file.name for file in folder.iterdir()) == [ADDRESS_FILE, "token"]


def test_a_damaged_token_file_is_no_token(folder: Path) -> None:
    """What a crash left of the file of an engine with a port of its own."""
    first = lifecycle._token(folder, keep=True)
    assert lifecycle._token(folder, keep=True) == first
    for content in (b"", b"short", b"\xff" * 40, b"\0" * 43, b"x" * 40 + b"\0\0\0", b"x" * 20 + b"\n" + b"x" * 20):
        write_private(folder / lifecycle.TOKEN_FILE, content)
        token = lifecycle._token(folder, keep=True)
        assert is_token(token)
        assert lifecycle._token(folder, keep=True) == token


def test_an_address_that_was_removed_is_written_again(folder: Path) -> None:
    """Unless the lock went with it: then another engine may have begun there."""
    lock = folder / ENGINE_LOCK_FILE
    lock.touch()
    announcement = lifecycle.Announcement(ADDRESS, folder)
    announcement.write()
    (folder / ADDRESS_FILE).unlink()
    announcement.look(0.0)
    assert Address.read(folder) == ADDRESS
    lock.rename(folder / "old")
    lock.touch()
    (folder / ADDRESS_FILE).unlink()
    announcement.look(0.0)
    assert Address.read(folder) is None
    other = replace(ADDRESS, pid=2)
    other.write(folder)
    announcement.remove()
    assert Address.read(folder) == other


def test_a_full_disk_is_told_in_a_sentence(tmp_path: Path) -> None:
    told = folder_trouble(tmp_path, OSError(28, "No space left on device"))
    assert told == (
        f"{tmp_path} can't be written (No space left on device): "
        "free some space, or set TABCAST_RUNTIME_DIR to another folder"
    )
    assert folder_trouble(tmp_path, PermissionError("a sentence")) == "a sentence"
