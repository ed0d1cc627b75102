"""What is imported when, and that a workspace can't run anything."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lsp.conftest import FakeRuntime, Servers
from tests.lsp.raw_client import did_open, inline, notification

# All of ours that may be imported before the answer to `initialize`.
BEFORE_INITIALIZE = {
    "decoding",
    "decoding.protocol",
    "lsp_server",
    "lsp_server.rpc.client_process",
    "lsp_server.rpc",
    "lsp_server.rpc.client_quirks",
    "lsp_server.log",
    "lsp_server.server",
    "lsp_server.settings",
    "lsp_server.rpc.transport",
    "lsp_server.rpc.protocol",
}
# Heavy or foreign modules that may come later or never.
NOT_BEFORE_INITIALIZE = {"aiohttp", "filelock", "platformdirs", "rich", "numpy", "torch", "transformers"}

LIST_MODULES = """
import json, sys
from lsp_server import server
from lsp_server.rpc.protocol import WireProtocol
from pathlib import Path

send = WireProtocol._send_response

def send_and_list(self, *arguments, **more):
    path = Path(sys.argv[1])
    if not path.exists():
        path.write_text(json.dumps(sorted(sys.modules)))
    send(self, *arguments, **more)

WireProtocol._send_response = send_and_list
server.run_stdio()
"""

IMPORT_EVERYTHING = """
import importlib, json, pkgutil, sys
import lsp_server
for module in pkgutil.walk_packages(lsp_server.__path__, "lsp_server."):
    if ".cli" not in module.name and not module.name.endswith("__main__"):
        importlib.import_module(module.name)
import aiohttp, filelock
print(json.dumps(sorted(sys.modules)))
"""


async def test_modules_before_the_initialize_answer(servers: Servers, tmp_path: Path) -> None:
    listing = tmp_path / "modules.json"
    client = await servers.start(program=("-c", LIST_MODULES, str(listing)), TABCAST_RUNTIME_DIR=str(tmp_path / "none"))
    await client.ask("initialize", {"capabilities": {}})
    modules = set(json.loads(listing.read_text()))
    ours = {name for name in modules if name.split(".")[0] in ("lsp_server", "decoding")}
    assert {name for name in ours if not name.startswith("decoding.protocol.")} == BEFORE_INITIALIZE
    assert not modules & NOT_BEFORE_INITIALIZE
    await client.close()


def test_the_front_end_never_imports_torch() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", IMPORT_EVERYTHING], capture_output=True, text=True, check=True, cwd="/"
    )
    modules = set(json.loads(done.stdout))
    assert "lsp_server.features.inline_completion" in modules
    assert not modules & {"torch", "transformers", "tokenizers", "numpy"}
    engine_side = {name for name in modules if name.split(".")[0] == "decoding"}
    assert {".".join(name.split(".")[:2]) for name in engine_side} == {"decoding", "decoding.protocol"}


def test_the_garbage_collector_leaves_what_was_imported_alone() -> None:
    """A look at all of it takes tens of milliseconds, and would come in mid-typing."""
    code = "import gc; from lsp_server.features import lifecycle; lifecycle.import_the_rest()"
    code += "; print(gc.get_freeze_count())"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 20_000


async def test_changes_before_anything_is_imported_are_kept(servers: Servers, runtime: FakeRuntime) -> None:
    """`initialize`, `initialized`, an opened document and changes of it come in one piece, as fast as it can be."""
    runtime.script("tail")
    client = await servers.start()
    first = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"capabilities": {}}}
    started = {"jsonrpc": "2.0", "method": "initialized", "params": {}}
    client.send(first, started, did_open("x = \n"), inline(2, 0, 4))
    assert (await client.items(2))[0]["insertText"] == "x = tail"
    await client.close()


async def test_a_hostile_workspace_runs_nothing(servers: Servers, runtime: FakeRuntime, tmp_path: Path) -> None:
    """The server's working directory is a workspace with modules named like ours and like what ours import.

    Git, which would run what the workspace's configuration says, is not run either.
    """
    proof = tmp_path / "it-ran"
    evil = f"open({str(proof)!r}, 'a').write(__name__ + '\\n')\n"
    workspace = tmp_path / "workspace"
    for package in ("decoding", "lsp_server", "pygls"):
        (workspace / package).mkdir(parents=True)
        (workspace / package / "__init__.py").write_text(evil)
        (workspace / package / "__main__.py").write_text(evil)
    for module in ("torch", "aiohttp", "filelock", "json", "sitecustomize", "platformdirs"):
        (workspace / f"{module}.py").write_text(evil)
    (workspace / ".git").mkdir()
    (workspace / ".git" / "config").write_text(f"[core]\n\tfsmonitor = touch {proof}\n")
    (workspace / ".gitignore").write_text("*.log\n")
    git = tmp_path / "bin" / "git"
    git.parent.mkdir()
    git.write_text(f"#!/bin/sh\ntouch {proof}\n")
    git.chmod(0o700)
    servers.folder = workspace
    runtime.script("tail")
    client = await servers.start(PATH=f"{git.parent}:{os.environ['PATH']}")
    await client.initialize(rootUri=workspace.as_uri(), initializationOptions={"engine": str(workspace)})
    await client.until_engine("ready")
    client.send(
        did_open("x = \n", uri=(workspace / "a.py").as_uri()), inline(1, 0, 4, uri=(workspace / "a.py").as_uri())
    )
    assert len(await client.items(1)) == 1
    assert runtime.events("start")[0]["cwd"] == str(runtime.directory)
    await client.close()
    assert not proof.exists()


async def test_the_server_ends_when_the_editor_dies(servers: Servers, runtime: FakeRuntime) -> None:
    client = await servers.start()
    await client.initialize()
    await client.until_engine("ready")
    client.writer.close()
    await asyncio.wait_for(servers.processes[0].wait(), 30)
    assert "Unclosed" not in servers.log()
    assert "Traceback" not in servers.log()


@pytest.mark.parametrize("transport", ["stdio", "tcp"])
@pytest.mark.parametrize("is_orderly", [True, False])
async def test_the_exit_code_tells_whether_shutdown_came_first(
    servers: Servers, transport: str, is_orderly: bool
) -> None:
    client = await servers.start(transport)
    await client.initialize()
    if is_orderly:
        await client.ask("shutdown")
    client.send(notification("exit"))
    assert await asyncio.wait_for(servers.processes[0].wait(), 30) == (0 if is_orderly else 1)
    assert "Traceback" not in servers.log()
