"""Has the engine's side provide the models of the real demo: found on this machine, or else fetched."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Sequence
from typing import Any, Final

from decoding.protocol import EXIT_INTERRUPTED
from lsp_server.cli.engine_side import engine_command
from lsp_server.cli.errors import CommandError

TARGET: Final = "qwen2.5-coder-1.5b-q4"
DRAFT: Final = "qwen2.5-coder-0.5b-q4"
# What ends a fetch in good order: it keeps what has arrived, and ends what fetches for it.
INTERRUPT: Final = signal.SIGTERM if sys.platform == "win32" else signal.SIGINT


async def provided_arguments() -> tuple[str, ...]:
    """Return the options that name the models' files, once they are on this machine. Raises `CommandError`.

    The user's settings stay as they are.
    """
    target, draft = await _provide((TARGET, DRAFT))
    for model in (target, draft):
        if model["found_as"] != model["name"]:
            print(f"Using {model['found_as']} as {model['name']}, where it lies.", file=sys.stderr)
    return "--model", target["path"], "--draft", draft["path"]


async def _provide(names: Sequence[str]) -> list[dict[str, Any]]:
    # In a session of its own, the terminal's Ctrl-C reaches it through us alone, and so once.
    child = await asyncio.create_subprocess_exec(
        *engine_command(["models", "provide", *names, "--json"]),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        told, _ = await child.communicate()
    finally:
        if child.returncode is None:
            child.send_signal(INTERRUPT)
            await child.wait()
    if child.returncode == EXIT_INTERRUPTED:
        raise CommandError("interrupted", EXIT_INTERRUPTED)
    if child.returncode:
        raise CommandError(
            "the demo with real models can't start without them; 'tabcast demo' shows the shipped ones, offline",
            child.returncode,
        )
    found: list[dict[str, Any]] = json.loads(told)
    return found
