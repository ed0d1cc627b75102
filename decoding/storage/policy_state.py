"""Saves what policies have learnt, and how long passes take, in the user's cache folder: numbers, no text.

The file is written aside and renamed, so that several engines can write it: the last one wins. A file that can't be
read or has another form counts as missing. Knows nothing of a policy but the values that it gives and takes.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import tempfile
from pathlib import Path
from typing import Any, Final

from decoding.storage.plain_files import read_plain

log = logging.getLogger(__name__)

VARIABLE: Final = "TABCAST_EXPERIENCE"
STEP_TIMES: Final = "step-times.json"
MAX_BYTES: Final = 1 << 20
MAX_SETS: Final = 16


def path() -> Path:
    """Return the file's path; `TABCAST_EXPERIENCE` names another place."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    try:
        import platformdirs  # noqa: PLC0415 - absent on some GPU machines, where `bench` and `train` must run
    except ImportError:
        return Path.home() / ".cache" / "tabcast" / "experience.json"
    return platformdirs.user_cache_path("tabcast") / "experience.json"


def load(key: str, name: str = "") -> object:
    """Return the saved value of a device and model set, or None. `name` is another file beside the policy's."""
    return _read(path_of(name)).get(key)


def save(key: str, value: object, name: str = "") -> None:
    """Save a value, together with those of the few other sets that were used last."""
    file = path_of(name)
    known = _read(file)
    known.pop(key, None)
    known[key] = value
    latest = dict(list(known.items())[-MAX_SETS:])
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(dir=file.parent, prefix=file.name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as text:
                json.dump(latest, text)
            Path(aside).replace(file)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(aside).unlink()
            raise
    except (OSError, ValueError) as error:
        log.warning("%s can't be saved: %s", file.name, error)


def path_of(name: str) -> Path:
    """Return the file of this name beside the policy's, which "" means."""
    return path().with_name(name) if name else path()


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_plain(file, MAX_BYTES) or b"{}")
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
