"""Where the editors are, and which servers they talk to."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import HAS_BUNDLED
from tests.editors.neovim import Neovim
from tests.editors.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
EDITORS = Path(os.environ.get("TABCAST_EDITORS_DIR") or ROOT / ".editors")
EXTENSION = ROOT / "editors" / "vscode"
PACKAGE = EXTENSION / "tabcast.vsix"
TABCAST = Path(sys.executable).with_name("tabcast")
STUB = [sys.executable, str(Path(__file__).with_name("stub_server.py"))]

StartNeovim = Callable[..., Neovim]


def find_neovim(name: str) -> Path:
    """A program that tests/editors/setup_neovim.sh makes available."""
    program = EDITORS / "neovim" / "bin" / name
    if not program.exists():
        pytest.skip(f"no Neovim at {program}: run tests/editors/setup_neovim.sh")
    return program


@pytest.fixture(scope="session", params=["nvim", "nvim-0.11"])
def nvim_program(request: pytest.FixtureRequest) -> Path:
    """A current Neovim, and the oldest that the plugin is for."""
    return find_neovim(request.param)


@pytest.fixture
def start_neovim(nvim_program: Path, tmp_path: Path) -> Iterator[StartNeovim]:
    """Starts Neovim on a document with the cursor, in normal mode, at the end of the document's second line.

    The stub server answers nothing while there is a file `hold` in the test's folder.
    """
    running: list[Neovim] = []

    def start(
        document: str,
        *,
        command: list[str] | None = None,
        stub: tuple[str, ...] = (),
        shows: str = "own",
        waits: bool = True,
    ) -> Neovim:
        file = tmp_path / "sample.py"
        file.write_text(document + "\n")
        command = command or [*STUB, f"--hold={tmp_path / 'hold'}", *stub, "lsp"]
        editor = Neovim(nvim_program, command, file, tmp_path / "home", shows)
        running.append(editor)
        if waits:
            wait_until(editor.is_attached, "the language server")
        editor.type("2G$")
        return editor

    yield start
    for editor in running:
        editor.close()


@pytest.fixture(scope="module")
def shared_neovim(nvim_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Neovim]:
    """One Neovim with the stub server for all cases of a table."""
    folder = tmp_path_factory.mktemp("shared")
    (folder / "first.py").write_text("\n")
    editor = Neovim(nvim_program, [*STUB, "lsp"], folder / "first.py", folder / "home")
    wait_until(editor.is_attached, "the language server")
    yield editor
    editor.close()


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
