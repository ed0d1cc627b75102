"""Logging to standard error, where editors look, and to a file that can be read afterwards.

Document text is never logged above DEBUG, and the file takes nothing below INFO and no message of an exception, which
may quote a document. pygls writes whole messages at INFO, and parameters of messages that fail at ERROR, so its
protocol module stays silent and our own wire module reports instead.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from decoding.protocol import VERSION, make_private, runtime_base

LEVEL_VARIABLE: Final = "TABCAST_LOG"
FORM: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
FILE_FORM: Final = "%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"
MAX_BYTES: Final = 1_000_000

logger = logging.getLogger(__name__)


def log_path() -> Path:
    """Return the log file that all servers of this user share. The one before it ends in `.1`."""
    return runtime_base(os.environ) / "server" / "server.log"


def set_up_logging() -> None:
    """Send log lines to standard error, from the level that `TABCAST_LOG` names (WARNING if none), and to the file."""
    wanted = os.environ.get(LEVEL_VARIABLE, "warning").upper()
    level = wanted if wanted in logging.getLevelNamesMapping() else "WARNING"
    logging.basicConfig(level=level, format=FORM)
    for handler in logging.getLogger().handlers:
        handler.setLevel(level)
    # Of our own modules alone: what others write isn't known to be without text.
    ours = logging.getLogger("lsp_server")
    ours.addHandler(LogFile(log_path()))
    ours.setLevel(min(logging.getLogger().level, logging.INFO))
    logging.getLogger("pygls").setLevel(logging.WARNING)
    for module in ("pygls.protocol", "pygls.server"):
        logging.getLogger(module).setLevel(logging.CRITICAL)
    logger.info("tabcast %s begins, Python %s", VERSION, sys.version.partition(" ")[0])


def without_values(error: BaseException) -> str:
    """Describe an exception by its type and source lines. Its message is left out, because it may quote a document."""
    frames = traceback.extract_tb(error.__traceback__)
    places = " < ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in reversed(frames))
    return f"{type(error).__name__} at {places}"


class LogFile(logging.Handler):
    """Appends lines to a private file of at most `max_bytes`, which is then kept once more under another name.

    Several servers write to it: each looks whether another one has renamed it. Where it can't be written, lines are
    lost, and nothing else happens.
    """

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(_WithoutValues(FILE_FORM))
        self._path = path
        self._max_bytes = max_bytes
        self._file: IO[bytes] | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        with suppress(OSError, ValueError, TypeError):
            line = self.format(record).encode("utf-8", "replace") + b"\n"
            file = self._current()
            if file.tell() + len(line) > self._max_bytes:
                self._path.replace(self._path.with_suffix(".log.1"))
                file = self._current()
            file.write(line)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            self._file = None
        super().close()

    def _current(self) -> IO[bytes]:
        """Return the file that has the name now, at its end. Raises `OSError`."""
        if self._file is not None and not self._is_renamed(self._file):
            self._file.seek(0, os.SEEK_END)  # another server may have written
            return self._file
        if self._file is not None:
            self._file.close()
            self._file = None
        make_private(self._path.parent)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
        self._file = os.fdopen(os.open(self._path, flags, 0o600), "ab", buffering=0)
        return self._file

    def _is_renamed(self, file: IO[bytes]) -> bool:
        try:
            return not os.path.samestat(os.fstat(file.fileno()), self._path.lstat())
        except FileNotFoundError:
            return True


class _WithoutValues(logging.Formatter):
    def formatException(self, ei: object) -> str:  # noqa: N802 - logging's name
        return without_values(ei[1]) if isinstance(ei, tuple) and isinstance(ei[1], BaseException) else ""
