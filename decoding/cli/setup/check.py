"""Checks a configuration as an editor would use it: `tabcast complete` completes a line, by the engine that it starts.

The engine goes on running, so that the first suggestion in an editor doesn't wait for it. The front end is started as
another process, because the engine's side doesn't import it.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from decoding.errors import ModelError

TIMEOUT_S: Final = 300
STOP_TIMEOUT_S: Final = 30
HEAD: Final = '''\
def fibonacci(n: int) -> int:
    """Return the n-th Fibonacci number."""
    if n < 2:
        return n
'''
PROMPT: Final = "    return "
TAIL: Final = "\n\n\nprint(fibonacci(10))\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What was suggested behind `PROMPT`, and why it ended there or why there is nothing."""

    completion: str
    reason: str


def complete_a_line(front_end: Sequence[str]) -> Checked:
    """Complete a line of a sample with the user's configuration. Raises `ModelError` with the reason if that fails."""
    with tempfile.TemporaryDirectory(prefix="tabcast-setup-") as folder:
        sample = Path(folder, "sample.py")
        sample.write_text(HEAD + PROMPT + TAIL, encoding="utf-8")
        place = ["--line", str(HEAD.count("\n") + 1), "--column", str(len(PROMPT) + 1)]
        command = [*front_end, "complete", str(sample), *place, "--json"]
        with subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            try:
                out, err = process.communicate(timeout=TIMEOUT_S)
            except subprocess.TimeoutExpired:
                raise ModelError(f"the engine completed nothing within {TIMEOUT_S} s") from None
            finally:
                if process.poll() is None:
                    process.kill()
    if process.returncode != 0:
        lines = [line for line in err.decode("utf-8", "replace").splitlines() if line.strip()]
        raise ModelError((lines or ["the engine completed nothing, and doesn't say why"])[-1].removeprefix("tabcast: "))
    told = json.loads(out)
    return Checked(completion=str(told["text"]), reason=str(told["reason"]))


def stop_engine(front_end: Sequence[str]) -> None:
    """Stop the engine of the user's configuration, if one was started: nobody will ask it."""
    with suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(
            [*front_end, "engine", "stop"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=STOP_TIMEOUT_S,
            check=False,
        )
