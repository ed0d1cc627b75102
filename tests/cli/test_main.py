"""The grammar of the command line: help, version, usage errors."""

from pathlib import Path

import pytest

from decoding.protocol import CATALOGUE_FILES, VERSION
from lsp_server.cli.parser import build_parser, engine_arguments
from tests.cli.conftest import Run


def test_version(tabcast: Run) -> None:
    result = tabcast("--version")
    assert (result.returncode, result.stdout) == (0, f"tabcast {VERSION}\n")


def test_help_lists_subcommands_examples_and_exit_codes(tabcast: Run) -> None:
    result = tabcast("--help")
    assert result.returncode == 0
    for word in ("lsp", "complete", "demo", "engine", "doctor", "models", "examples:", "exit codes:"):
        assert word in result.stdout


@pytest.mark.parametrize("command", ["lsp", "complete", "demo", "engine", "doctor"])
def test_each_subcommand_has_help(tabcast: Run, command: str) -> None:
    result = tabcast(command, "--help")
    assert result.returncode == 0
    assert result.stdout.startswith(f"usage: tabcast {command}")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["no-such-command"],
        ["complete"],
        ["complete", "file.py", "--line", "1"],
        ["complete", "file.py", "--line", "one", "--column", "1"],
        ["complete", "file.py", "--line", "1", "--column", "1", "--max-tokens", "0"],
        ["engine"],
        ["engine", "start", "--port", "70000"],
        ["lsp", "--tcp", "8000"],
    ],
)
def test_usage_errors_exit_with_2(tabcast: Run, arguments: list[str]) -> None:
    result = tabcast(*arguments)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


def test_model_paths_become_absolute(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    options = build_parser().parse_args(["lsp", "--draft", "none", "--model", "model", "--dtype", "float32"])
    assert engine_arguments(options) == ("--model", str(tmp_path / "model"), "--draft", "none", "--dtype", "float32")


@pytest.mark.parametrize(
    "name", ["owner/model", "bundled", "none", "ollama:tiny:1b", "hf:owner/model", *CATALOGUE_FILES]
)
def test_a_name_is_no_folder_whatever_lies_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert engine_arguments(build_parser().parse_args(["lsp", "--draft", name])) == ("--draft", name)
    folder = ("--draft", str(tmp_path / name))
    assert engine_arguments(build_parser().parse_args(["lsp", "--draft", f"./{name}"])) == folder
