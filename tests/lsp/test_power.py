"""Whether the machine runs on its battery, as each system tells it; and that a slow model then reads nothing ahead."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from lsp_server.completion import power
from lsp_server.completion.power import Power, is_on_battery
from lsp_server.completion.reading_ahead import GATHER_S, OPENED_S
from tests.lsp.conftest import FakeRuntime, Servers, until
from tests.lsp.raw_client import did_open, inline
from tests.lsp.test_reading_ahead import SLOW, TEXT, read_ahead


@pytest.mark.parametrize(
    ("supplies", "expected"),
    [
        ({}, False),
        ({"BAT0": {"type": "Battery", "status": "Discharging"}}, True),
        ({"BAT0": {"type": "Battery", "status": "Charging"}}, False),
        ({"BAT0": {"type": "Battery", "status": "Discharging"}, "AC": {"type": "Mains", "online": "0"}}, True),
        ({"BAT0": {"type": "Battery", "status": "Discharging"}, "AC": {"type": "Mains", "online": "1"}}, False),
        ({"mouse": {"type": "Battery", "status": "Discharging", "scope": "Device"}}, False),
        ({"odd": {}}, False),
    ],
)
def test_what_linux_tells(tmp_path: Path, supplies: dict[str, dict[str, str]], expected: bool) -> None:
    for name, files in supplies.items():
        (tmp_path / name).mkdir()
        for file, text in files.items():
            (tmp_path / name / file).write_text(f"{text}\n", encoding="ascii")
    assert is_on_battery("linux", tmp_path) is expected


def test_what_other_systems_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = b"Now drawing from 'Battery Power'\n -InternalBattery-0 90%"
    monkeypatch.setattr(power.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess((), 0, said))
    assert is_on_battery("darwin")
    said = b"Now drawing from 'AC Power'\n -InternalBattery-0 90% Battery Power"
    assert not is_on_battery("darwin")
    assert not is_on_battery("linux", tmp_path / "missing")
    assert not is_on_battery("win32")  # where this is another system


def test_the_system_is_asked_now_and_then() -> None:
    now, answers = 100.0, [True, False]
    asked = Power(lambda: answers.pop(0), lambda: now)
    assert asyncio.run(asked.is_on_battery())
    assert asyncio.run(asked.is_on_battery())
    now += power.KNOWN_S
    assert not asyncio.run(asked.is_on_battery())


@pytest.mark.parametrize(("setting", "is_read"), [("auto", False), ("never", False), ("always", True)])
async def test_on_battery_nothing_is_read_ahead_unless_the_user_wants_it(
    servers: Servers, runtime: FakeRuntime, setting: str, is_read: bool
) -> None:
    runtime.script("tail", **SLOW)
    client = await servers.start(TABCAST_TEST_BATTERY="1")
    await client.initialize(initializationOptions={"readAhead": setting})
    await client.until_engine("ready")
    client.send(did_open(TEXT))
    if is_read:
        await until(lambda: read_ahead(runtime, "trunk"), "the document to be read")
        return
    await asyncio.sleep(2 * (OPENED_S + GATHER_S))
    client.send(inline(1, 20, 0))
    assert len(await client.items(1)) == 1
    assert not read_ahead(runtime, "trunk")
