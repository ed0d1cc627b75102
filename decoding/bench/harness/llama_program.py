"""Runs llama.cpp's server as a program of its own that the user names: a build for this processor, or a newer one."""

from __future__ import annotations

import http.client
import os
import re
import secrets
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from decoding.bench.harness.termination import interrupted_by_sigterm
from decoding.errors import TabcastError

OPTION: Final = "--llama-server"
START_S: Final = 300.0  # chosen: a large file on a busy machine
END_S: Final = 5.0
POLL_S: Final = 0.1
KEY_VARIABLE: Final = "LLAMA_API_KEY"
_FEATURES: Final = re.compile(r"system_info:.*?((?:CPU|BLAS|CUDA|Metal|Vulkan) : .*)")
_FEATURE: Final = re.compile(r"(\w+) = 1\b")
MAX_SHOWN: Final = 200


@contextmanager
def running(program: Path, options: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Run the program; yield its address, its key, and what it says it was built for.

    Args:
        program: llama-server, or a script that runs it.
        options: of the model, threads and drafts.

    Raises:
        TabcastError: there is no such program, it ends, or it isn't ready in time.
    """
    address, key = f"127.0.0.1:{_free_port()}", secrets.token_hex(16)
    host, port = address.split(":")
    with interrupted_by_sigterm(), tempfile.TemporaryFile() as log:
        try:
            process = subprocess.Popen(
                [str(program), *options, "--host", host, "--port", port],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Who else is on this machine can read a command line, and no environment.
                env={**os.environ, KEY_VARIABLE: key},
            )
        except OSError as error:
            raise TabcastError(f"{OPTION} {program} can't be run: {error.strerror}") from None
        try:
            _wait_until_ready(process, program, address, log.fileno())
            yield address, key, _built_for(_read(log.fileno()))
        finally:
            _end(process)


def _wait_until_ready(process: subprocess.Popen[bytes], program: Path, address: str, log: int) -> None:
    ends = time.monotonic() + START_S
    while time.monotonic() < ends:
        if process.poll() is not None:
            lines = [line.strip() for line in _read(log).splitlines() if line.strip()]
            said = f": {_printable(lines[-1])}" if lines else " and says nothing"
            raise TabcastError(f"{OPTION} {program} ended before it served (exit code {process.returncode}){said}")
        with suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection(address, timeout=1.0)
            connection.request("GET", "/health")
            status = connection.getresponse().status
            connection.close()
            if status == http.client.OK:
                return
        time.sleep(POLL_S)
    raise TabcastError(
        f"{OPTION} {program} didn't answer within {START_S:g} seconds: is it llama.cpp's llama-server, and the model"
        " one that it reads?"
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _read(log: int) -> str:
    return os.pread(log, 2**22, 0).decode(errors="replace")


def _built_for(log: str) -> str:
    """Return the instruction sets that its log tells of; "" where it tells of none."""
    found = _FEATURES.search(log)
    return " ".join(_FEATURE.findall(found[1])) if found else ""


def _printable(text: str) -> str:
    return "".join(sign if sign.isprintable() else " " for sign in text)[:MAX_SHOWN]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
