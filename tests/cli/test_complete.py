"""`tabcast complete`: what it prints, that it is what an editor shows, and how it fails."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from decoding.protocol import CompletionRequest
from lsp_server.cli import complete, main
from lsp_server.cli.demo.editor import editor
from lsp_server.engine.stream import Part
from tests.cli.conftest import Run, error_line
from tests.gguf_models import tiny_gguf
from tests.lsp.raw_client import did_open, inline
from tests.lsp.test_bounds import answer, served
from tests.lsp.test_sequences import Engine

SOURCE = "import os\n\n\ndef names(folder):\n    found = []\n    return \n"
KEYS = ["text", "tokens", "steps", "tokens_per_step", "ms", "drafters", "reason", "notice"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "sample.py"
    path.write_text(SOURCE, encoding="utf-8")
    return path


def test_prints_json_with_these_keys(tabcast: Run, engine_options: list[str], file: Path) -> None:
    result = tabcast("complete", file, "--line", 6, "--column", 12, "--max-tokens", 9, "--json", *engine_options)
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    assert list(answer) == KEYS
    assert 0 < answer["tokens"] <= 9
    assert answer["steps"] > 0


def test_a_gguf_file_is_a_model(tabcast: Run, tiny_model: Path, tmp_path: Path, file: Path) -> None:
    model = tiny_gguf(tmp_path / "tiny.gguf", tiny_model)
    command = ["complete", file, "--line", 6, "--column", 12, "--max-tokens", 9, "--json"]
    result = tabcast(*command, "--model", model, "--device", "cpu")
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    assert list(answer) == KEYS
    assert answer["tokens"] > 0
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(model.read_bytes()[:-64])
    assert "is cut short" in error_line(tabcast(*command, "--model", cut, "--device", "cpu"))


def test_plain_decoding_gives_the_same_text(tabcast: Run, engine_options: list[str], file: Path) -> None:
    command = ["complete", file, "--line", 6, "--column", 12, "--json", *engine_options]
    named = ["--method", "lookup+heads"]
    speculative, plain, some = (json.loads(tabcast(*command, *more).stdout) for more in ([], ["--plain"], named))
    assert some["text"] == plain["text"]
    assert "heads is left out" in some["notice"]
    assert plain["notice"] == speculative["notice"] == ""
    assert speculative["text"] == plain["text"]
    assert plain["drafters"] == {}
    assert plain["tokens_per_step"] <= 1
    assert speculative["steps"] <= plain["steps"]


@pytest.mark.parametrize("cursor", [(6, 12), (3, 1), (5, 13)])
async def test_it_is_what_an_editor_shows(
    tabcast: Run,
    engine_options: list[str],
    tmp_path: Path,
    file: Path,
    cursor: tuple[int, int],
) -> None:
    line, column = cursor
    printed = tabcast("complete", file, "--line", line, "--column", column, "--json", *engine_options)
    lines = SOURCE.splitlines(keepends=True)
    prefix = "".join(lines[: line - 1]) + lines[line - 1][: column - 1]
    async with editor(tmp_path / "another", engine_options, tmp_path) as window:
        await window.wait_for_engine()
        shown = await window.suggest(file, prefix, SOURCE[len(prefix) :])
    assert json.loads(printed.stdout)["text"] == (shown.ghost if shown else "")


@dataclass
class NotingEngine(Engine):
    """Notes what it is asked."""

    asked: list[CompletionRequest] = field(default_factory=list)

    def complete(self, asked: CompletionRequest) -> AsyncGenerator[Part, None]:
        self.asked.append(asked)
        return super().complete(asked)


def asked_by_command(monkeypatch: pytest.MonkeyPatch, file: Path, line: int, column: int) -> CompletionRequest:
    engine = NotingEngine()

    @asynccontextmanager
    async def connection(_arguments: Any) -> AsyncIterator[NotingEngine]:
        yield engine

    monkeypatch.setattr(complete, "chosen_connection", connection)
    assert main(["complete", str(file), "--line", str(line + 1), "--column", str(column + 1)]) == 0
    return engine.asked[0]


async def asked_by_editor(uri: str, text: str, language: str, line: int, column: int) -> CompletionRequest:
    async with served() as editor:
        engine = editor.engine = NotingEngine()
        editor.send(did_open(text, uri, language), inline(1, line, column, uri, kind=1))
        await answer(editor, 1)
    return engine.asked[0]


@pytest.mark.parametrize(
    ("name", "language", "source", "mode"),
    [
        ("a.py", "python", "import os\n\ndef names(folder):\n    |\n", "block"),
        ("a.py", "python", "password = 'hunter2'\nnames = [one for |]\n", "line"),
        ("a.py", "python", "names = {\n    |\n}\n", "line"),
        ("a.js", "javascript", "function names(folder) {\n    |\n}\n", "block"),
        ("a.go", "go", "func names() {\n\tfor _, x := range y {|\n}\n", "block"),
        ("a.unknown", "", "some text |\n", "line"),
    ],
)
def test_it_asks_what_an_editor_asks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, language: str, source: str, mode: str
) -> None:
    file = tmp_path / name
    text = source.replace("|", "")
    file.write_text(text, encoding="utf-8")
    line, column = source[: source.index("|")].count("\n"), len(source.partition("|")[0].rpartition("\n")[2])
    by_editor = asyncio.run(asked_by_editor(file.as_uri(), text, language, line, column))
    by_command = asked_by_command(monkeypatch, file, line, column)
    # A call over several lines may be read to its end where nothing follows on the line.
    assert by_command.tabcast.line_mode == by_editor.tabcast.line_mode
    assert by_command.tabcast.line_mode in (mode, "block")
    # A command waits for the whole prompt, where an editor says how long that may take.
    assert by_editor.tabcast.latency_ms > by_command.tabcast.latency_ms == 0
    patient = replace(by_editor.tabcast, latency_ms=0, least_prefix=0, least_suffix=0, nearest_prefix=0, headers=())
    alike = replace(patient, session="")
    assert by_command == replace(by_editor, tabcast=alike)


def test_nothing_to_ask_for(tabcast: Run, tmp_path: Path) -> None:
    file = tmp_path / "empty.py"
    file.write_text("\n\n", encoding="utf-8")
    result = tabcast("complete", file, "--line", 2, "--column", 1)
    assert (result.returncode, result.stdout) == (0, "")
    assert "nothing to suggest here: the document is empty" in result.stderr


@pytest.mark.parametrize(
    ("line", "column", "message"),
    [
        (0, 1, "line 0 is outside of the file, whose lines are 1 to 7"),
        (8, 1, "line 8 is outside of the file, whose lines are 1 to 7"),
        (1, 0, "column 0 is outside of line 1, whose columns are 1 to 10"),
        (1, 11, "column 11 is outside of line 1, whose columns are 1 to 10"),
        (7, 2, "column 2 is outside of line 7, whose columns are 1 to 1"),
    ],
)
def test_cursor_outside_of_the_file(tabcast: Run, file: Path, line: int, column: int, message: str) -> None:
    result = tabcast("complete", file, "--line", line, "--column", column)
    assert result.returncode == 1
    assert error_line(result) == message


def test_columns_are_characters(tabcast: Run, tmp_path: Path) -> None:
    file = tmp_path / "wide.py"
    file.write_bytes("\ufeff# 🎉é\r\nx = 1".encode())
    result = tabcast("complete", file, "--line", 1, "--column", 6)
    assert error_line(result) == "column 6 is outside of line 1, whose columns are 1 to 5"


def test_no_such_file(tabcast: Run) -> None:
    result = tabcast("complete", "nowhere.py", "--line", 1, "--column", 1)
    assert result.returncode == 1
    assert error_line(result) == "nowhere.py: no such file"


def test_directory(tabcast: Run, tmp_path: Path) -> None:
    result = tabcast("complete", tmp_path, "--line", 1, "--column", 1)
    assert result.returncode == 1
    assert error_line(result) == f"{tmp_path} is a directory"


def test_not_utf_8(tabcast: Run, tmp_path: Path) -> None:
    file = tmp_path / "latin.py"
    file.write_bytes(b"# caf\xe9\n")
    result = tabcast("complete", file, "--line", 1, "--column", 1)
    assert result.returncode == 1
    assert error_line(result) == f"{file} is not UTF-8: byte 6 is 0xe9"


def test_model_that_is_missing(tabcast: Run, file: Path, tmp_path: Path) -> None:
    result = tabcast("complete", file, "--line", 1, "--column", 1, "--model", tmp_path / "no-model")
    assert result.returncode == 5
    assert str(tmp_path / "no-model") in error_line(result)
