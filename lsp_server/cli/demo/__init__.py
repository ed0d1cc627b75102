"""Implements `tabcast demo`: the whole product at work on a sample project.

A real language server, run as an editor runs it, starts a real engine in a runtime directory of its own. At several
cursors that engine is asked for text, once with speculative and once with plain decoding, which must give the same
tokens; then the language server is asked for suggestions there. Engine and directory are gone when it ends. Speculative
decoding goes first, before plain decoding and before the editor's requests: an engine remembers its answers, and a
remembered answer would be an easy draft of itself.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Final

from decoding.protocol import CompletionOptions, CompletionRequest, CompletionStats, Method
from lsp_server.cli.connection import connection
from lsp_server.cli.demo import report
from lsp_server.cli.demo.editor import Editor, editor
from lsp_server.cli.demo.outcome import Comparison, Outcome, Shown
from lsp_server.cli.demo.scenes import PROJECT, SCENES, Scene
from lsp_server.cli.errors import EXIT_FAILED, CommandError
from lsp_server.cli.parser import engine_arguments
from lsp_server.engine.client import EngineClient

COMPARED_TOKENS: Final = 48
WARM_UP: Final = CompletionRequest(
    prompt="def width(size):\n    return size[0]\n\n\ndef height(size):\n    return size[1]\n\n\ndef area(",
    tabcast=CompletionOptions(path="shapes.py", language="python"),
)


def run(options: argparse.Namespace) -> int:
    """Run the demo and print it. Return 1 unless it went well."""
    folder = tempfile.TemporaryDirectory(prefix="tabcast-demo-", ignore_cleanup_errors=True)
    with folder as directory, report.progress(as_json=options.json):
        # The language server and our own client find the engine through this variable.
        os.environ["TABCAST_RUNTIME_DIR"] = directory
        try:
            outcome = asyncio.run(_run(engine_arguments(options), Path(directory)))
        except asyncio.CancelledError:
            raise CommandError("terminated", 128 + signal.SIGTERM) from None
    report.write(outcome, as_json=options.json)
    if options.svg:
        report.save_picture(outcome, options.svg)
    return 0 if outcome.is_good else EXIT_FAILED


async def _run(arguments: Sequence[str], directory: Path) -> Outcome:
    _cancel_on_sigterm()
    async with connection(arguments) as client:
        try:
            async with editor(PROJECT, arguments, directory) as window:
                await client.ensure()  # waits while the language server starts the engine
                health = await client.wait_ready()
                await window.wait_for_engine()
                await _decode(client, WARM_UP, "auto")  # the first rounds of a process are slower than all others
                comparisons = [await _compare(client, scene) for scene in SCENES]
                shown = [await _show(window, scene) for scene in SCENES]
        finally:
            await client.stop()
    return Outcome(engine=health, shown=shown, comparisons=comparisons)


async def _show(window: Editor, scene: Scene) -> Shown:
    started = time.perf_counter()
    suggestion = await window.suggest(scene.path, *scene.prefix_and_suffix())
    wait_ms = (time.perf_counter() - started) * 1000
    why = await window.why()
    reason = ": ".join(part for part in (why["reason"], why["detail"]) if part)
    return Shown(scene=scene, suggestion=suggestion, wait_ms=wait_ms, reason=reason)


async def _compare(client: EngineClient, scene: Scene) -> Comparison:
    prefix, suffix = scene.prefix_and_suffix()
    # The path has the project's name, which the editor leaves out: so its prompts can't reuse the beginning of these.
    options = CompletionOptions(path=f"{PROJECT.name}/{scene.file}", language="python")
    request = CompletionRequest(prompt=prefix, suffix=suffix, tabcast=options)
    speculative = await _decode(client, request, "auto")
    return Comparison(scene=scene, plain=await _decode(client, request, "plain"), speculative=speculative)


async def _decode(client: EngineClient, wanted: CompletionRequest, method: Method) -> CompletionStats:
    options = replace(wanted.tabcast, session=f"{method}:{wanted.tabcast.path}", line_mode="free", method=method)
    request = replace(wanted, max_tokens=COMPARED_TOKENS, tabcast=options)
    async with aclosing(client.complete(request)) as parts:
        async for part in parts:
            if isinstance(part, CompletionStats):
                return part
    raise CommandError("the engine ended an answer early")


def _cancel_on_sigterm() -> None:
    """End through the `finally` blocks on SIGTERM, so that no engine and no directory is left behind."""
    if (task := asyncio.current_task()) is not None and sys.platform != "win32":
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
