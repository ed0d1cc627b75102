"""Where the editors are, and which servers they talk to."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EDITORS = Path(os.environ.get("TABCAST_EDITORS_DIR") or ROOT / ".editors")
TABCAST = Path(sys.executable).with_name("tabcast")


@pytest.fixture(scope="session")
def nvim_program() -> Path:
    """A Neovim with built-in inline completion."""
    program = EDITORS / "neovim" / "bin" / "nvim"
    if not program.exists():
        pytest.skip(f"no Neovim at {program}: run tests/editors/setup_neovim.sh")
    return program


@pytest.fixture(scope="session")
def vscode_dir() -> Path:
    """A folder with VS Code's workbench, a browser to show it, and a packed extension in the tree."""
    directory = EDITORS / "vscode"
    if not any(directory.glob("installed-*")) or not (ROOT / "editors" / "vscode" / "tabcast.vsix").exists():
        pytest.skip(f"no VS Code at {directory}: run tests/editors/setup_vscode.sh")
    return directory


@pytest.fixture
def tabcast_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The real language server with the shipped models and an engine of its own, which is stopped afterwards."""
    if not list((ROOT / "decoding" / "bundled").glob("**/*.safetensors")):
        pytest.skip("no model pair in decoding/bundled")
    monkeypatch.setenv("TABCAST_RUNTIME_DIR", str(tmp_path / "runtime"))
    yield [str(TABCAST), "lsp"]
    subprocess.run([TABCAST, "engine", "stop"], check=False, stdin=subprocess.DEVNULL, timeout=60)
