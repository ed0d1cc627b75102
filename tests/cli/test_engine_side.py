"""Subcommands that the engine's own program runs: exit code and signals are passed on."""

import signal
import subprocess
import sys

import pytest

# Stands for `python -P -m decoding`: says that it runs, and answers the first signal with its number.
CHILD = """
import signal, sys
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda got, _: sys.exit(40 + got))
print("running", flush=True)
signal.pause()
"""
PARENT = """
import sys
from lsp_server.cli import engine_side
engine_side.engine_command = lambda arguments: [sys.executable, "-c", arguments[0]]
sys.exit(engine_side.run(sys.argv[1:]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_reach_the_child_and_its_exit_code_comes_back(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, CHILD], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "running\n"
        parent.send_signal(number)
        assert parent.wait(timeout=60) == 40 + number


def test_exit_code_comes_back() -> None:
    assert subprocess.run([sys.executable, "-c", PARENT, "raise SystemExit(7)"], check=False).returncode == 7


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_child_killed_by_a_signal_gives_128_and_its_number() -> None:
    program = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    assert subprocess.run([sys.executable, "-c", PARENT, program], check=False).returncode == 128 + signal.SIGKILL
