"""A code model is offered in VS Code's real workbench once, and set up or undone by commands; never without a yes."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.editors.conftest import PACKAGE, STUB
from tests.editors.vscode import Workbench
from tests.editors.vscode_steps import write_program
from tests.editors.waiting import wait_until

pytestmark = pytest.mark.editor

FACTS = "Coder-1.5B, Q4_K_M: 1.1 GB to fetch, 1.6 GB of memory, about 31 tokens a second"
OFFER = f"Tabcast runs its small demonstration model. Set up a real code model? {FACTS}."
RECOMMEND = {"action": "recommend"}


@pytest.fixture
def workbench(vscode_dir: Path, tmp_path: Path) -> Iterator[Workbench]:
    """A workbench on an untrusted workspace; its server runs the shipped pair, and writes setups into `asked`."""
    program = write_program(tmp_path / "stub", *STUB, f"--setup={tmp_path / 'asked'}")
    (tmp_path / "workspace").mkdir()
    workbench = Workbench(vscode_dir, tmp_path)
    settings = {"tabcast.server.path": str(program)}
    try:
        workbench.start(tmp_path / "workspace", PACKAGE, is_trusted=False, machine_settings=settings, environment={})
        yield workbench
    finally:
        workbench.close()


def asked(workbench: Workbench) -> list[dict[str, str]]:
    file = workbench.home / "asked"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def see_message(workbench: Workbench, part: str) -> None:
    wait_until(lambda: any(part in message for message in workbench.messages()), f"a message with {part!r}")


def see_status(workbench: Workbench) -> None:
    """Wait for what the server tells; the language status shows with an editor only."""
    file = workbench.home / "workspace" / "sample.py"
    file.write_text("x = 1\n")
    workbench.open(file, 1, 1)
    wait_until(lambda: "the shipped pair" in workbench.status(), "the status")


def restart_server(workbench: Workbench) -> None:
    (pid,) = workbench.processes("stub_server.py")
    workbench.command("Tabcast: Restart Language Server")
    wait_until(lambda: [new for new in workbench.processes("stub_server.py") if new != pid], "another server")
    see_status(workbench)


def test_a_model_is_offered_once_and_commands_set_it_up(workbench: Workbench) -> None:
    wait_until(lambda: workbench.messages() == [OFFER], "the offer")
    assert workbench.buttons() == ["Set Up", "Not Now"]
    assert asked(workbench) == [RECOMMEND]
    workbench.click("Not Now")
    restart_server(workbench)
    workbench.reload()
    see_status(workbench)
    assert (workbench.messages(), asked(workbench)) == ([], [RECOMMEND])

    workbench.command("Tabcast: Set Up a Model")
    see_message(workbench, "Set up coder-1.5b for Tabcast?")
    assert asked(workbench) == [RECOMMEND] * 2
    workbench.click("Set Up")
    see_message(workbench, "coder-1.5b is set up. It completes: fibonacci(n - 1)")
    assert asked(workbench)[2:] == [{"action": "run", "model": "coder-1.5b"}]
    workbench.clear_messages()
    workbench.command("Tabcast: Undo the Setup")
    see_message(workbench, "the setup is undone. /home/config.toml: is as it was before")
    assert asked(workbench)[3:] == [{"action": "undo"}]


def test_a_yes_to_the_offer_sets_up_what_was_shown(workbench: Workbench) -> None:
    wait_until(lambda: workbench.messages() == [OFFER], "the offer")
    workbench.click("Set Up")
    see_message(workbench, "coder-1.5b is set up.")
    assert asked(workbench) == [RECOMMEND, {"action": "run", "model": "coder-1.5b"}]
