"""Datastores of workspaces: renewed only when a text changed, bounded in size and number, ended with who asked."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
from tokenizers import Tokenizer

from decoding.config import datastores_directory
from decoding.datastore import files, workspace
from decoding.datastore.build import build
from decoding.datastore.command import describe
from decoding.datastore.files import DatastoreError, Datastores, Manifest
from decoding.models.folder.tokenizer_files import load_tokenizer

Refresh = Callable[..., Manifest]


@pytest.fixture
def tokenizer(tiny_model: Path) -> Tokenizer:
    return load_tokenizer(tiny_model)


@pytest.fixture
def refresh(tokenizer: Tokenizer) -> Refresh:
    def run(root: Path, *texts: str) -> Manifest:
        root.mkdir(exist_ok=True)
        return workspace.refresh(root, texts, lambda: tokenizer, datastores_directory())

    return run


def made() -> list[Path]:
    return files.listed(datastores_directory())


def age(path: Path, seconds: int) -> None:
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))


def test_it_is_made_again_only_if_a_text_changed(refresh: Refresh, tmp_path: Path) -> None:
    first = refresh(tmp_path / "a", "x = 1\n", "y = 2\n")
    (path,) = made()
    before = path.read_bytes()
    age(path, 100)
    aged = path.stat().st_mtime
    assert refresh(tmp_path / "a", "x = 1\n", "y = 2\n") == first
    assert path.read_bytes() == before
    assert path.stat().st_mtime > aged  # the one that is worked in counts as the newest
    for texts in (("x = 1\ny = 2\n",), ("x = 1\n", "y = 3\n")):
        assert refresh(tmp_path / "a", *texts).digest != first.digest
    assert made() == [path]


def test_what_was_changed_is_found_by_an_engine(refresh: Refresh, tokenizer: Tokenizer, tmp_path: Path) -> None:
    stores = Datastores(datastores_directory(), tokenizer.get_vocab, iter(range(0, 100, 10)).__next__)
    for text in ("alpha = beta\n", "alpha = gamma\n"):
        refresh(tmp_path / "a", text)
        (store,) = stores.current()
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert store.find(ids[:-1], 1).following == [ids[-1:]]


def test_size_and_number_are_bounded(refresh: Refresh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspace, "MAX_CHARACTERS", 10)
    assert refresh(tmp_path / "cut", "x = 1\n", "yy = 2\n").num_files == 1
    monkeypatch.setattr(workspace, "MAX_WORKSPACES", 2)
    for number in range(4):
        refresh(tmp_path / f"w{number}", "x = 1\n")
        for path in made():
            age(path, 10)
    assert sorted(files.read_manifest(path).source[-2:] for path in made()) == ["w2", "w3"]
    (tmp_path / "w3").rmdir()
    refresh(tmp_path / "w2", "x = 1\n")
    assert [files.read_manifest(path).source[-2:] for path in made()] == ["w2"]
    assert describe().startswith("1 indexed (1 of workspaces)")


def test_the_users_own_are_left_alone_and_searched(
    refresh: Refresh, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspace, "MAX_WORKSPACES", 3)
    path, _, _ = build(iter(["mine = 1\n"]), tokenizer, datastores_directory(), "mine", source="/gone", max_bytes=10**6)
    age(path, 1000)
    for number in range(3):
        refresh(tmp_path / f"w{number}", f"x = {number}\n")
    assert len(made()) == 4
    current = Datastores(datastores_directory(), tokenizer.get_vocab).current()
    assert len(current) == 1 + files.MAX_SEARCHED_WORKSPACES
    ids = tokenizer.encode("mine = 1\n", add_special_tokens=False).ids
    assert current[-1].find(ids[:-1], 1).following == [ids[-1:]]


def test_one_process_at_a_time_and_old_pieces_are_cleared(refresh: Refresh, tmp_path: Path) -> None:
    root = tmp_path / "a"
    left = datastores_directory() / f".{workspace.name_of(root)}-0123.index.99999999"
    left.write_bytes(b"half")
    with FileLock(datastores_directory() / f".{workspace.name_of(root)}.lock"), pytest.raises(DatastoreError):
        refresh(root, "x = 1\n")
    refresh(root, "x = 1\n")
    assert left.exists()  # somebody may be writing it
    age(left, int(workspace.LEFT_BEHIND_S) + 1)
    refresh(root, "x = 1\n")
    assert not left.exists()


def test_older_datastores_without_a_digest_are_read(tokenizer: Tokenizer) -> None:
    path, _, _ = build(iter(["x = 1\n"]), tokenizer, datastores_directory(), "old", source="", max_bytes=10**6)
    content = path.read_bytes()
    path.write_bytes(content.replace(b', "digest": ""', b" " * 14))
    assert files.read_manifest(path).digest == ""


@pytest.mark.skipif(os.name != "posix", reason="looks for a process by its number")
def test_it_ends_with_who_started_it(tiny_model: Path, tmp_path: Path) -> None:
    endless, pid_file = tmp_path / "endless.py", tmp_path / "pid"
    endless.write_text(
        "import json, os, pathlib, time\n"
        f"pathlib.Path({str(pid_file)!r}).write_text(str(os.getpid()))\n"
        "while True:\n"
        "    print(json.dumps({'text': 'x = 1'}), flush=True)  # ends when nobody reads it any more\n"
        "    time.sleep(0.01)\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-P", "-m", "decoding", "models", "index", "--workspace", "--model", str(tiny_model)]
    command += [f"--front-end={sys.executable} {endless}", str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        while process.poll() is None and not (pid_file.exists() and pid_file.read_text()):
            time.sleep(0.01)
        process.stdin.close()
        assert process.wait(60) != 0
    ends_by = time.monotonic() + 60
    while is_running(int(pid_file.read_text())):
        assert time.monotonic() < ends_by, "it still reads the workspace"
        time.sleep(0.01)
    assert made() == []


def is_running(pid: int) -> bool:
    """Whether there is such a process, and not only its number, which somebody has yet to ask for."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text() if Path("/proc/self").exists() else ""
    except (ProcessLookupError, FileNotFoundError):
        return False
    return not state.rpartition(")")[2].lstrip().startswith("Z")
