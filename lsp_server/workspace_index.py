"""Has the workspace's code indexed in the background, for engines that draft from such an index.

Another process does the work, one folder after the other, at the lowest priority: `models index --workspace`. It reads
what `lsp_server files` prints, does nothing where nothing changed, and ends when its standard input closes, so it never
outlives this process. This module only decides when to start it. It must not know documents or the wire.
"""

from __future__ import annotations

import asyncio
import json
import logging
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

logger = logging.getLogger(__name__)

# chosen: indexing starts after so long without a request, and again so long after its end if requests came since.
QUIET_S: Final = 20.0
REFRESH_S: Final = 20 * 60.0
END_TIMEOUT_S: Final = 5.0


class IndexJob(NamedTuple):
    """The folders to index, the arguments of the engine that will use the index, and its runtime directory."""

    folders: Sequence[Path]
    engine_arguments: Sequence[str]
    directory: Path


def command_for(folder: Path, engine_arguments: Sequence[str]) -> list[str]:
    """Return the command line that indexes a folder; `-P` keeps the working directory off the module path."""
    python = [sys.executable, "-P", "-m"]
    front_end = shlex.join([*python, "lsp_server"])
    index = ["models", "index", "--json", "--workspace", f"--front-end={front_end}"]
    return [*python, "decoding", *index, *engine_arguments, "--", str(folder)]


def is_worth_it(folder: Path) -> bool:
    """Return False for a whole home directory or disk, which some editors open as a folder."""
    home = Path.home()
    return folder != home and folder not in home.parents


class WorkspaceIndexing:
    """Schedules the indexing for one editor window. It runs on the event loop's thread, and its methods never raise."""

    def __init__(
        self,
        wanted: Callable[[], IndexJob | None],
        last_request_s: Callable[[], float],
        clock: Callable[[], float] = time.perf_counter,
        command: Callable[[Path, Sequence[str]], Sequence[str]] = command_for,
    ) -> None:
        """`wanted` returns None where nothing is to be indexed; `last_request_s` returns a time of `clock`."""
        self._wanted = wanted
        self._last_request_s = last_request_s
        self._clock = clock
        self._command = command
        self._ended_s: dict[Path, float] = {}
        self._told: dict[Path, dict[str, Any]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._running: asyncio.Task[None] | None = None
        self._is_closed = False

    def follow(self) -> None:
        """Look again at what is to be indexed: the engine, a setting or the folders may have changed."""
        if not self._is_closed and self._timer is None and self._running is None and self._wanted() is not None:
            self._wait(QUIET_S)

    def figures(self) -> dict[str, Any]:
        """Return how many files of all folders were read, and the state of the indexing."""
        state = "running" if self._running else "off" if self._wanted() is None else "waiting"
        failed = [told["failed"] for told in self._told.values() if "failed" in told]
        if self._told and state == "waiting":
            state = "failed" if failed else "ready"
        num_files = sum(told.get("files", 0) for told in self._told.values())
        return {"state": state, "files": num_files, **({"problem": failed[0]} if failed else {})}

    async def close(self) -> None:
        """End the indexing process if one runs."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    def _wait(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(max(seconds, 0.0), self._look)

    def _look(self) -> None:
        """Start with the first folder that is due, or wait until one may be."""
        self._timer = None
        wanted = self._wanted()
        if self._is_closed or wanted is None or not wanted.folders:
            return
        now, asked_s = self._clock(), self._last_request_s()
        if (quiet_s := asked_s + QUIET_S - now) > 0:
            self._wait(quiet_s)
            return
        waits_s = {folder: self._ended_s.get(folder, now - REFRESH_S) + REFRESH_S - now for folder in wanted.folders}
        due = [f for f, wait_s in waits_s.items() if wait_s <= 0 and asked_s >= self._ended_s.get(f, float("-inf"))]
        if due:
            self._running = asyncio.create_task(self._run(due[0], wanted))
        else:
            self._wait(max(QUIET_S, min(wait_s if wait_s > 0 else REFRESH_S for wait_s in waits_s.values())))

    async def _run(self, folder: Path, wanted: IndexJob) -> None:
        began = self._clock()
        try:
            self._told[folder] = await self._index(self._command(folder, wanted.engine_arguments), wanted.directory)
            logger.info("%d files indexed in %.1f s", self._told[folder]["files"], self._clock() - began)
        except (OSError, ValueError, KeyError, TypeError) as error:
            self._told[folder] = {"failed": str(error) or type(error).__name__}
            logger.warning("the workspace is not indexed: %s", self._told[folder]["failed"])
        finally:
            self._running = None
            self._ended_s[folder] = self._clock()
            self.follow()

    async def _index(self, command: Sequence[str], directory: Path) -> dict[str, Any]:
        """Run the process and return the figures that it prints. It is ended when this is cancelled.

        Raises `OSError` if it can't be started and `ValueError` if its output can't be read.
        """
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=pipe, cwd=directory, start_new_session=True
        )
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            out, err, code = await asyncio.gather(process.stdout.read(), process.stderr.read(), process.wait())
        except asyncio.CancelledError:
            process.stdin.close()
            try:
                await asyncio.wait_for(process.wait(), END_TIMEOUT_S)
            except TimeoutError:
                process.kill()
            raise
        finally:
            process.stdin.close()
        if code != 0:
            lines = err.decode("utf-8", "replace").split("\n")
            raise ValueError(next((line for line in reversed(lines) if line.strip()), f"it ended with code {code}"))
        told = json.loads(out)
        return {"files": int(told["files"]), "made": str(told["made"])}
