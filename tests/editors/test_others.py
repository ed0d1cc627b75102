"""Emacs, Helix and Vim with the configurations of `editors/`: a suggestion is seen and accepted in each."""

import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.editors.conftest import EDITORS, ROOT, STUB
from tests.editors.vscode_steps import write_program
from tests.editors.waiting import LIMIT_S, ask_until, wait_until

pytestmark = pytest.mark.editor

OTHERS = EDITORS / "others"
TREE = OTHERS / "root"
LIBRARIES = TREE / "usr" / "lib" / "x86_64-linux-gnu"
HEAD = "def add(alpha, beta):\n    "
TAIL = "\n\nprint(add(1, 2))\n"
DONE = HEAD + "return alpha + beta" + TAIL


def program(name: str, package: str) -> list[str]:
    """How a program of the unpacked packages is started."""
    if not (OTHERS / "has" / package).exists():
        pytest.skip(f"no {package} at {OTHERS}: run tests/editors/setup_others.sh")
    return [str(OTHERS / "run"), f"usr/bin/{name}"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A document in a folder of its own."""
    (tmp_path / "work").mkdir()
    file = tmp_path / "work" / "sample.py"
    file.write_text(HEAD + TAIL)
    return file


class Terminal:
    """A program in a terminal, typed into; what it draws is only kept."""

    def __init__(self, argv: list[str], environ: dict[str, str], folder: Path) -> None:
        """Start it."""
        self.drawn = b""
        self.num_seen = 0  # how much of it was there when the last keys were typed
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execvpe(argv[0], argv, {**os.environ, "TERM": "xterm-256color", **environ})

    def look(self, seconds: float) -> str:
        """Read for so long, and return what was drawn since the last keys, without the terminal's own codes."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if select.select([self._terminal], [], [], left)[0]:
                try:
                    self.drawn += os.read(self._terminal, 65536)
                except OSError:
                    break
        return re.sub(
            r"\x1b(\[[0-9;?]*[a-zA-Z]|[()][A-Z0-9]|[=>])", "", self.drawn[self.num_seen :].decode(errors="replace")
        )

    def type(self, keys: str) -> None:
        """Type keys."""
        self.num_seen = len(self.drawn)
        os.write(self._terminal, keys.encode())

    def wait_for(self, text: str, limit_s: float = LIMIT_S) -> None:
        """Read until a text was drawn since the last keys."""
        wait_until(lambda: text in self.look(0.1), f"{text!r} in a terminal", limit_s)

    def wait(self) -> None:
        """Wait until it has ended."""
        wait_until(lambda: (self.look(0.1), os.waitpid(self.pid, os.WNOHANG) != (0, 0))[1], "the program's end")
        os.close(self._terminal)


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    """Terminals to be ended after a test that failed."""
    started: list[Terminal] = []
    yield started
    for terminal in started:
        try:
            os.kill(terminal.pid, 9)
            os.waitpid(terminal.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


@pytest.mark.parametrize(("client", "seen"), [("lsp-mode", "GHOST"), ("eglot", "CANDIDATES")])
def test_emacs(file: Path, tmp_path: Path, client: str, seen: str) -> None:
    argv = program("emacs-nox", "emacs-nox")
    program("emacs-nox", "elpa-lsp-mode")
    (libexec,) = (TREE / "usr" / "libexec" / "emacs").glob("*/*")
    (share,) = (TREE / "usr" / "share" / "emacs").glob("[0-9]*")
    lisp = [share / "lisp", *(share / "lisp").glob("*/"), *(share / "../site-lisp/elpa-src").glob("*/")]
    environ = {
        **os.environ,
        "HOME": str(tmp_path),
        "EMACSDATA": str(share / "etc"),
        "EMACSDOC": str(share / "etc"),
        "EMACSPATH": f"{libexec}:{os.environ['PATH']}",
        "EMACSLOADPATH": ":".join(str(folder) for folder in lisp if folder.name not in ("obsolete", "leim")),
        "TEST_COMMAND": " ".join([*STUB, "lsp"]),
        "TEST_CLIENT": client,
        "TEST_FILE": str(file),
    }
    file.write_text(HEAD + "r" + TAIL)
    dump = next(libexec.glob("*.pdmp"))
    script = ROOT / "tests" / "editors" / "emacs.el"
    command = [*argv, f"--dump-file={dump}", "--batch", "-l", str(script)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert seen in done.stderr
    assert file.read_text() == DONE


def test_helix(file: Path, tmp_path: Path, terminals: list[Terminal]) -> None:
    argv = program("hx", "hx")
    settings = tmp_path / ".config" / "helix"
    settings.mkdir(parents=True)
    text = (ROOT / "editors" / "helix" / "languages.toml").read_text()
    stub, *arguments = [*STUB, "lsp"]
    listed = ", ".join(f'"{argument}"' for argument in arguments)
    text = text.replace('command = "tabcast"', f'command = "{stub}"').replace('args = ["lsp"]', f"args = [{listed}]")
    (settings / "languages.toml").write_text(text)
    (settings / "config.toml").write_text("[editor]\ncompletion-trigger-len = 1\n")
    runtime = next(iter(TREE.glob("usr/*/helix/runtime")), TREE)
    environ = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / ".config"), "HELIX_RUNTIME": str(runtime)}
    terminal = Terminal([*argv, str(file)], environ, file.parent)
    terminals.append(terminal)
    terminal.wait_for("NOR")  # the mode, in the status line
    terminal.type("jA")
    terminal.wait_for("INS")
    terminal.type("r")
    try:
        terminal.wait_for("return alpha + beta", limit_s=10)
    except AssertionError:  # the server was not there yet: Control+x asks again
        ask_until(lambda: terminal.type("\x18"), lambda: "return alpha + beta" in terminal.look(0.1), "the suggestion")
    terminal.type("\t\r\x1b")
    terminal.wait_for("NOR")
    terminal.type(":wq\r")
    terminal.wait()
    assert file.read_text() == DONE


def test_vim_with_ale(file: Path, tmp_path: Path, terminals: list[Terminal]) -> None:
    argv = program("vim.basic", "vim")
    program("vim.basic", "vim-ale")
    (tmp_path / "bin").mkdir()
    write_program(tmp_path / "bin" / "tabcast", *STUB)
    vimfiles = TREE / "usr" / "share" / "vim" / "vimfiles"
    (tmp_path / ".vimrc").write_text(
        f"set nocompatible packpath^={vimfiles} noswapfile\n"
        f"filetype plugin on\n"
        f"source {ROOT / 'editors' / 'vim' / 'ale.vim'}\n"
    )
    (runtime,) = (TREE / "usr" / "share" / "vim").glob("vim[0-9]*")
    environ = {
        "HOME": str(tmp_path),
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "VIMRUNTIME": str(runtime),
    }
    terminal = Terminal([*argv, str(file)], environ, file.parent)
    terminals.append(terminal)
    terminal.wait_for("def add")
    terminal.type("jA")
    terminal.wait_for("INSERT")
    # The server may not be there yet when the first keys are typed.
    terminal.type("re")
    ask_until(lambda: terminal.type("\x08e"), lambda: "return alpha + beta" in terminal.look(0.1), "the suggestion")
    terminal.type("\x0e\x19\x1b:wq\r")
    terminal.wait()
    assert file.read_text() == DONE
