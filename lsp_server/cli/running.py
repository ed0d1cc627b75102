"""Lists and stops the engines of this user that run on this machine, of whatever configuration and version."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

from decoding.protocol import Address, runtime_base
from lsp_server.cli.errors import CommandError
from lsp_server.engine.client import EngineClient, EngineSpec, EngineUnavailable
from lsp_server.engine.ending import end_engine
from lsp_server.engine.engines_here import with_engines


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """An engine that lives; `is_chosen` says that its configuration is the one that holds now."""

    status: str
    held: str
    device: str
    pid: int
    url: str
    is_chosen: bool

    def __str__(self) -> str:
        doing = f"{self.held} on {self.device}" if self.status == "ready" else self.status
        other = "" if self.is_chosen else ", of another configuration or version"
        return f"{doing}, {self.url}, pid {self.pid}{other}"


async def running_engines() -> list[Running]:
    """Return the engines that live; one that answers nothing is told by what it wrote."""
    chosen = EngineSpec.from_environment().directory
    return [await _look(folder, chosen) for folder in await _folders()]


async def stop_all() -> list[str]:
    """Stop every engine, and return what each was. Raises `CommandError` for one that goes on."""
    stopped, problems = [], []
    chosen = EngineSpec.from_environment().directory
    for folder in await _folders():
        told = await _look(folder, chosen)
        if await _stop(folder, told.pid):
            stopped.append(str(told))
        else:
            problems.append(f"the engine with pid {told.pid} doesn't stop; end its process")
    if problems:
        raise CommandError("; ".join(problems))
    return stopped


async def _folders() -> list[Path]:
    return await asyncio.to_thread(lambda: list(with_engines(runtime_base(os.environ))))


async def _look(folder: Path, chosen: Path) -> Running:
    client = EngineClient(EngineSpec(arguments=(), directory=folder))
    try:
        health = await client.attach()
    except EngineUnavailable:
        health = None
    finally:
        await client.close()
    address = Address.read(folder)
    return Running(
        status="it does not answer" if health is None else health.status,
        held="" if health is None else health.held,
        device="" if health is None else health.device,
        pid=0 if address is None else address.pid,
        url="" if address is None else address.url,
        is_chosen=folder == chosen,
    )


async def _stop(folder: Path, pid: int) -> bool:
    client = EngineClient(EngineSpec(arguments=(), directory=folder))
    try:
        if await client.stop():
            return True
    except EngineUnavailable:
        pass  # another version's, which doesn't understand us
    finally:
        await client.close()
    return await asyncio.to_thread(end_engine, folder, pid)
