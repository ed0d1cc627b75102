"""Gives a subcommand its connection to the shared engine, and turns failures into one line and an exit code."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from decoding.protocol import EXIT_MODEL, Health, folder_trouble
from lsp_server.cli.errors import EXIT_FAILED, CommandError
from lsp_server.engine.choosing import make_client
from lsp_server.engine.client import EngineClient, EngineSpec, EngineUnavailable
from lsp_server.engine.seam import Client


@asynccontextmanager
async def connection(engine_arguments: Sequence[str]) -> AsyncIterator[EngineClient]:
    """Yield the client of the engine that we start and these options name.

    Raises `CommandError` where the engine can't be had.
    """
    client = EngineClient(EngineSpec.from_environment(engine_arguments), on_health=_show_progress)
    async with _worded(client):
        yield client


@asynccontextmanager
async def chosen_connection(engine_arguments: Sequence[str]) -> AsyncIterator[Client]:
    """Yield the client of the engine that an editor would use; options mean our own. Raises as above."""
    try:
        client = make_client(engine_arguments, on_health=_show_progress)
    except EngineUnavailable as error:
        raise CommandError(str(error)) from error
    async with _worded(client):
        yield client


@asynccontextmanager
async def _worded(client: Client) -> AsyncIterator[None]:
    try:
        yield
    except EngineUnavailable as error:
        raise CommandError(str(error), EXIT_MODEL if error.code == "failed" else EXIT_FAILED) from error
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CommandError(folder_trouble(client.spec.directory, error)) from error
    finally:
        await client.close()


def _show_progress(health: Health) -> None:
    if health.status == "loading" and sys.stderr.isatty():
        print(f"\r\x1b[Kloading the model: {health.progress:.0%} {health.detail}", end="", file=sys.stderr, flush=True)
    elif health.status in ("ready", "failed") and sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
