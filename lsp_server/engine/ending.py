"""Ends an engine that answers nothing: finds out whether a process is that engine and whether it is stopped.

It must not know HTTP, tokens or what the engine is asked. All of it blocks, so the client calls it in a thread.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

from decoding.protocol import ENGINE_LOCK_FILE

END_TIMEOUT_S: Final = 5.0
POLL_S: Final = 0.05
PS_TIMEOUT_S: Final = 5.0
# The state of a process after SIGSTOP. A debugger's stop has another letter, and is treated like a slow engine.
STOPPED: Final = "T"
PROCESSES: Final = Path("/proc")


class _Process(NamedTuple):
    """The system's view of a process: the letter of its state, and whether it was started as our engine."""

    state: str
    is_engine: bool


def is_stopped(directory: Path, pid: int) -> bool:
    """Return whether a runtime directory's engine is stopped (SIGSTOP), so that it can't answer.

    It is False where the system does not tell.
    """
    process = _look(directory, pid)
    return process is not None and process.is_engine and process.state.startswith(STOPPED)


def end_engine(directory: Path, pid: int) -> bool:
    """Kill the engine of a runtime directory because it answers nothing. Return whether it is gone.

    An engine holds a lock as long as it lives. Where nobody holds it the address file is an old one, and its process
    number may be another program's by now: nothing is ended. Nor is it where the process has another command line.
    """
    if not is_locked(directory):
        return True
    if not _kill(directory, pid):
        return False
    end = time.monotonic() + END_TIMEOUT_S
    while is_locked(directory) and time.monotonic() < end:
        time.sleep(POLL_S)
    return not is_locked(directory)


def is_locked(directory: Path) -> bool:
    """Return whether an engine lives in a runtime directory, be it responsive or not."""
    import filelock  # noqa: PLC0415 - in a thread, when it is needed

    lock = filelock.FileLock(directory / ENGINE_LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return True
    lock.release()
    return False


def _kill(directory: Path, pid: int) -> bool:
    """Send SIGKILL if the process is our engine; a stopped process takes it too. Return whether it was sent."""
    handle = None
    with suppress(AttributeError, OSError):  # only Linux has `pidfd_open`, and not every kernel
        handle = os.pidfd_open(pid)  # the number can't pass to another process between the look and the signal
    try:
        process = _look(directory, pid)
        if process is None or not process.is_engine:
            return False
        if handle is not None:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        else:
            os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))
    except OSError:
        return False
    finally:
        if handle is not None:
            os.close(handle)
    return True


def _look(directory: Path, pid: int) -> _Process | None:
    """Look at a process; None if there is none. Windows tells neither state nor command line, so the lock has to do."""
    if pid <= 0:
        return None
    if os.name != "posix":
        return _Process(state="", is_engine=True)
    return _look_in_proc(directory, pid) if (PROCESSES / "self" / "stat").exists() else _look_by_ps(directory, pid)


def _look_in_proc(directory: Path, pid: int) -> _Process | None:
    folder = PROCESSES / str(pid)
    try:
        state = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].strip()
        arguments = [os.fsdecode(word) for word in (folder / "cmdline").read_bytes().split(b"\0")]
        place = (folder / "cwd").readlink()
    except OSError:  # it is gone, or another user's
        return None
    values = (value for option, value in pairwise(arguments) if option == "--runtime-dir")
    is_engine = any((place / value).resolve() == directory.resolve() for value in values)
    return _Process(state=state[:1], is_engine=is_engine)


def _look_by_ps(directory: Path, pid: int) -> _Process | None:
    command = ["ps", "-ww", "-o", "state=", "-o", "args=", "-p", str(pid)]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=PS_TIMEOUT_S, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    state, _, line = told.strip().partition(" ")
    return _Process(state=state[:1], is_engine=f"--runtime-dir {directory} " in f"{line} ")
