"""Lets the draft learn while the engine is idle: starts a process for it, and ends that as soon as a request comes.

The process is `tabcast train online --once`; it is bounded in time, runs at the lowest priority and saves its state
when it is ended. This module knows when to start it, and nothing of what it does.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from decoding.config import EngineConfig
from decoding.storage.adaptation import AdaptationFolder

log = logging.getLogger(__name__)

IDLE_S = 60.0
BUSY_S = 5.0
# chosen: so many answers that the draft has not learnt from yet are worth a run.
MIN_NEW_ANSWERS = 64
LOG_FILE = "online.log"

Start = Callable[[Sequence[str], Path], subprocess.Popen[bytes]]


def start_process(command: Sequence[str], directory: Path) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own, with its output in a log beside the engine's."""
    with (directory / LOG_FILE).open("wb") as out:
        return subprocess.Popen(
            list(command), stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=directory, start_new_session=True
        )


class Learner:
    """Starts and ends the learning for one engine; does nothing unless its settings say `online` and it has a draft."""

    def __init__(self, config: EngineConfig, directory: Path, start: Start = start_process) -> None:
        draft = config.draft_path if config.online else None
        self._home = None if draft is None else AdaptationFolder.of(config.model_path, draft)
        self._directory = directory
        self._start = start
        self._command = [sys.executable, "-P", "-m", "decoding", "train", "online", "--once"]
        self._command += ["--model", str(config.model_path.resolve()), "--draft", str(draft and draft.resolve())]
        self._command += ["--device", config.device]
        self._process: subprocess.Popen[bytes] | None = None
        self._tried = 0

    def look(self, idle_s: float) -> None:
        """Start or end the process as due. Called every now and then with the seconds since the last request."""
        if self._home is None:
            return
        if self._process is not None and self._process.poll() is not None:
            log.info("learning ended with code %d", self._process.returncode)
            self._process = None
        if self._process is not None and idle_s < BUSY_S:
            log.info("learning stops: a request came")
            self.close()
            self._tried = 0
        elif self._process is None and idle_s >= IDLE_S and self._is_due(self._home):
            log.info("learning begins")
            try:
                self._process = self._start(self._command, self._directory)
            except OSError as error:  # for example a full disk, or no memory for another process
                log.warning("learning could not begin: %s", error)

    def close(self) -> None:
        """End the process, which saves how far it is."""
        if self._process is not None:
            self._process.terminate()
            self._process = None

    def _is_due(self, home: AdaptationFolder) -> bool:
        """Return whether enough new answers came since the draft last learnt, or tried to."""
        num_written = home.num_written()
        is_due = num_written - max(self._tried, home.num_learnt()) >= MIN_NEW_ANSWERS
        if is_due:
            self._tried = num_written
        return is_due
