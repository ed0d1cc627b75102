"""Runs a team's engine: where it may listen, its certificate, its keys, and an end that finishes answers."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from aiohttp import web

from decoding.config import EngineConfig
from decoding.errors import ConfigError
from decoding.protocol import EXIT_MODEL, is_loopback
from decoding.service.certificate import Certificate
from decoding.service.connections import DEFAULT_PATIENCE, Connections, Patience
from decoding.service.gates import Bounds
from decoding.service.http_server import EngineServer
from decoding.service.jobs import EngineState, Mailbox
from decoding.service.lifecycle import PortInUse, Watcher, compute
from decoding.service.limits import DEFAULT_LIMITS, Limits
from decoding.service.team_gate import TeamGate
from decoding.storage.team_keys import COMPLETIONS, read_keys

log = logging.getLogger(__name__)

# chosen: what a front end sends has some ten kilobytes, and no model here reads a hundredth of this.
MAX_BYTES: Final = 2 << 20
BODY_S: Final = 20.0
LOOK_S: Final = 0.5
DRAIN_S: Final = 60.0
HANDSHAKE_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamSettings:
    """Where and for whom an engine serves. Without a certificate it speaks plain HTTP, to a proxy or on loopback."""

    host: str
    port: int
    keys: Path
    certificate: Path | None = None
    key: Path | None = None
    behind_proxy: bool = False
    limits: Limits = DEFAULT_LIMITS
    patience: Patience = DEFAULT_PATIENCE


def serve_team(config: EngineConfig, settings: TeamSettings) -> int:
    """Serve until a signal comes, and return the exit code.

    Raises `ConfigError` for what can't be served so, and `PortInUse`.
    """
    gate = TeamGate(_keys_of(settings), settings.limits)
    certificate = Certificate.of(settings.certificate, settings.key)
    if config.online:
        log.warning("drafts learn from nobody's answers here: the setting 'online' is off for a team")
    config = replace(config, online=False)
    with _listen(settings.host, settings.port) as listener:
        return asyncio.run(_run(config, settings, gate, certificate, listener))


def _keys_of(settings: TeamSettings) -> Path:
    """Return the keys' file of an address that is safe to listen on. Raises `ConfigError`."""
    has_tls = settings.certificate is not None
    if not settings.keys.exists():
        raise ConfigError(
            f"a team's engine lets in who has a key, and there is no keys file {settings.keys}:"
            " 'tabcast engine key new NAME' makes the first key"
        )
    if not (has_tls or settings.behind_proxy or is_loopback(settings.host)):
        raise ConfigError(
            f"on {settings.host} keys and code would go over the network in the clear: give --certificate and --key,"
            " or say --behind-proxy if a proxy before it speaks TLS"
        )
    if not any(key.right == COMPLETIONS for key in read_keys(settings.keys)):
        raise ConfigError(f"{settings.keys} has nobody's key: 'tabcast engine key new NAME' makes the first")
    return settings.keys


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            if os.name == "posix":
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except socket.gaierror:
        raise ConfigError(f"--host {host} is no address of this machine") from None
    except PermissionError:
        raise ConfigError(f"this user may not listen on port {port}: take one above 1023") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(f"port {port} is in use by another program") from None
        raise ConfigError(f"--host {host} is no address of this machine ({error.strerror})") from None
    return listener


async def _run(
    config: EngineConfig,
    settings: TeamSettings,
    gate: TeamGate,
    certificate: Certificate | None,
    listener: socket.socket,
) -> int:
    mailbox, state = Mailbox(), EngineState()
    signals = Signals(asyncio.get_running_loop())
    server = EngineServer(gate, mailbox, state, bounds=Bounds(max_bytes=MAX_BYTES, body_s=BODY_S))
    watchers: Sequence[Watcher] = (gate,) if certificate is None else (gate, certificate)
    async with _listening(server, settings, certificate, listener) as listening:
        thread = threading.Thread(target=compute, args=(config, mailbox, state), name="compute", daemon=True)
        thread.start()
        try:
            await _live(signals, state, watchers)
            gate.is_closing = True
            listening.close()
            await _drain(signals, server, watchers)
        finally:
            mailbox.put(None)
    await asyncio.to_thread(thread.join, 2.0)
    log.info("stopped")
    return EXIT_MODEL if state.health.status == "failed" else 0


@asynccontextmanager
async def _listening(
    server: EngineServer, settings: TeamSettings, certificate: Certificate | None, listener: socket.socket
) -> AsyncIterator[asyncio.Server]:
    """Answer requests; connections that are left at the end are closed."""
    connections = Connections(settings.patience)
    application = server.application()
    application.middlewares.insert(0, connections.middleware)
    runner = web.AppRunner(
        application, handler_cancellation=True, access_log=None, shutdown_timeout=1.0, lingering_time=1.0
    )
    await runner.setup()
    assert runner.server is not None
    listening = await asyncio.get_running_loop().create_server(
        connections.wrap(runner.server),
        sock=listener,
        ssl=None if certificate is None else certificate.context,
        ssl_handshake_timeout=None if certificate is None else HANDSHAKE_S,
    )
    scheme = "http" if certificate is None else "https"
    log.info("listening on %s://%s:%d", scheme, settings.host, listener.getsockname()[1])
    try:
        yield listening
    finally:
        listening.close()
        await runner.cleanup()


class Signals:
    """The signals that end the engine: the first lets it finish its answers, the second doesn't."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.first, self.second = asyncio.Event(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            with suppress(NotImplementedError):  # Windows' event loop has no signal handlers
                loop.add_signal_handler(number, self.arrived)

    def arrived(self) -> None:
        """Note a signal."""
        (self.second if self.first.is_set() else self.first).set()


async def _live(signals: Signals, state: EngineState, watchers: Sequence[Watcher]) -> None:
    """Return at a signal, or once the models have failed to load."""
    while not signals.first.is_set() and state.health.status != "failed":
        for watcher in watchers:
            watcher.look(0.0)
        with suppress(TimeoutError):
            await asyncio.wait_for(signals.first.wait(), LOOK_S)


async def _drain(signals: Signals, server: EngineServer, watchers: Sequence[Watcher]) -> None:
    """Let the requests under way end, for a time; a second signal ends them."""
    if server.num_open:
        log.info("%d requests are finished first; a second signal ends them at once", server.num_open)
    loop = asyncio.get_running_loop()
    end = loop.time() + DRAIN_S
    while server.num_open and loop.time() < end and not signals.second.is_set():
        for watcher in watchers:
            watcher.look(0.0)
        with suppress(TimeoutError):
            await asyncio.wait_for(signals.second.wait(), 0.05)
