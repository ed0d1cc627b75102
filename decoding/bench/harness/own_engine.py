"""Starts an engine of its own for a measurement, which ends with it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from decoding.bench.harness.live_server import (
    POLL_S,
    READY_TIMEOUT_S,
    engine_counters,
    find_engine,
    runtime_directory,
)
from decoding.errors import TabcastError
from decoding.protocol import Address


@contextmanager
def own_engine(arguments: Sequence[str]) -> Iterator[Address]:
    """Yield the address of an engine that is ready; `arguments` are those of `decoding serve`, but for its directory.

    Raises `TabcastError` if it doesn't start.
    """
    with runtime_directory() as runtime:
        command = [
            sys.executable,
            "-P",
            "-m",
            "decoding",
            "serve",
            "--runtime-dir",
            str(runtime / "engine"),
            *arguments,
        ]
        with (runtime / "log").open("wb") as log:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        yield _wait_until_ready(child, runtime)


def _wait_until_ready(child: subprocess.Popen[bytes], runtime: Path) -> Address:
    end = time.monotonic() + READY_TIMEOUT_S
    while child.poll() is None and time.monotonic() < end:
        address = find_engine(runtime)
        if address is not None and engine_counters(address).get("tabcast_ready"):
            return address
        time.sleep(POLL_S)
    child.terminate()
    lines = (runtime / "log").read_text(encoding="utf-8", errors="replace").splitlines()
    raise TabcastError(f"no engine: {lines[-1] if lines else 'it said nothing'}")
