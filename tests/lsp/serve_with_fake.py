"""The language server as a program, with a fake engine in the folder that the first argument names.

Usage: serve_with_fake.py RUNTIME_DIR [PORT]; without a port it speaks over standard input and output.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from decoding.protocol import Health
from lsp_server import model_setup, server
from lsp_server.completion import completer, power, reading_ahead

if TYPE_CHECKING:
    from lsp_server.engine.client import EngineClient


def make_client(on_health: Callable[[Health], None], model: str = "") -> EngineClient:
    from lsp_server.engine.client import EngineClient, EngineSpec

    fake_engine = Path(__file__).with_name("fake_engine.py")
    if model not in ("", "other"):
        raise ValueError(f"no model {model!r}")
    directory = Path(sys.argv[1])
    spec = EngineSpec(arguments=(), directory=directory.with_name(model) if model else directory)
    return EngineClient(spec, on_health, program=(str(fake_engine),))


if __name__ == "__main__":
    model_setup.PROGRAM = (sys.executable, "-P", str(Path(__file__).with_name("fake_setup.py")))
    if "TABCAST_TEST_QUIET_S" in os.environ:
        reading_ahead.QUIET_S = float(os.environ["TABCAST_TEST_QUIET_S"])  # type: ignore[misc]
    if "TABCAST_TEST_BATTERY" in os.environ:
        power.is_on_battery = lambda: True  # type: ignore[assignment]
    if "TABCAST_TEST_PATIENT" in os.environ:  # the machine may be busy
        from lsp_server.context import gather

        completer.MAX_FIRST_S = completer.MAX_OTHERS_S = gather.WAIT_S = 60.0  # type: ignore[misc]
    if len(sys.argv) > 2:
        server.run_tcp("127.0.0.1", int(sys.argv[2]), make_client)
    else:
        server.run_stdio(make_client)
