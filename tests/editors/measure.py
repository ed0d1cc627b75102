"""Key-to-ghost-text latency in real Neovim and VS Code with the real server: median and 95th percentile, in ms.

Run from the repository's root: `python -m tests.editors.measure [--keys N] [neovim] [neovim-builtin] [vscode]`.
A key is typed where nothing is shown; the time ends when the ghost text is there, looked at every few milliseconds in
the editor itself. Each key is typed into another document, so that the engine is asked.
"""

import argparse
import json
import math
import os
import shlex
import statistics
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.editors.conftest import EDITORS, PACKAGE, TABCAST
from tests.editors.neovim import NAMESPACES, Neovim
from tests.editors.vscode import Workbench
from tests.editors.waiting import ask_until, wait_until
from tests.engines import stop_all

NAMES = [
    f"{verb}_{noun}"
    for verb in ("get", "set", "add", "drop", "find")
    for noun in ("name", "value", "node", "key", "next")
]


def sample(name: str) -> str:
    """A document whose last line goes on after one more key, a period; each name gives another one."""
    head = "class Node:\n    def __init__(self, name, value):\n        self.name = name\n        self.value = value\n"
    return f"{head}\n    def {name}(self):\n        return self"


# Neovim handles keys only between calls, so a timer looks on.
NEOVIM_KEY = """
local namespace = vim.api.nvim_create_namespace(...)
local start, timer = vim.uv.hrtime(), vim.uv.new_timer()
_G.measured_ms = nil
timer:start(0, 1, vim.schedule_wrap(function()
  local ms = (vim.uv.hrtime() - start) / 1e6
  local is_shown = #vim.api.nvim_buf_get_extmarks(0, namespace, 0, -1, {}) > 0
  if not _G.measured_ms and (is_shown or ms > 5000) then
    _G.measured_ms = is_shown and ms or -1
    timer:close()
  end
end))
vim.api.nvim_input("A.") -- in one go: what entering the mode asks for is not what is timed
"""


def measure_neovim(home: Path, shows: str, num_keys: int) -> Iterator[float]:
    """Milliseconds for each key that got ghost text."""
    file = home / "first.py"
    file.write_text(sample("first") + "\n")
    editor = Neovim(EDITORS / "neovim" / "bin" / "nvim", [str(TABCAST), "lsp"], file, home, shows)
    try:
        wait_until(editor.is_attached, "the language server")
        editor.type("GA.")
        ask_until(lambda: editor.type("<BS>."), editor.ghost, "ghost text")
        for number in range(num_keys):
            file = home / f"{number}.py"
            file.write_text(sample(NAMES[number % len(NAMES)]) + "\n")
            editor.open(file)
            wait_until(editor.is_attached, "the language server")
            editor.type("G")
            wait_until(lambda: editor.lua("return vim.api.nvim_get_mode().mode") == "n", "normal mode")
            editor.lua(NEOVIM_KEY, NAMESPACES[shows])
            yield float(wait_until(lambda: editor.lua("return _G.measured_ms"), "a time"))
    finally:
        editor.close()


def measure_vscode(home: Path, num_keys: int, figures: dict[str, object]) -> Iterator[float]:
    """Milliseconds for each key that got ghost text; sizes and the time of activation go into `figures`."""
    with zipfile.ZipFile(PACKAGE) as package:
        figures["bundleBytes"] = package.getinfo("extension/out/extension.js").file_size
    figures["packageBytes"] = PACKAGE.stat().st_size
    folder = home / "sample"
    folder.mkdir()
    (home / ".profile").write_text(f"PATH={shlex.quote(str(TABCAST.parent))}:$PATH\n")
    workbench = Workbench(EDITORS / "vscode", home)
    try:
        workbench.start(
            folder,
            PACKAGE,
            is_trusted=True,
            machine_settings={"tabcast.minConfidence": 0, "tabcast.server.model": "bundled"},
            environment={"SHELL": "/bin/bash"},  # the others come from this process, but HOME
        )
        for number in range(num_keys + 1):
            file = folder / f"{number}.py"
            file.write_text(sample(NAMES[number % len(NAMES)]) + "\n")
            workbench.open(file, 7, 20)
            if number == 0:
                workbench.type(".")

                def type_again() -> None:
                    workbench.press("Backspace")
                    workbench.type(".")

                ask_until(type_again, workbench.ghost, "ghost text")
                continue
            time.sleep(0.3)
            yield workbench.key_to_ghost_ms(".")
        figures["activationMs"] = workbench.activation_ms()
    finally:
        workbench.close()


def main() -> int:
    """Measure what is asked for, and print a JSON object for each editor."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--keys", type=int, default=50)
    parser.add_argument("editors", nargs="*", default=["neovim", "neovim-builtin", "vscode"])
    options = parser.parse_args()
    others: dict[str, object] = {}
    ways: dict[str, Callable[[Path], Iterator[float]]] = {
        "neovim": lambda home: measure_neovim(home, "own", options.keys),
        "neovim-builtin": lambda home: measure_neovim(home, "builtin", options.keys),
        "vscode": lambda home: measure_vscode(home, options.keys, others),
    }
    for name in options.editors:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # an engine may still be ending
            home = Path(folder)
            os.environ["TABCAST_RUNTIME_DIR"] = str(home / "run")
            os.environ["TABCAST_CONFIG"] = str(home / "config.toml")
            try:
                times_ms = list(ways[name](home))
            finally:
                stop_all(home / "run")
        shown = sorted(ms for ms in times_ms if ms >= 0)
        figures = {
            "editor": name,
            "keys": len(times_ms),
            "shown": len(shown),
            "medianMs": round(statistics.median(shown), 1) if shown else None,
            "p95Ms": round(shown[math.ceil(0.95 * len(shown)) - 1], 1) if shown else None,
            **others,
        }
        sys.stdout.write(json.dumps(figures) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
