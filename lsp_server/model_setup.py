"""Runs `tabcast setup` in the background for an editor, one at a time, and passes on what it tells.

Another process does the work: it measures, fetches, writes the user's configuration and starts an engine. It is
interrupted, as by Ctrl-C, when whoever waits for it gives up. This module must not know documents or the wire.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

PROGRAM: Sequence[str] = (sys.executable, "-P", "-m", "lsp_server", "setup", "--json")
# chosen: an interrupted setup stops the engine that it has started, and puts the configuration back.
END_TIMEOUT_S: Final = 40.0

Event = dict[str, Any]


class ModelSetup:
    """At most one process for one editor window."""

    def __init__(self) -> None:
        self._running: asyncio.Task[Event] | None = None

    def start(self, options: Sequence[str], tell: Callable[[Event], None]) -> asyncio.Task[Event] | None:
        """Run it with these options, in a task that returns its last event; None if one runs already.

        `tell` gets each event when it comes. When the task is cancelled, the process is interrupted and waited for.
        """
        if self._running is not None and not self._running.done():
            return None
        self._running = asyncio.create_task(_run([*PROGRAM, *options], tell))
        return self._running

    def cancel(self) -> None:
        """Interrupt the one that runs."""
        if self._running is not None:
            self._running.cancel()

    async def close(self) -> None:
        """Interrupt the one that runs, and wait until it has ended."""
        if self._running is not None and not self._running.done():
            self._running.cancel()
            await asyncio.wait([self._running])


async def _run(command: Sequence[str], tell: Callable[[Event], None]) -> Event:
    try:
        return await _talk(command, tell)
    except OSError as error:
        return _failed(f"tabcast setup can't be started: {error.strerror or error}")


async def _talk(command: Sequence[str], tell: Callable[[Event], None]) -> Event:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe, cwd=Path.home(), start_new_session=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    complaints = asyncio.create_task(process.stderr.read())
    last: Event = {}
    try:
        async for line in process.stdout:
            with suppress(ValueError):
                told = json.loads(line)
                if isinstance(told, dict) and isinstance(told.get("event"), str):
                    last = told
                    tell(told)
        code = await process.wait()
        lines = [line for line in (await complaints).decode("utf-8", "replace").splitlines() if line.strip()]
    except asyncio.CancelledError:
        complaints.cancel()
        await asyncio.wait([complaints])  # nobody else may read what it reads
        await _interrupt(process)
        raise
    if "event" not in last or (code != 0 and last["event"] != "error"):
        return _failed(lines[-1] if lines else f"tabcast setup ended with code {code}")
    return last


async def _interrupt(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        if sys.platform == "win32":
            process.terminate()
        else:
            process.send_signal(signal.SIGINT)
        try:
            await asyncio.wait_for(process.communicate(), END_TIMEOUT_S)
        except TimeoutError:
            process.kill()


def _failed(message: str) -> Event:
    return {"event": "error", "message": message}
