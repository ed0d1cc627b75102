"""How the demo prints a suggestion: ghost text by style, or by marks where styles are not to be had."""

import io
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text

from decoding.protocol import CompletionStats, Health
from lsp_server.cli.demo import report
from lsp_server.cli.demo.editor import Suggestion
from lsp_server.cli.demo.outcome import Comparison, Outcome, Shown
from lsp_server.cli.demo.scenes import SCENES
from lsp_server.cli.errors import CommandError

DIM_ITALIC = "\x1b[2;3"


def outcome(*, speculative_ids: tuple[int, ...] = (1, 2)) -> Outcome:
    suggestion = Suggestion(before="def f(x):\n    return ", ghost="x + 1", after="\n")
    plain = CompletionStats(tokens=2, steps=2, token_ids=(1, 2))
    speculative = CompletionStats(tokens=2, steps=1, token_ids=speculative_ids)
    return Outcome(
        engine=Health(status="ready", model="tiny", device="cpu"),
        shown=[Shown(scene=SCENES[0], suggestion=suggestion, wait_ms=1.0, reason="shown")],
        comparisons=[Comparison(scene=SCENES[0], plain=plain, speculative=speculative)],
    )


@pytest.mark.parametrize(
    ("variables", "is_marked"),
    [({}, True), ({"FORCE_COLOR": "1"}, False), ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, True)],
)
def test_ghost_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variables: dict[str, str], is_marked: bool
) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    report.write(outcome(), as_json=False)
    printed = capsys.readouterr().out
    assert ("«" in printed and "»" in printed) == is_marked
    assert is_marked or DIM_ITALIC in printed


def test_all_of_a_text_with_tabs_is_ghost_text() -> None:
    suggestion = Suggestion(before="if a:\n\tif b:\n\t\treturn ", ghost="c\n\telse:\n\t\treturn d", after="\nx = 1\n")
    console = Console(file=io.StringIO(), force_terminal=True, color_system="standard", width=100)
    report.write_scene(console, Shown(scene=SCENES[0], suggestion=suggestion, wait_ms=1.0, reason="shown"))
    assert isinstance(console.file, io.StringIO)
    printed = Text.from_ansi(console.file.getvalue())
    ghost = [
        printed.plain[at]
        for at in range(len(printed.plain))
        if printed.get_style_at_offset(console, at).italic and not printed.plain[at].isspace()
    ]
    assert "".join(ghost) == "celse:returnd"


def test_a_difference_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    different = outcome(speculative_ids=(1, 3))
    assert outcome().is_good
    assert not different.is_good
    report.write(different, as_json=False)
    printed = capsys.readouterr()
    assert "NO" in printed.out
    assert "differ" in printed.err


def test_a_picture_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"none/demo\.svg can't be written: No such file or directory"):
        report.save_picture(outcome(), tmp_path / "none" / "demo.svg")
