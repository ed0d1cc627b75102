"""Logging to standard error, where editors look; standard output is the protocol.

Document text is never logged above DEBUG. pygls writes whole messages at INFO, and parameters of messages that fail
at ERROR, so its protocol module stays silent and our own wire module reports instead.
"""

from __future__ import annotations

import logging
import os
import traceback
from typing import Final

LEVEL_VARIABLE: Final = "TABCAST_LOG"


def set_up_logging() -> None:
    """Send log lines to standard error, from the level that `TABCAST_LOG` names (WARNING if none)."""
    wanted = os.environ.get(LEVEL_VARIABLE, "warning").upper()
    level = wanted if wanted in logging.getLevelNamesMapping() else "WARNING"
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("pygls").setLevel(logging.WARNING)
    for module in ("pygls.protocol", "pygls.server"):
        logging.getLogger(module).setLevel(logging.CRITICAL)


def without_values(error: BaseException) -> str:
    """Describe an exception by its type and source lines. Its message is left out, because it may quote a document."""
    frames = traceback.extract_tb(error.__traceback__)
    places = " < ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in reversed(frames))
    return f"{type(error).__name__} at {places}"
