"""The server ends with its editor's process, whoever else holds the pipes between them."""

from __future__ import annotations

import errno
import os
import select
import signal
import subprocess
import sys
import threading

import pytest

from lsp_server import server
from lsp_server.rpc import client_process
from lsp_server.rpc.transport import StreamFrames
from tests.lsp.conftest import SERVE, FakeRuntime, Servers
from tests.lsp.raw_client import request
from tests.lsp.test_sequences import Editor

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="ended processes are told by their descriptors")

PATIENCE_S = 60
# An editor that starts a server and then a child, which holds the writing end of the server's standard input, and the
# reading end of its output as well if it is asked to. It leaves answers unread if it is asked to, until no more of them
# find room. Then it waits to be killed.
EDITOR = """
import array, fcntl, json, os, subprocess, sys, termios, time

def frame(message):
    body = json.dumps(message).encode()
    return b"Content-Length: %d\\r\\n\\r\\n%s" % (len(body), body)

keeps_output, num_unread, option, *command = sys.argv[1:]
command += [f"{option}={os.getpid()}"] if option else []
server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
pipes = [server.stdin.fileno(), *([server.stdout.fileno()] if keeps_output == "yes" else [])]
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], pass_fds=pipes)
process_id = None if option else os.getpid()
first = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"processId": process_id, "capabilities": {}}}
server.stdin.write(frame(first))
server.stdin.flush()
server.stdout.readline()
print(server.pid, child.pid, flush=True)
for number in range(int(num_unread)):
    server.stdin.write(frame({"jsonrpc": "2.0", "id": number + 1, "method": "no/such/method"}))
server.stdin.flush()
unread = array.array("i", [0])
while num_unread != "0" and unread[0] < 60_000:
    time.sleep(0.01)
    fcntl.ioctl(server.stdout, termios.FIONREAD, unread)
print("sent", flush=True)
time.sleep(600)
"""


def start_editor(runtime: FakeRuntime, *, keeps_output: bool, num_unread: int, option: str) -> subprocess.Popen[str]:
    server = ["-m", "lsp_server", "lsp"] if option else [str(SERVE), str(runtime.directory)]
    arguments = ["yes" if keeps_output else "no", str(num_unread), option, sys.executable, "-P", *server]
    editor = subprocess.Popen([sys.executable, "-c", EDITOR, *arguments], stdout=subprocess.PIPE, text=True)
    assert editor.stdout is not None
    return editor


def ended(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(PATIENCE_S * 1000))


@pytest.mark.parametrize(
    ("keeps_output", "num_unread", "option"),
    [
        pytest.param(True, 0, "", id="pipes open"),
        pytest.param(False, 0, "", id="output broken"),
        pytest.param(True, 1000, "", id="output full"),
        pytest.param(True, 0, "--clientProcessId", id="told on the command line"),
    ],
)
def test_the_server_ends_when_the_editors_process_does(
    runtime: FakeRuntime, keeps_output: bool, num_unread: int, option: str
) -> None:
    editor = start_editor(runtime, keeps_output=keeps_output, num_unread=num_unread, option=option)
    server_id, child_id = map(int, editor.stdout.readline().split())
    server = os.pidfd_open(server_id)
    try:
        assert editor.stdout.readline() == "sent\n"
        editor.kill()
        editor.wait()
        assert ended(server)
    finally:
        for process_id in (server_id, child_id):
            try:
                os.kill(process_id, signal.SIGKILL)
            except ProcessLookupError:
                continue
        os.close(server)
        editor.stdout.close()


def ended_process_id() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_a_kernel_without_descriptors_of_processes_is_asked_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_process_id: int) -> int:
        raise OSError(errno.ENOSYS, "no such call")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    monkeypatch.setattr(client_process, "POLL_S", 0.01)
    left = threading.Event()
    monkeypatch.setattr(os, "_exit", lambda _code: left.set())
    monkeypatch.setattr(client_process, "GRACE_S", 0.0)
    told = threading.Event()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        client_process.watch_process(process.pid, told.set)
        assert not told.wait(0.1)
    assert told.wait(PATIENCE_S)
    assert left.wait(PATIENCE_S)


async def test_a_process_of_another_machine_is_not_watched(servers: Servers) -> None:
    client = await servers.start()
    await client.initialize(processId=ended_process_id())
    assert "not on this machine" in servers.log()
    assert (await client.why())["requests"] == []
    await client.close()


@pytest.mark.parametrize(
    ("address", "is_watched"), [("127.0.0.1", True), ("::1", True), ("192.0.2.1", False), ("2001:db8::1", False)]
)
async def test_what_a_client_of_another_machine_tells_is_no_process_of_this_one(
    monkeypatch: pytest.MonkeyPatch, address: str, is_watched: bool
) -> None:
    watched: list[int] = []
    monkeypatch.setattr(server, "watch_process", lambda process_id, _: watched.append(process_id))
    editor = Editor()
    editor.front.is_client_local = client_process.is_loopback(address)
    editor.send(request(1, "initialize", {"processId": os.getpid(), "rootUri": None, "capabilities": {}}))
    editor.reader.feed_eof()
    await editor.front.serve(StreamFrames(editor.reader))
    assert editor.answers[1]
    assert bool(watched) == is_watched


def test_from_inside_of_a_container_an_editor_outside_is_not_watched(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(os, "getppid", lambda: 0)
    client_process.watch_process(os.getpid(), lambda: None)
    assert "not on this machine" in caplog.text


async def test_without_a_process_nothing_is_watched(servers: Servers) -> None:
    client = await servers.start()
    await client.initialize(processId=None)
    assert "process" not in servers.log()
    await client.close()


async def test_an_orderly_end_is_what_it_was(servers: Servers) -> None:
    client = await servers.start()
    await client.initialize(processId=os.getpid())
    client.send(request(1, "shutdown"))
    await client.answer(1)
    await client.close()
    assert await servers.processes[0].wait() == 0
