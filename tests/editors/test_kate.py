"""Kate with the configuration of `editors/`, on a screen that nobody sees.

Only where `tests/editors/setup_others.sh --kate` was run: what it downloads is 240 MB.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.editors.conftest import EDITORS, ROOT, STUB
from tests.editors.vscode_steps import write_program
from tests.editors.waiting import ask_until, wait_until

pytestmark = pytest.mark.editor

OTHERS = EDITORS / "others"
DOCUMENT = "def add(alpha, beta):\n    {}\n\nprint(add(1, 2))\n"
# Kate's pop-up is a part of its window, so it shows as a change of the picture that a few letters don't make.
POP_UP_BYTES = 4000
# So that what pops up is the server's alone.
WITHOUT_OWN_COMPLETIONS = "[KTextEditor View]\nKeyword Completion=false\nWord Completion=false\n"


class Screen:
    """An X server without hardware, and the keys that are typed into it."""

    def __init__(self, folder: Path) -> None:
        """Start it; its picture is a file in the folder."""
        reading, writing = os.pipe()
        # It would start anew when the last client leaves, and take a Kate with it that has just come.
        argv = ["Xvfb", "-noreset", "-displayfd", str(writing), "-screen", "0", "800x600x24", "-nolisten", "tcp"]
        self._server = subprocess.Popen(
            [*argv, "-fbdir", str(folder)], pass_fds=[writing], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(writing)
        with os.fdopen(reading) as told:
            number = told.readline().strip()
        assert number, "Xvfb did not start"
        self.environ = {"DISPLAY": f":{number}"}
        self._picture = folder / "Xvfb_screen0"

    def do(self, *argv: str) -> str:
        """What xdotool answers."""
        environ = {**os.environ, **self.environ}
        return subprocess.run(
            ["xdotool", *argv], env=environ, capture_output=True, text=True, check=False, timeout=30
        ).stdout

    def windows(self, *which: str) -> list[str]:
        """The windows that are shown, by class or name."""
        return self.do("search", "--onlyvisible", *which).split()

    def picture(self) -> bytes:
        """What is shown."""
        return self._picture.read_bytes()

    def close(self) -> None:
        """End it."""
        self._server.terminate()
        self._server.wait()


@pytest.fixture
def screen(tmp_path: Path) -> Iterator[Screen]:
    """A screen of the test's own."""
    if not (OTHERS / "has" / "kate").exists() or not shutil.which("Xvfb") or not shutil.which("xdotool"):
        pytest.skip("no Kate: run tests/editors/setup_others.sh --kate")
    (tmp_path / "screen").mkdir()
    screen = Screen(tmp_path / "screen")
    yield screen
    screen.close()


@pytest.fixture
def file(tmp_path: Path, screen: Screen) -> Iterator[Path]:
    """A document that Kate shows with the cursor in its second line, in a home with our settings and nothing else."""
    settings = tmp_path / ".config" / "kate" / "lspclient"
    settings.mkdir(parents=True)
    (tmp_path / ".config" / "katerc").write_text(WITHOUT_OWN_COMPLETIONS)
    shutil.copy(ROOT / "editors" / "kate" / "settings.json", settings)
    (tmp_path / "bin").mkdir()
    write_program(tmp_path / "bin" / "tabcast", *STUB)
    (tmp_path / "work").mkdir()
    file = tmp_path / "work" / "sample.py"
    file.write_text(DOCUMENT.format(""))
    root = OTHERS / "root"
    environ = {name: value for name, value in os.environ.items() if not re.match("XDG_|QT_|KDE|DBUS|WAYLAND", name)}
    environ |= {
        "HOME": str(tmp_path),
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "QT_PLUGIN_PATH": str(root / "usr" / "lib" / "x86_64-linux-gnu" / "qt6" / "plugins"),
        "QT_QPA_PLATFORM": "xcb",
        "XDG_DATA_DIRS": str(root / "usr" / "share"),
        **screen.environ,
    }
    argv = [str(OTHERS / "run"), "usr/bin/kate", "--new", str(file), "--line", "2", "--column", "5"]
    with (tmp_path / "kate.log").open("w") as log:
        kate = subprocess.Popen(argv, env=environ, stdout=log, stderr=log)
    yield file
    kate.kill()
    kate.wait()


def press_until(screen: Screen, key: str, look: Callable[[], bool], what: str) -> None:
    """Press a key, again and again if need be: a window that has just come up may not hear."""
    ask_until(lambda: (screen.do("key", key), None)[1], look, what)


def test_kate(screen: Screen, file: Path) -> None:
    (question,) = wait_until(lambda: screen.windows("--name", "LSP server start"), "Kate's question")
    # Without a window manager nothing gives a window the focus.
    screen.do("windowfocus", question)
    press_until(screen, "alt+y", lambda: not screen.windows("--name", "LSP server start"), "the question's end")
    (window,) = screen.windows("--class", "kate")
    screen.do("windowfocus", window, "key", "r", "e")
    wait_until(lambda: screen.windows("--name", re.escape(f"{file.name} *")), "the letters")
    before = screen.picture()

    def is_popped_up() -> bool:
        return sum(one != other for one, other in zip(before, screen.picture(), strict=True)) > POP_UP_BYTES

    press_until(screen, "ctrl+space", is_popped_up, "the suggestion")
    screen.do("key", "Return")
    done = DOCUMENT.format("return alpha + beta")
    press_until(screen, "ctrl+s", lambda: file.exists() and file.read_text() == done, "the document")
