"""Implements `tabcast doctor`: checks what works on this machine, and says what to do about the rest.

The engine's own program checks what needs torch, and the memory; this side looks at the configuration, the running
engine and the editors.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from decoding.protocol import VERSION, user_config_path
from lsp_server.cli.connection import connection
from lsp_server.cli.doctor_engines import engine_findings
from lsp_server.cli.engine_side import engine_command
from lsp_server.cli.errors import EXIT_FAILED, CommandError
from lsp_server.cli.parser import engine_arguments
from lsp_server.log import log_path

ENGINE_SIDE_TIMEOUT_S: Final = 300
EDITOR_TIMEOUT_S: Final = 20
MIN_NEOVIM: Final = (0, 11)
VS_CODE_COMMANDS: Final = ("code", "codium", "code-insiders", "code-server", "cursor")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One finding; `advice` says what to do if something is missing."""

    name: str
    ok: bool
    detail: str
    advice: str = ""


def run(options: argparse.Namespace) -> int:
    """Print every finding. Return 1 if one is not in order."""
    arguments = engine_arguments(options)
    front = [_tabcast(), _configuration(), _server_log()]
    servers = [Check(**finding) for finding in asyncio.run(engine_findings())]
    checks = [*front, *_engine_side(arguments), asyncio.run(_engine(arguments)), *servers, *_editors()]
    if options.json:
        print(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        for check in checks:
            print(f"{'ok' if check.ok else 'FAIL':<5} {check.name:<16} {check.detail}")
            if check.advice:
                print(f"{'':<22} -> {check.advice}")
    return 0 if all(check.ok for check in checks) else EXIT_FAILED


def _tabcast() -> Check:
    return Check(name="tabcast", ok=True, detail=f"{VERSION}, run by {sys.executable}")


def _configuration() -> Check:
    path = user_config_path(os.environ)
    if not path.is_file():
        return Check(name="configuration", ok=True, detail=f"{path} does not exist; the defaults hold")
    try:
        tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return Check(name="configuration", ok=False, detail=f"{path}: {error}", advice="mend or remove this file")
    return Check(name="configuration", ok=True, detail=str(path))


def _server_log() -> Check:
    path = log_path()
    detail = str(path) if path.is_file() else f"{path} does not exist; the first editor begins it"
    return Check(name="server log", ok=True, detail=detail)


def _engine_side(arguments: Sequence[str]) -> list[Check]:
    """Return the findings of the engine's own program: torch, device, memory, models, row invariance."""
    try:
        found = subprocess.run(
            engine_command(["doctor", "--json", *arguments]),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=ENGINE_SIDE_TIMEOUT_S,
            check=False,
        )
        return [Check(**check) for check in json.loads(found.stdout)]
    except subprocess.TimeoutExpired:
        detail = f"no answer within {ENGINE_SIDE_TIMEOUT_S} s"
    except (ValueError, TypeError):
        detail = next((line for line in reversed(found.stderr.splitlines()) if line.strip()), "no answer")
    advice = f"run '{' '.join(engine_command(['doctor']))}' to see all of it"
    return [Check(name="engine program", ok=False, detail=detail, advice=advice)]


async def _engine(arguments: Sequence[str]) -> Check:
    try:
        async with connection(arguments) as client:
            health = await client.attach()
            directory = client.spec.directory
    except CommandError as error:
        return Check(name="engine", ok=False, detail=str(error), advice="look at the runtime directory")
    if health is None:
        return Check(name="engine", ok=True, detail=f"not running; the first request starts it ({directory})")
    if health.status == "failed":
        advice = "mend that; an engine that failed ends within a minute"
        return Check(name="engine", ok=False, detail=health.detail, advice=advice)
    return Check(name="engine", ok=True, detail=f"{health.status}: {health.held} on {health.device}, pid {health.pid}")


def _editors() -> list[Check]:
    """Look for editors on the PATH. An absent or old one is no failure: any editor with inline completion will do."""
    versions = {command: _first_line(command, "--version") for command in VS_CODE_COMMANDS}
    found = [Check(name=name, ok=True, detail=f"VS Code family, {text}") for name, text in versions.items() if text]
    if version := _first_line("nvim", "--version"):
        number = re.search(r"v(\d+)\.(\d+)", version)
        is_new = number is not None and (int(number[1]), int(number[2])) >= MIN_NEOVIM
        advice = "" if is_new else "the plugin needs Neovim 0.11 or later"
        found.append(Check(name="neovim", ok=True, detail=version, advice=advice))
    if not found:
        advice = "install Neovim 0.11 or VS Code, or point another editor with inline completion at 'tabcast lsp'"
        found.append(Check(name="editors", ok=True, detail="none found on the PATH", advice=advice))
    return found


def _first_line(command: str, *arguments: str) -> str:
    path = shutil.which(command)
    if path is None:
        return ""
    try:
        found = subprocess.run(
            [path, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=EDITOR_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.partition("\n")[0].strip()
