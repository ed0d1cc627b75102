"""The grammar of the command line: help, version, usage errors."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import decoding.__main__ as engine_program
from decoding.errors import Interrupted
from decoding.protocol import CATALOGUE_FILES, VERSION
from lsp_server.cli import main
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


def _pressed(_: object) -> int:
    raise KeyboardInterrupt


def test_ctrl_c_is_one_line_and_exit_code_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "lsp_server.cli.doctor", SimpleNamespace(run=_pressed))
    assert main(["doctor"]) == 130
    monkeypatch.setattr("decoding.command_line.run", _pressed)
    assert engine_program.main(["models"]) == 130
    assert capsys.readouterr().err == "tabcast: interrupted\n" * 2


def test_the_engines_side_says_what_goes_on_after_ctrl_c(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def pull(*_: object) -> int:
        raise Interrupted("interrupted: the same command goes on")

    monkeypatch.setattr("decoding.cli.models.run", pull)
    assert engine_program.main(["models"]) == 130
    assert capsys.readouterr().err == "tabcast: interrupted: the same command goes on\n"


def test_the_engines_program_imports_nothing_before_it_can_be_interrupted() -> None:
    """An import that Ctrl-C breaks off would otherwise end in a traceback."""
    code = "import sys, decoding.__main__; print(*sys.modules, sep='\\n')"
    loaded = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"numpy", "torch", "decoding.config"} & set(loaded.splitlines())


def test_a_full_disk_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def write(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/full/file")

    monkeypatch.setattr("decoding.cli.uninstall.run", write)
    assert engine_program.main(["uninstall"]) == 2
    assert capsys.readouterr().err == "tabcast: /full/file: No space left on device\n"
