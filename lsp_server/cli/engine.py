"""Implements `tabcast engine start|status|stop|env`: the shared engine, as scripts and OpenAI clients need it."""

from __future__ import annotations

import argparse
import asyncio
import json
import shlex
import socket
from dataclasses import replace
from pathlib import Path

from decoding.protocol import EXIT_ALREADY_RUNNING, EXIT_INTERRUPTED, EXIT_PORT_IN_USE, Address, Health, write_private
from lsp_server.cli.connection import connection
from lsp_server.cli.errors import EXIT_FAILED, CommandError
from lsp_server.cli.parser import engine_arguments
from lsp_server.cli.running import stop_all
from lsp_server.engine.client import EngineClient


def run(options: argparse.Namespace) -> int:
    """Run the requested action and return the exit code."""
    if options.action == "stop" and options.all:
        return asyncio.run(_stop_all(as_json=options.json))
    return asyncio.run(_run(options))


async def _run(options: argparse.Namespace) -> int:
    async with connection(engine_arguments(options)) as client:
        match options.action:
            case "start":
                return await _start(client, options.port, as_json=options.json)
            case "stop":
                return await _stop(client, as_json=options.json)
            case "env":
                return await _env(client, as_json=options.json)
            case _:
                return await _status(client, as_json=options.json)


async def _start(client: EngineClient, port: int | None, *, as_json: bool) -> int:
    running = await client.attach()
    if running is not None:
        url = _address(client).url
        raise CommandError(f"an engine is already running at {url}, pid {running.pid}", EXIT_ALREADY_RUNNING)
    if port is not None:
        _check_port(port)
        # The port is not part of the engine's identity: editors find this engine in the same directory.
        client.spec = replace(client.spec, arguments=(*client.spec.arguments, "--port", str(port)))
    try:
        await client.ensure()
        _report(client, await client.wait_ready(), as_json=as_json)
    except asyncio.CancelledError:  # Ctrl-C; the engine runs in a session of its own and does not get it
        if Address.read(client.spec.directory) is not None:
            goes_on = "interrupted: the engine goes on without you; 'tabcast engine stop' ends it"
            raise CommandError(goes_on, EXIT_INTERRUPTED) from None
        raise
    return 0


async def _status(client: EngineClient, *, as_json: bool) -> int:
    health = await client.attach()
    _report(client, health, as_json=as_json)
    return EXIT_FAILED if health is None or health.status == "failed" else 0


async def _stop(client: EngineClient, *, as_json: bool) -> int:
    stopped = await client.stop()
    if as_json:
        print(json.dumps({"stopped": stopped}))
    else:
        print("the engine has stopped" if stopped else "no engine was running")
    return 0


async def _stop_all(*, as_json: bool) -> int:
    stopped = await stop_all()
    if as_json:
        print(json.dumps({"stopped": len(stopped)}))
    else:
        print("\n".join(f"stopped: {told}" for told in stopped) if stopped else "no engine was running")
    return 0


async def _env(client: EngineClient, *, as_json: bool) -> int:
    if await client.attach() is None:
        raise CommandError("no engine is running; 'tabcast engine start' starts one")
    address = _address(client)
    variables = {
        "OPENAI_BASE_URL": f"{address.url}/v1",
        "OPENAI_API_KEY": address.token,
        "OPENAI_HEADER_FILE": str(_write_header(client.spec.directory, address)),
    }
    if as_json:
        print(json.dumps(variables))
    else:
        for name, value in variables.items():
            print(f"export {name}={shlex.quote(value)}")
    return 0


def _address(client: EngineClient) -> Address:
    address = Address.read(client.spec.directory)
    if address is None:
        raise CommandError("the engine has just ended")
    return address


def _write_header(directory: Path, address: Address) -> Path:
    """Write a file for `curl -H @FILE`, so that the token is on no command line, where every user could read it."""
    path = directory / "curl-header"
    write_private(path, f"Authorization: Bearer {address.token}\n".encode())
    return path


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError:
            raise CommandError(f"this user may not listen on port {port}") from None
        except OSError:
            raise CommandError(f"port {port} is in use", EXIT_PORT_IN_USE) from None


def _report(client: EngineClient, health: Health | None, *, as_json: bool) -> None:
    url = "" if health is None else _address(client).url
    told = health or Health(status="absent", detail=client.silence)
    if as_json:
        print(json.dumps({**replace(told, proof="").to_json(), "url": url}))
    else:
        print(_in_words(told, url))


def _in_words(health: Health, url: str) -> str:
    """Return one line on an engine's state."""
    where = f"{url}, pid {health.pid}"
    match health.status:
        case "ready":
            return f"ready: {health.held} on {health.device}, {where}"
        case "loading":
            doing = f": {health.detail}" if health.detail else ""
            return f"loading: the engine is getting its models ready, {health.progress:.0%}{doing}, {where}"
        case "failed":
            return f"failed: {health.detail or 'the engine could not load its models'}, {where}"
        case _:
            return health.detail or "no engine is running"
