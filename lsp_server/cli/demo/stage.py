"""Sets a demo's stage: a real language server, run as an editor runs it, and the engine that it starts.

Both have a runtime directory of their own, and are gone when the demo ends, however it ends.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from decoding.protocol import CompletionRequest, CompletionStats, Health
from lsp_server.cli.connection import connection
from lsp_server.cli.demo.editor import Editor, editor
from lsp_server.cli.demo.outcome import Shown
from lsp_server.cli.demo.scenes import Scene
from lsp_server.cli.errors import CommandError
from lsp_server.engine.client import EngineClient

LOADING_TIMEOUT_S: Final = 600.0  # chosen: large models from a slow disk


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """An editor's window on a sample project, and a client of the same engine."""

    window: Editor
    client: EngineClient
    health: Health

    async def show(self, scene: Scene) -> Shown:
        """Ask the language server for a suggestion at a scene's cursor."""
        started = time.perf_counter()
        suggestion = await self.window.suggest(scene.path, *scene.prefix_and_suffix())
        wait_ms = (time.perf_counter() - started) * 1000
        why = await self.window.why()
        reason = ": ".join(part for part in (why["reason"], why["detail"]) if part)
        return Shown(scene=scene, suggestion=suggestion, wait_ms=wait_ms, reason=reason)

    async def decode(self, request: CompletionRequest) -> CompletionStats:
        """Ask the engine for a text, and return what it cost."""
        async with aclosing(self.client.complete(request)) as parts:
            async for part in parts:
                if isinstance(part, CompletionStats):
                    return part
        raise CommandError("the engine ended an answer early")


@asynccontextmanager
async def stage(
    project: Path, arguments: Sequence[str], directory: Path, settings: Mapping[str, Any] = MappingProxyType({})
) -> AsyncIterator[Stage]:
    """Yield the stage for a project as soon as the engine is ready.

    Args:
        project: the folder that the editor has open.
        arguments: what chooses the engine's models.
        directory: where the language server runs; both sides find the engine by `TABCAST_RUNTIME_DIR`.
        settings: those of the editor.
    """
    async with connection(arguments) as client:
        try:
            async with editor(project, arguments, directory, settings) as window:
                await client.ensure()  # waits while the language server starts the engine
                health = await client.wait_ready(LOADING_TIMEOUT_S)
                await window.wait_for_engine()
                yield Stage(window=window, client=client, health=health)
        finally:
            await client.stop()


def cancel_on_sigterm() -> None:
    """End through the `finally` blocks on SIGTERM, so that no engine and no directory is left behind."""
    if (task := asyncio.current_task()) is not None and sys.platform != "win32":
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
