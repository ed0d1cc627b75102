"""The language server as a program, with a fake engine on this machine and a server elsewhere.

Usage: serve_hybrid.py RUNTIME_DIR PROGRAM JSON; PROGRAM starts the fake engine, and JSON is the table of the server.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from decoding.protocol import Health
from lsp_server import server
from lsp_server.engine.client import EngineClient
from lsp_server.engine.engines_file import check_engine
from lsp_server.engine.hybrid import Hybrid
from lsp_server.engine.model_choice import EngineSpec
from lsp_server.engine.remote import RemoteEngine


def make_client(on_health: Callable[[Health], None], _model: str = "") -> Hybrid:
    spec = EngineSpec(arguments=(), directory=Path(sys.argv[1]))
    engine = check_engine("team", json.loads(sys.argv[3]))

    def hear_remote(health: Health) -> None:
        both.hear_remote(health)

    def hear_local(health: Health) -> None:
        both.hear_local(health)

    remote = RemoteEngine(engine, spec, hear_remote)
    local = EngineClient(spec, hear_local, program=tuple(sys.argv[2].split()))
    both = Hybrid(remote, local, on_health)
    return both


if __name__ == "__main__":
    server.run_stdio(make_client)
