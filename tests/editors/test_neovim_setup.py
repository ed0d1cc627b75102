"""`:Tabcast setup` in a real Neovim: what is shown, what is asked of the server, and that nothing is done unasked."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.editors.conftest import StartNeovim
from tests.editors.neovim import Neovim
from tests.editors.neovim_steps import EMPTY
from tests.editors.waiting import wait_until

pytestmark = pytest.mark.editor

RUN = {"action": "run", "model": "coder-1.5b"}


class SettingUp:
    """A Neovim whose messages and questions are kept, and what its server was asked for."""

    def __init__(self, start: StartNeovim, folder: Path, *stub: str) -> None:
        self._file = folder / "asked"
        self.editor: Neovim = start(EMPTY, stub=(f"--setup={self._file}", *stub))
        self.editor.lua(
            "_G.said, _G.questions = {}, {} "
            "vim.notify = function(text, level) table.insert(said, { text, level or vim.log.levels.INFO }) end "
            "vim.ui.select = function(items, options, take) "
            "  table.insert(questions, options.prompt) _G.take, _G.items = take, items "
            "end"
        )

    def command(self, text: str) -> None:
        self.editor.lua("vim.cmd(...)", f"Tabcast {text}")

    def asked(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._file.read_text().splitlines()] if self._file.exists() else []

    def answer(self, number: int | None) -> str:
        """Choose an item of the question that is shown, or none; return the question."""
        (question,) = wait_until(lambda: self.editor.lua("return questions"), "the question")
        self.editor.lua("take(items[...])" if number is not None else "take(nil)", number)
        return str(question)

    def said(self, part: str) -> tuple[str, int]:
        """Wait for a message, and return it with its level."""

        def look() -> list[Any]:
            return [message for message in self.editor.lua("return said") if part in message[0]]

        ((text, level),) = wait_until(look, f"a message with {part!r}")
        return text, level


def test_a_yes_sets_up_what_was_shown(start_neovim: StartNeovim, tmp_path: Path) -> None:
    setting_up = SettingUp(start_neovim, tmp_path)
    setting_up.command("setup")
    shown, _ = setting_up.said("recommended is")
    assert "Coder-1.5B, Q4_K_M: 1.1 GB to fetch, 1.6 GB of memory, about 31 tokens a second" in shown
    assert shown.endswith("\nthe largest that is quick here")
    assert setting_up.asked() == [{"action": "recommend"}]
    assert setting_up.answer(1) == "Set up coder-1.5b?"
    text, _ = setting_up.said("is set up")
    assert "coder-1.5b is set up. It completes: fibonacci(n - 1)\n" in text
    assert setting_up.asked() == [{"action": "recommend"}, RUN]


@pytest.mark.parametrize("answer", [2, None])
def test_a_no_does_nothing(start_neovim: StartNeovim, tmp_path: Path, answer: int | None) -> None:
    setting_up = SettingUp(start_neovim, tmp_path)
    setting_up.command("setup")
    setting_up.answer(answer)
    setting_up.command("setup undo")  # answered after whatever the no would have asked for
    text, _ = setting_up.said("undone")
    assert text == "Tabcast: the setup is undone. /home/config.toml: is as it was before"
    assert setting_up.asked() == [{"action": "recommend"}, {"action": "undo"}]


def test_what_is_in_use_is_not_asked_about(start_neovim: StartNeovim, tmp_path: Path) -> None:
    setting_up = SettingUp(start_neovim, tmp_path, "--setup-source=in use")
    setting_up.command("setup")
    setting_up.said("recommended is")
    assert setting_up.editor.lua("vim.wait(50) return questions") == []


def test_a_failure_is_an_error(start_neovim: StartNeovim, tmp_path: Path) -> None:
    setting_up = SettingUp(start_neovim, tmp_path, "--setup-fails")
    setting_up.command("setup")
    text, level = setting_up.said("no space is left")
    assert (text, level) == ("Tabcast: no space is left", setting_up.editor.lua("return vim.log.levels.ERROR"))
    setting_up.command("setup again")
    setting_up.said("setup takes undo, cancel or nothing, not again")


def test_a_setup_that_runs_can_be_cancelled(start_neovim: StartNeovim, tmp_path: Path) -> None:
    setting_up = SettingUp(start_neovim, tmp_path)
    (tmp_path / "hold").touch()
    setting_up.command("setup")
    wait_until(setting_up.asked, "the request")
    setting_up.command("setup")
    setting_up.said("running already")
    setting_up.command("setup cancel")
    setting_up.said("is cancelled")
    setting_up.command("setup cancel")
    setting_up.said("no setup is running")
    (tmp_path / "hold").unlink()
    setting_up.command("setup undo")
    setting_up.said("undone")
    assert [wish["action"] for wish in setting_up.asked()] == ["recommend", "undo"]
    assert setting_up.editor.lua("return questions") == []


def test_the_health_report_names_the_command(start_neovim: StartNeovim, tmp_path: Path) -> None:
    editor = SettingUp(start_neovim, tmp_path).editor
    editor.lua("vim.cmd('checkhealth tabcast')")
    report = wait_until(lambda: editor.text() if "log of the server" in editor.text() else "", "the report")
    assert "ready: the shipped pair cpu" in report
    assert "`:Tabcast setup` recommends a real code model" in report


def test_the_command_completes_what_setup_takes(start_neovim: StartNeovim) -> None:
    editor = start_neovim(EMPTY)
    assert editor.lua("return vim.fn.getcompletion('Tabcast setup ', 'cmdline')") == ["cancel", "undo"]
