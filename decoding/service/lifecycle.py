"""Runs one engine's life: lock, port, address file, the two threads, and its end."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import secrets
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from aiohttp import web
from filelock import FileLock, Timeout

from decoding.config import EngineConfig
from decoding.errors import AlreadyRunning, FolderError
from decoding.protocol import (
    ADDRESS_FILE,
    ENGINE_LOCK_FILE,
    EXIT_MODEL,
    Address,
    folder_trouble,
    is_token,
    make_private,
    read_private,
    write_private,
)
from decoding.service.gates import TokenGate
from decoding.service.http_server import EngineServer
from decoding.service.jobs import EngineState, Mailbox
from decoding.service.learner import Learner

log = logging.getLogger(__name__)

TOKEN_FILE = "token"  # noqa: S105 - a file's name
MAX_TOKEN_BYTES = 4096
FAILED_IDLE_S = 30.0


class PortInUse(AlreadyRunning):
    """Another program listens on the requested port."""


def serve(config: EngineConfig, directory: Path, port: int) -> int:
    """Run an engine until it is idle for long, asked to stop or signalled; return its exit code.

    Args:
        config: what to run.
        directory: its runtime directory.
        port: 0 for a free one; a fixed port keeps its token over restarts.

    Raises:
        AlreadyRunning: another engine has the directory.
        PortInUse: the port is taken.
        FolderError: the directory belongs to another user, or can't be written.
    """
    with _troubles_of(directory):
        make_private(directory)
        lock = FileLock(directory / ENGINE_LOCK_FILE, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise AlreadyRunning(f"an engine is running in {directory} already") from None
    try:
        with _listen(port) as listener:
            with _troubles_of(directory):
                token = _token(directory, keep=port != 0)
            address = Address(port=listener.getsockname()[1], token=token, pid=os.getpid())
            return asyncio.run(_run(config, directory, address, listener))
    finally:
        lock.release()


class Watcher(Protocol):
    """A task that is called periodically while the engine lives."""

    def look(self, idle_s: float) -> None:
        """Do what is due. Called every now and then with the seconds since the last request."""


class Announcement:
    """The address file of an engine, which exists as long as the engine serves."""

    def __init__(self, address: Address, directory: Path) -> None:
        self._address = address
        self._directory = directory
        self._lock = (directory / ENGINE_LOCK_FILE).stat()

    def write(self) -> None:
        """Write the address file. Raises `FolderError`."""
        with _troubles_of(self._directory):
            self._address.write(self._directory)

    def look(self, _idle_s: float) -> None:
        """Restore the file if somebody removed it: otherwise nobody would find this engine, nor could start another.

        Where the lock is gone, too, as after a tidying of `/tmp`, another engine may have begun, whose address counts.
        """
        with suppress(OSError):
            is_ours = os.path.samestat(self._lock, (self._directory / ENGINE_LOCK_FILE).stat())
            if is_ours and not (self._directory / ADDRESS_FILE).exists():
                log.warning("the address file was removed: it is written again")
                self._address.write(self._directory)

    def remove(self) -> None:
        """Remove the file, if it is still this engine's."""
        if Address.read(self._directory) == self._address:
            (self._directory / ADDRESS_FILE).unlink(missing_ok=True)


@contextmanager
def _troubles_of(directory: Path) -> Iterator[None]:
    """Raise as `FolderError`, a sentence, what goes wrong with the directory and its files."""
    try:
        yield
    except OSError as error:
        raise FolderError(folder_trouble(directory, error)) from error


async def _run(config: EngineConfig, directory: Path, address: Address, listener: socket.socket) -> int:
    mailbox, state, stopped = Mailbox(), EngineState(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(NotImplementedError):  # Windows' event loop has no signal handlers
            loop.add_signal_handler(number, stopped.set)
    server = EngineServer(TokenGate(address), mailbox, state, stopped.set)
    runner = web.AppRunner(server.application(), handler_cancellation=True, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    announcement = Announcement(address, directory)
    announcement.write()
    log.info("listening on %s", address.url)
    thread = threading.Thread(target=compute, args=(config, mailbox, state), name="compute", daemon=True)
    thread.start()
    learner = Learner(config, directory)
    try:
        await _wait(stopped, server, state, config.idle_minutes * 60, (learner, announcement))
    finally:
        learner.close()
        announcement.remove()
        mailbox.put(None)
        await runner.cleanup()
        # The exit waits only so long: a step takes milliseconds, but an import in the thread may take much longer.
        await asyncio.to_thread(thread.join, 2.0)
    log.info("stopped")
    return EXIT_MODEL if state.health.status == "failed" else 0


async def _wait(
    stopped: asyncio.Event, server: EngineServer, state: EngineState, idle_s: float, watchers: Sequence[Watcher]
) -> None:
    while not stopped.is_set():
        if state.health.status == "loading":  # loading a large model may take longer than the idle limit
            server.note_use()
        limit_s = min(idle_s, FAILED_IDLE_S) if state.health.status == "failed" else idle_s
        if server.idle_s >= limit_s:
            log.info("idle for %.0f s", server.idle_s)
            return
        for watcher in watchers:
            watcher.look(server.idle_s)
        with suppress(TimeoutError):
            await asyncio.wait_for(stopped.wait(), min(1.0, limit_s / 4))


def compute(config: EngineConfig, mailbox: Mailbox, state: EngineState) -> None:
    """Run the compute thread; what ends it shows in the state."""
    # Threads that spin while they wait for one another slow down on a busy machine. measured: beside a compiler a step
    # took 34 to 96 ms with spinning threads, 6 to 10 ms with sleeping ones. torch's OpenMP library reads this once.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # This import loads torch, so it comes after the address is known and `/health` answers.
    from decoding.service import worker  # noqa: PLC0415

    try:
        worker.run(config, mailbox, state)
    except BaseException:
        log.exception("the compute thread died")
        state.update(status="failed", detail="the compute thread died: the engine's log tells why")
        raise


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if os.name == "posix":
        # Without this, a restart on a fixed port would have to wait until the last engine's connections time out.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(f"port {port} is in use by another program") from None
        raise
    return listener


def _token(directory: Path, *, keep: bool) -> str:
    """Return a new token; or the kept one if `keep` is true and it can be trusted."""
    path = directory / TOKEN_FILE
    if keep:
        try:
            token = read_private(path, MAX_TOKEN_BYTES).decode("ascii").strip()
            if is_token(token):
                return token
            log.warning("%s holds no token: another one is made", path)
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            log.warning("the token can't be kept, another one is made: %s", error)
    token = secrets.token_urlsafe(32)
    if keep:
        write_private(path, token.encode("ascii"), is_kept=True)
    return token
