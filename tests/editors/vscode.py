"""A real VS Code workbench: code-server and a headless browser, typed into and looked at.

Knows the editor, not what the language server should answer.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.editors.waiting import wait_until

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SETTINGS = {
    "chat.disableAIFeatures": True,
    "editor.inlineSuggest.enabled": True,
    "editor.minimap.enabled": False,
    "editor.wordBasedSuggestions": "off",
    "security.workspace.trust.banner": "never",
    "security.workspace.trust.startupPrompt": "never",
    "telemetry.telemetryLevel": "off",
    "update.showReleaseNotes": False,
    "window.commandCenter": False,
    "workbench.secondarySideBar.defaultVisibility": "hidden",
    "workbench.startupEditor": "none",
    "workbench.tips.enabled": False,
}
# VS Code has no keys of its own for these.
KEYBINDINGS = [
    {"key": "ctrl+alt+l", "command": "editor.action.inlineSuggest.acceptNextLine"},
    {"key": "ctrl+alt+n", "command": "editor.action.inlineSuggest.showNext"},
    {"key": "ctrl+alt+p", "command": "editor.action.inlineSuggest.showPrevious"},
]


class Workbench:
    """One code-server with the packed extension, and one browser page that shows its workbench."""

    def __init__(self, directory: Path, home: Path) -> None:
        """Name the folders; `home` takes everything that is written."""
        self._directory = directory
        self._node = str(directory / "bin" / "node")
        self.home = home
        self._processes: list[subprocess.Popen[str]] = []

    def start(
        self,
        workspace: Path,
        *packages: Path,
        is_trusted: bool,
        machine_settings: Mapping[str, Any],
        environment: Mapping[str, str],
    ) -> None:
        """Install the extensions, start the server and the browser, and wait for the workbench."""
        data = self.home / "data"
        for kind, settings in (("User", SETTINGS), ("Machine", machine_settings)):
            (data / kind).mkdir(parents=True, exist_ok=True)
            (data / kind / "settings.json").write_text(json.dumps(settings))
        (data / "User" / "keybindings.json").write_text(json.dumps(KEYBINDINGS))
        entry = self._directory / "node_modules" / "code-server" / "out" / "node" / "entry.js"
        code_server = [self._node, str(entry), "--config", str(self.home / "config.yaml")]
        code_server += ["--extensions-dir", str(self.home / "extensions"), "--user-data-dir", str(data)]
        environ = {**os.environ, "HOME": str(self.home), **environment}
        with (self.home / "install.log").open("w") as log:
            install = [*code_server, *(f"--install-extension={package}" for package in packages)]
            subprocess.run(install, check=True, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

        options = ["--auth", "none", "--bind-addr", "127.0.0.1:0", "--disable-telemetry", "--disable-update-check"]
        if is_trusted:
            options.append("--disable-workspace-trust")
        log_file = self.home / "code-server.log"
        self._spawn([*code_server, *options, str(workspace)], environ, log_file)
        listening = wait_until(
            lambda: re.search(r"listening on (http://127\.0\.0\.1:\d+/)", log_file.read_text()), "code-server"
        )
        chromium = str(self._directory / "bin" / "chromium")
        driver = [self._node, str(HERE / "drive_vscode.mjs"), str(self._directory), chromium, listening[1]]
        driver.append(str(ROOT / "artifacts" / "vscode-failed.png"))
        self._driver = self._spawn(driver, environ, self.home / "browser.log", piped=True)
        self._do("start")

    def reload(self) -> None:
        """Open the window anew, as another start of the editor would."""
        self._do("start")

    def _spawn(
        self, argv: list[str], environ: Mapping[str, str], log_file: Path, *, piped: bool = False
    ) -> subprocess.Popen[str]:
        with log_file.open("w") as log:
            process = subprocess.Popen(
                argv,
                env=environ,
                stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
                stdout=subprocess.PIPE if piped else log,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    def _do(self, action: str, **values: object) -> Any:
        stdin, stdout = self._driver.stdin, self._driver.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps({"action": action, **values}) + "\n")
        stdin.flush()
        line = stdout.readline()
        assert line, f"the browser ended: {(self.home / 'browser.log').read_text()}"
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer["value"]

    def open(self, file: Path, line: int, column: int) -> None:
        """Open a file with the cursor at a 1-based line and column."""
        self._do("open", file=str(file), line=line, column=column)

    def open_notebook(self, file: Path) -> None:
        """Open a notebook with the cursor at the end of its last cell."""
        self._do("openNotebook", file=str(file))

    def type(self, text: str) -> None:
        """Type characters."""
        self._do("type", text=text)

    def press(self, key: str) -> None:
        """Press one key, or several at once, in Playwright's notation."""
        self._do("press", key=key)

    def key_to_ghost_ms(self, key: str) -> float:
        """How long from a key to the ghost text; -1 if none came."""
        return float(self._do("latency", key=key))

    def activation_ms(self) -> int:
        """How long the extension took to be activated."""
        found = re.search(r"Activation: (\d+)ms", str(self._do("running", name="Tabcast")))
        assert found
        return int(found[1])

    def keys(self, *keys: str) -> None:
        """Press keys one after another, as fast as the browser takes them."""
        self._do("keys", keys=keys)

    def processes(self, name: str) -> list[int]:
        """The process ids of the programs under this workbench whose command line has this name."""
        home = os.fsencode(self.home)
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if name.encode() in (folder / "cmdline").read_bytes() and home in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
        return found

    def ghost(self) -> str:
        """The ghost text on the screen, empty where there is none."""
        return str(self._do("ghost"))

    def text(self) -> str:
        """What is in view of the document in front."""
        return str(self._do("text"))

    def command(self, title: str) -> None:
        """Run a command of the palette."""
        self._do("command", title=title)

    def status(self) -> str:
        """What the language status menu says."""
        return str(self._do("status"))

    def bar(self, label: str) -> str:
        """Click the item in the status bar once it reads so, and return what its menu offers."""
        return str(self._do("bar", label=label))

    def buttons(self) -> list[str]:
        """What messages let the user choose."""
        return list(self._do("buttons"))

    def choices(self, title: str) -> list[str]:
        """Run a command of the palette that asks, and return what it offers."""
        return list(self._do("choices", title=title))

    def choose(self, choice: str) -> None:
        """Take one of the choices; none of this name leaves it open."""
        self._do("choose", choice=choice)

    def clear_messages(self) -> None:
        """Close all notifications."""
        self.command("Notifications: Clear All Notifications")
        wait_until(lambda: not self.messages(), "the notifications' end")

    def click(self, button: str) -> None:
        """Choose a button of a message."""
        self._do("click", text=button)

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Change the machine's settings while the workbench runs, in place of those of the start."""
        (self.home / "data" / "Machine" / "settings.json").write_text(json.dumps(settings))

    def messages(self) -> list[str]:
        """What notifications and dialogues say."""
        return list(self._do("messages"))

    def screenshot(self, file: Path) -> None:
        """Keep a picture of the window."""
        file.parent.mkdir(parents=True, exist_ok=True)
        self._do("screenshot", file=str(file))

    def close(self) -> None:
        """End the browser and the server, with everything that they started."""
        for process in reversed(self._processes):
            if process.stdin is not None:
                process.stdin.close()
            else:
                process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
