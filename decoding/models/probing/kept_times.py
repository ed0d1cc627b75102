"""Keeps the times of passes that were measured at earlier starts, so that later ones need not measure them again.

The first few starts measure, and the least times are kept: a machine that is busy during one of them makes times that
are too long, by which a draft model would never be asked. What changes later, the policy learns from each step.
"""

from __future__ import annotations

import hashlib
import math
import os
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from decoding.models.language_model import LanguageModel
from decoding.protocol import VERSION
from decoding.storage import policy_state

NUM_MEASURED: Final = 3  # chosen: so many starts measure
MOST_WIDTHS: Final = 64
MOST_MS: Final = 1e6

Times = dict[int, float]


def measured_or_kept(model: LanguageModel, path: Path, role: str, threads: int, measure: Callable[[], Times]) -> Times:
    """Return the milliseconds of a pass by its number of rows: measured, or the least of earlier starts.

    Args:
        model: whose passes are timed.
        path: of its folder or file; another one, or a change of it, is another model.
        role: what it is used for.
        threads: that compute it.
        measure: times the passes.
    """
    key = _key(model, path, role, threads)
    num_starts, known = _read(policy_state.load(key, policy_state.STEP_TIMES))
    if num_starts >= NUM_MEASURED:
        return known
    times = measure()
    times = {rows: min(ms, known.get(rows, math.inf)) for rows, ms in times.items()}
    told = {"starts": num_starts + 1, "ms": {str(rows): round(ms, 4) for rows, ms in times.items()}}
    policy_state.save(key, told, policy_state.STEP_TIMES)
    return times


def _key(model: LanguageModel, path: Path, role: str, threads: int) -> str:
    """Return a hash of all that the times depend on: it names neither the machine nor a file."""
    try:
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        state = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]
    except OSError:
        state = []
    machine = platform.node(), platform.machine(), os.cpu_count(), threads, str(model.device)
    kind = type(model).__name__, str(model.dtype), model.num_parameters, model.capabilities.step_width
    told = repr((VERSION, machine, kind, role, str(path.resolve()), state))
    return hashlib.sha256(told.encode(errors="replace")).hexdigest()[:32]


def _read(value: object) -> tuple[int, Times]:
    """Return the number of starts that measured, and their least times; nothing where it has another form."""
    if not isinstance(value, dict):
        return 0, {}
    starts, told = value.get("starts"), value.get("ms")
    if not isinstance(starts, int) or not isinstance(told, Mapping) or not 0 < len(told) <= MOST_WIDTHS:
        return 0, {}
    times: dict[int, Any] = {int(rows): ms for rows, ms in told.items() if str(rows).isdecimal()}
    is_right = all(rows > 0 and isinstance(ms, int | float) and 0 < ms < MOST_MS for rows, ms in times.items())
    return (starts, times) if is_right and 1 in times and len(times) == len(told) else (0, {})
