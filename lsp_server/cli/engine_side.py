"""Runs subcommands of the engine's side in a process of their own; signals and the exit code are passed on.

It must not know what they do. `-P` keeps the working directory off the module path: a folder that holds a `decoding/`
or a `torch.py` must not run.
"""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Final

PASSED_ON: Final = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT") if hasattr(signal, name)
]


def engine_command(arguments: Sequence[str]) -> list[str]:
    """Return the command line that runs the engine's own program."""
    return [sys.executable, "-P", "-m", "decoding", *arguments]


def run(arguments: Sequence[str]) -> int:
    """Run `python -m decoding ARGUMENTS` to its end and return its exit code (128 + n after signal n)."""
    is_bench = arguments[0] == "bench" and len(arguments) > 1 and not arguments[1].startswith("-")
    is_setup = arguments[0] == "setup"
    if is_bench or is_setup or list(arguments[:2]) == ["models", "index"]:
        # The engine's side may not import the front end, so it starts the front end's helpers by this command.
        front_end = shlex.join([sys.executable, "-P", "-m", "lsp_server"])
        place = 1 if is_setup else 2
        arguments = [*arguments[:place], f"--front-end={front_end}", *arguments[place:]]
    # `setup` asks before it fetches, and `models remove` before it deletes; the others have nothing to read.
    stdin = None if arguments[0] in ("setup", "models") else subprocess.DEVNULL
    # In a session of its own, the terminal's Ctrl-C reaches it through us alone, and so once.
    with subprocess.Popen(engine_command(arguments), stdin=stdin, start_new_session=True) as child:

        def pass_on(number: int, _frame: FrameType | None) -> None:
            child.send_signal(number)

        for number in PASSED_ON:
            signal.signal(number, pass_on)
        code = child.wait()
    return code if code >= 0 else 128 - code
