"""`tabcast lsp`: the options reach the server; what it says on the wire is tested under `tests/lsp`."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lsp_server.cli.demo.editor import editor
from tests.cli.conftest import Run, error_line


async def test_the_engine_is_the_one_that_the_options_name(engine_options: list[str], tmp_path: Path) -> None:
    async with editor(tmp_path, engine_options, tmp_path) as window:
        await window.wait_for_engine()
        assert Path((await window.why())["engine"]["model"]) == Path(engine_options[1])


def test_tcp_port_in_use(tabcast: Run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = tabcast("lsp", "--tcp", f"127.0.0.1:{port}")
    assert result.returncode == 4
    assert error_line(result) == f"port {port} is in use"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--stdio"],
        [f"--clientProcessId={os.getpid()}"],
        ["--stdio", "--clientProcessId", str(os.getpid())],
    ],
)
def test_options_that_libraries_of_editors_add(environment: dict[str, str], arguments: list[str]) -> None:
    body = b'{"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"processId": null, "capabilities": {}}}'
    frame = b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    command = [sys.executable, "-P", "-m", "lsp_server", "lsp", *arguments]
    found = subprocess.run(command, env=environment, input=frame, capture_output=True, check=False)
    assert found.stderr == b""
    assert b'"serverInfo"' in found.stdout


@pytest.mark.parametrize("option", ["--node-ipc", "--socket=6009", "--pipe=/tmp/socket"])
def test_a_transport_that_is_not_served_says_what_is(tabcast: Run, option: str) -> None:
    result = tabcast("lsp", option)
    assert result.returncode == 2
    line = error_line(result)
    assert line.startswith(option.partition("=")[0])
    assert "--stdio" in line
    assert "--tcp" in line
