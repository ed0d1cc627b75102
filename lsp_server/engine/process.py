"""Starts the engine's process, limits how often, and reads from its log why it did not start.

Knows file names and exit codes; it must not know HTTP, tokens or what the engine is asked. Whatever touches processes
and files blocks, so the client calls it in a thread.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from decoding.protocol import LOG_FILE, folder_trouble, write_private
from lsp_server.engine.engines_here import OLD_S, remove_dead

MAX_LOG_BYTES = 1_000_000
TAIL_BYTES = 4096
MAX_BACK_OFF_S = 60.0


class StartPolicy:
    """The back-off: how long to wait before the next start, longer after each start that led to no answer."""

    def __init__(self) -> None:
        self._num_starts = 0
        self._next_start_s = 0.0

    def wait_s(self, now_s: float) -> float:
        """Return the seconds until a start is allowed; zero or less means now."""
        return self._next_start_s - now_s

    def note_start(self, now_s: float) -> None:
        """Record that an engine is being started."""
        self._num_starts += 1
        self._next_start_s = now_s + min(MAX_BACK_OFF_S, 2.0 ** (self._num_starts - 1))

    def note_answer(self) -> None:
        """Reset the back-off, because the engine works or the user wants a new one."""
        self._num_starts = 0
        self._next_start_s = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedEngine:
    """A child process, and the place in the log where its own lines begin."""

    process: subprocess.Popen[bytes]
    log_path: Path
    log_offset: int

    def why_it_ended(self) -> str:
        """Return one line for people about why it ended. If the log is empty, a full disk may be the reason."""
        line = self.last_log_line() or _no_room(self.log_path.parent) or "it wrote nothing"
        return f"the engine ended with code {self.process.returncode}: {line} ({self.log_path})"

    def last_log_line(self) -> str:
        """Return the last line that this child logged: the engine's one-line error if it gave up."""
        try:
            with self.log_path.open("rb") as log:
                end = log.seek(0, 2)
                log.seek(max(self.log_offset, end - TAIL_BYTES))
                lines = log.read().decode("utf-8", "replace").splitlines()
        except OSError:
            return ""
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


def start_engine(program: Sequence[str], arguments: Sequence[str], directory: Path) -> StartedEngine:
    """Start an engine that outlives this process and takes nothing from the folder this process runs in.

    `-P` keeps the working directory off the module path, and the working directory is the runtime directory:
    a workspace that holds a `decoding/` or a `torch.py` must not run. Old engines' directories are removed.
    """
    remove_dead(directory.parent, older_than_s=OLD_S)
    log_path = directory / LOG_FILE
    keep = log_path.exists() and log_path.stat().st_size < MAX_LOG_BYTES
    with log_path.open("ab" if keep else "wb") as log:
        log_path.chmod(0o600)
        log_offset = log.tell()
        process = subprocess.Popen(
            [sys.executable, "-P", *program, "--runtime-dir", str(directory), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=directory,
            start_new_session=True,
        )
    return StartedEngine(process=process, log_path=log_path, log_offset=log_offset)


def _no_room(directory: Path) -> str:
    """Return a sentence if nothing can be written in a folder, and why; "" if something can."""
    probe = directory / "room"
    try:
        write_private(probe, bytes(TAIL_BYTES), is_kept=True)
        probe.unlink(missing_ok=True)
    except OSError as error:
        return folder_trouble(directory, error)
    return ""
