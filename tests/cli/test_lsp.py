"""`tabcast lsp`: the options reach the server; what it says on the wire is tested under `tests/lsp`."""

import socket
from pathlib import Path

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
