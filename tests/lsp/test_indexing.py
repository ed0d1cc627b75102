"""The index of the workspace's code: when it is made, that it is of use, and that no process is left behind."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from decoding.config import datastores_directory
from decoding.datastore.files import listed
from lsp_server import workspace_index
from lsp_server.workspace_index import IndexJob, WorkspaceIndexing, command_for, is_worth_it
from tests.lsp.conftest import FakeRuntime, Servers, until

MADE = 'import sys; print(\'{"files": 3, "made": "now"}\')'
FAILS = "import sys; sys.stderr.write('reading\\nno room is left\\n'); sys.exit(2)"
# Notes that it runs, and again that its standard input ended.
WAITS = "import sys, pathlib; p = pathlib.Path('log'); p.write_text('runs'); sys.stdin.read(); p.write_text('ended')"


class Bench:
    """An indexing with a clock of its own, whose process runs a piece of Python."""

    def __init__(self, folder: Path, program: str = MADE) -> None:
        self.folder, self.program = folder, program
        self.now_s = self.asked_s = 1000.0
        self.is_wanted = True
        self.started: list[Path] = []
        self.indexing = WorkspaceIndexing(self.wanted, lambda: self.asked_s, lambda: self.now_s, self.command)

    def wanted(self) -> IndexJob | None:
        return IndexJob([self.folder], ("--device", "cpu"), self.folder) if self.is_wanted else None

    def command(self, folder: Path, arguments: Sequence[str]) -> Sequence[str]:
        assert arguments == ("--device", "cpu")
        self.started.append(folder)
        return [sys.executable, "-c", self.program]

    def state(self) -> str:
        return str(self.indexing.figures()["state"])


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Timers fire at once; what is due is for the clock of the test to say."""

    def wait(self: Any, _seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(0.001, self._look)

    monkeypatch.setattr(WorkspaceIndexing, "_wait", wait)


async def test_it_is_made_in_a_pause_and_again_after_work(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.indexing.follow()
    await asyncio.sleep(0.02)
    assert (bench.state(), bench.started) == ("waiting", [])  # somebody types
    bench.now_s += workspace_index.QUIET_S
    await until(lambda: bench.state() == "ready")
    assert bench.indexing.figures() == {"state": "ready", "files": 3}
    bench.now_s += workspace_index.REFRESH_S
    await asyncio.sleep(0.02)
    assert len(bench.started) == 1  # nobody asked for anything since
    bench.asked_s = bench.now_s
    bench.now_s += workspace_index.QUIET_S
    await until(lambda: len(bench.started) == 2)
    await bench.indexing.close()


async def test_nothing_runs_where_it_is_not_wanted(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.is_wanted = False
    bench.now_s += workspace_index.QUIET_S
    bench.indexing.follow()
    await asyncio.sleep(0.02)
    assert (bench.state(), bench.started) == ("off", [])
    bench.is_wanted = True
    bench.indexing.follow()
    await until(lambda: bench.state() == "ready")
    await bench.indexing.close()


async def test_a_failure_is_a_line_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for program, problem in ((FAILS, "no room is left"), ("print('nonsense')", "Expecting value")):
        bench = Bench(tmp_path, program)
        bench.now_s += workspace_index.QUIET_S
        with caplog.at_level(logging.WARNING):
            bench.indexing.follow()
            await until(lambda bench=bench: bench.state() == "failed")  # type: ignore[misc]
        assert problem in bench.indexing.figures()["problem"]
        assert problem in caplog.records[-1].getMessage()
        assert "\n" not in caplog.records[-1].getMessage()
        await bench.indexing.close()


async def test_closing_ends_the_process(tmp_path: Path) -> None:
    bench = Bench(tmp_path, WAITS)
    bench.now_s += workspace_index.QUIET_S
    bench.indexing.follow()
    log = tmp_path / "log"
    await until(lambda: log.exists() and log.read_text() == "runs")
    assert bench.state() == "running"
    await bench.indexing.close()
    assert log.read_text() == "ended"


async def test_a_real_folder_is_indexed_and_what_is_ignored_stays_out(tiny_model: Path, tmp_path: Path) -> None:
    source = tmp_path / "work space"
    source.mkdir()
    (source / "good.py").write_text("def wanted():\n    return 1\n", encoding="utf-8")
    (source / "ignored.py").write_text("unwanted = 1\n", encoding="utf-8")
    (source / ".tabcastignore").write_text("ignored.py\n", encoding="utf-8")
    (source / "decoding.py").write_text("raise SystemExit('it ran')\n", encoding="utf-8")
    bench = Bench(source)
    told = await bench.indexing._index(command_for(source, ["--model", str(tiny_model)]), source)
    assert told["files"] == 2
    assert [path.name.startswith("workspace-work-space-") for path in listed(datastores_directory())] == [True]


def test_a_home_directory_is_no_workspace(tmp_path: Path) -> None:
    assert is_worth_it(tmp_path)
    assert not any(map(is_worth_it, (Path.home(), Path.home().parent, Path("/"))))


async def test_it_follows_the_engine_and_the_setting(servers: Servers, runtime: FakeRuntime) -> None:
    async def state(*, searches_code: bool, **settings: Any) -> str:
        runtime.script("", searches_code=searches_code)
        client = await servers.start()
        await client.initialize(initializationOptions=settings)
        await client.until_engine("ready")
        told = await client.ask("workspace/executeCommand", {"command": "tabcast.server.stats"})
        return str(told["result"]["index"]["state"])

    assert await state(searches_code=True) == "waiting"
    assert await state(searches_code=True, indexWorkspace=False) == "off"
    assert await state(searches_code=False) == "off"
