"""Model folders that are spoiled at random, and workspaces that are made to hurt."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.campaign import Campaign
from tests.lsp.conftest import FakeRuntime, Servers
from tests.lsp.raw_client import did_open, inline

FIRST = 1_000_000  # seeds that the suite doesn't try


@pytest.mark.parametrize("kind", ["gguf", "folder"])
def test_spoiled_models_are_refused_by_a_sentence(
    kind: str, tiny_model: Path, campaign: Campaign, tmp_path: Path
) -> None:
    path = tmp_path / "model.gguf"
    if kind == "folder":
        path = shutil.copytree(tiny_model, tmp_path / "model")
    command = [sys.executable, "-m", "tests.fuzzing", str(path), str(FIRST), str(campaign.model_folders)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout)["refused"]


def _hostile_workspace(folder: Path, num_files: int) -> None:
    folder.mkdir()
    if os.name == "posix":
        (folder / "loop").symlink_to(folder)
        os.mkfifo(folder / "pipe.py")
        (folder / "zero.py").symlink_to("/dev/zero")
        (folder / "closed.py").write_text("x = 1\n")
        (folder / "closed.py").chmod(0)
    (folder / "binary.py").write_bytes(bytes(range(256)) * 100)
    (folder / "long_line.py").write_text("x = " + "(" * 300_000)
    (folder / "deep").mkdir()
    deepest = folder / "deep"
    for level in range(60):
        deepest = deepest / f"d{level}"
        deepest.mkdir()
    (folder / ".gitignore").write_text("\n".join("**/" * 20 + f"*{number}" for number in range(200)) + "\n[\\\n!\n")
    (folder / ".git").write_text("gitdir: ../../../../etc\n")
    for number in range(num_files):
        (folder / f"f{number}.py").write_text(f"def f{number}(a):\n    return a + {number}\n")


async def test_a_hostile_workspace_holds_up_no_suggestion(
    servers: Servers, runtime: FakeRuntime, campaign: Campaign, tmp_path: Path
) -> None:
    workspace = tmp_path / "hostile"
    _hostile_workspace(workspace, campaign.http_requests)
    runtime.script("tail")
    client = await servers.start()
    await client.initialize(rootUri=workspace.as_uri())
    await client.until_engine("ready")
    uri = (workspace / "open.py").as_uri()
    client.send(did_open("from f1 import f1\nx = \n", uri=uri))
    for number in range(1, 11):
        client.send(inline(number, 1, 4, uri=uri, kind=1))
        assert await client.items(number)
    await client.close()
    assert await servers.processes[-1].wait() == 0
