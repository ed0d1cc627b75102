"""Implements `tabcast uninstall`: stops all engines, removes what Tabcast has written, and says how the program goes.

What the engine's side has written, its own program lists and removes; this side knows engines and runtime folders.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from decoding.protocol import EXIT_USAGE, runtime_base
from lsp_server.cli.engine_side import engine_command
from lsp_server.cli.errors import EXIT_FAILED, CommandError
from lsp_server.cli.running import running_engines, stop_all
from lsp_server.engine.engines_here import directories, remove_dead
from lsp_server.log import log_path

# What a part of the environment's path tells of the program that made it.
INSTALLERS: Final = {"pipx": "pipx uninstall tabcast", "uv": "uv tool uninstall tabcast"}


def run(options: argparse.Namespace) -> int:
    """List what is there, ask, and remove it; return the exit code."""
    base = runtime_base(os.environ)
    arguments = ["uninstall", *(["--purge"] if options.purge else [])]
    for engine in asyncio.run(running_engines()):
        print(f"would stop an engine: {engine}")
    for folder in directories(base):
        print(f"would remove           an engine's runtime folder: {folder}")
    if log_path().parent.is_dir():
        print(f"would remove           the servers' log: {log_path().parent}")
    _engine_side([*arguments, "--dry-run"])
    if options.dry_run:
        return 0
    if not options.yes and not _is_wanted():
        print("nothing was removed")
        return EXIT_FAILED
    asyncio.run(stop_all())
    remove_dead(base)
    shutil.rmtree(log_path().parent, ignore_errors=True)
    with suppress(OSError):  # something else is in it, or it isn't there
        base.rmdir()
    _engine_side(arguments)
    print(f"The program itself: {how_to_remove(Path(sys.prefix))}")
    return 0


def how_to_remove(environment: Path) -> str:
    """Return the command that removes the program, by what made its environment."""
    for part, command in INSTALLERS.items():
        if part in environment.parts:
            return command
    if "globalStorage" in environment.parts:
        return "uninstall the extension in your editor, and remove " + shlex.quote(str(environment))
    return f"{shlex.quote(sys.executable)} -m pip uninstall tabcast"


def _is_wanted() -> bool:
    if not sys.stdin.isatty():
        raise CommandError("add --yes to remove all that, or --dry-run to list it only", EXIT_USAGE)
    return input("Remove all that? [y/N] ").strip().lower() in ("y", "yes")


def _engine_side(arguments: list[str]) -> None:
    sys.stdout.flush()
    if code := subprocess.run(engine_command(arguments), stdin=subprocess.DEVNULL, check=False).returncode:
        raise CommandError("not all of it could be removed: the line above says why", code)
