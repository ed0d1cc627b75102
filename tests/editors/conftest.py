"""Where the editors are, and which servers they talk to."""

import os
import sys
from pathlib import Path

import pytest

from tests.conftest import HAS_BUNDLED

ROOT = Path(__file__).resolve().parents[2]
EDITORS = Path(os.environ.get("TABCAST_EDITORS_DIR") or ROOT / ".editors")
EXTENSION = ROOT / "editors" / "vscode"
PACKAGE = EXTENSION / "tabcast.vsix"
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
    """A folder with VS Code's workbench and a browser to show it; the extension is packed in the tree."""
    directory = EDITORS / "vscode"
    if not any(directory.glob("installed-*")) or not PACKAGE.exists():
        pytest.skip(f"no VS Code at {directory}: run tests/editors/setup_vscode.sh")
    sources = [*(EXTENSION / "src").iterdir(), EXTENSION / "package.json"]
    if any(source.stat().st_mtime > PACKAGE.stat().st_mtime for source in sources):
        pytest.fail(f"{PACKAGE.name} is older than its sources: run tests/editors/setup_vscode.sh")
    return directory


@pytest.fixture
def tabcast_command() -> list[str]:
    """The real language server, whose engine runs the shipped models."""
    if not HAS_BUNDLED:
        pytest.skip("no model pair in decoding/bundled")
    return [str(TABCAST), "lsp"]
