"""The server's log file: private, bounded, without text, and no trouble where it can't be written."""

from __future__ import annotations

import errno
import logging
import os
import stat
import sys
from pathlib import Path
from typing import IO

import pytest

from lsp_server.log import LogFile, log_path
from tests.lsp.conftest import Servers


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "server" / "server.log"


def _record(text: str, level: int = logging.INFO) -> logging.LogRecord:
    return logging.LogRecord("lsp_server.some", level, __file__, 1, text, (), None)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_it_is_private_and_bounded(path: Path) -> None:
    log = LogFile(path, max_bytes=500)
    for number in range(50):
        log.handle(_record(f"line {number}"))
    log.close()
    older = path.with_suffix(".log.1")
    assert path.read_text().splitlines()[-1].endswith("INFO lsp_server.some: line 49")
    assert path.stat().st_size <= 500
    assert older.stat().st_size <= 500
    assert {file.name for file in path.parent.iterdir()} == {path.name, older.name}
    if os.name == "posix":
        assert (_mode(path), _mode(older), _mode(path.parent)) == (0o600, 0o600, 0o700)


def test_servers_share_it_though_one_of_them_renames_it(path: Path) -> None:
    one, other = LogFile(path, max_bytes=300), LogFile(path, max_bytes=300)
    for number in range(20):
        (one if number % 3 else other).handle(_record(f"line {number}"))
    lines = [*path.with_suffix(".log.1").read_text().splitlines(), *path.read_text().splitlines()]
    told = [line.rpartition(" ")[2] for line in lines]
    assert told == [str(number) for number in range(20 - len(told), 20)]
    one.close()
    other.close()


def test_neither_debug_lines_nor_messages_of_exceptions_are_in_it(path: Path) -> None:
    log = LogFile(path)
    logger = logging.Logger("lsp_server.some")
    logger.addHandler(log)
    logger.debug("the text is secret")
    try:
        raise ValueError("secret text")
    except ValueError:
        logger.exception("it failed")
    log.close()
    assert "it failed" in path.read_text()
    assert "ValueError at " in path.read_text()
    assert "secret" not in path.read_text()


@pytest.mark.skipif(os.name != "posix", reason="links need no rights there alone")
def test_a_place_that_cannot_be_written_is_no_trouble(tmp_path: Path, path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    LogFile(blocked / "server" / "server.log").handle(_record("lost"))
    path.parent.mkdir(parents=True)
    path.symlink_to(blocked)
    LogFile(path).handle(_record("lost"))
    assert blocked.read_text() == ""


def test_a_full_disk_is_no_trouble(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __init__(self, file: IO[bytes]) -> None:
            self._file = file

        def __getattr__(self, name: str) -> object:
            return getattr(self._file, name)

        def write(self, _: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    log = LogFile(path)
    log.handle(_record("kept"))
    with monkeypatch.context() as patch:
        patch.setattr(log, "_file", Full(log._file))
        log.handle(_record("lost"))
    log.handle(_record("kept again"))
    log.close()
    assert [line.partition(": ")[2] for line in path.read_text().splitlines()] == ["kept", "kept again"]


async def test_a_server_begins_it_whatever_standard_error_shows(servers: Servers) -> None:
    client = await servers.start(TABCAST_LOG="error")
    await client.ask("initialize", {"capabilities": {}})
    await client.close()
    assert f" {servers.processes[-1].pid} INFO lsp_server.log: tabcast " in log_path().read_text()
    if sys.platform != "win32":
        assert _mode(log_path()) == 0o600
