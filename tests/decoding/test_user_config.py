"""The user's config.toml after `tabcast models use`: what was asked for, and every other line as it was."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from decoding.__main__ import main
from decoding.errors import ConfigError
from decoding.storage.user_config import set_engine_values
from tests.conftest import HAS_BUNDLED

VALUES = {"model": 'C:\\models\\"mine"', "draft": "none"}
OTHER = "[models.x]\nmodel = 'y'\n"
SET = 'model = "C:\\\\models\\\\\\"mine\\""\n'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, f'[engine]\n{SET}draft = "none"\n'),
        ("", f'[engine]\n{SET}draft = "none"\n'),
        ("[engine]\nthreads = 2\n", f'[engine]\n{SET}draft = "none"\nthreads = 2\n'),
        (
            "# mine\n[engine] # all of it\n  model = 'old' # the old one\nthreads = 2\n\n[models.x]\nmodel = 'y'\n",
            f'# mine\n[engine] # all of it\n{SET[:-1]} # the old one\ndraft = "none"\nthreads = 2\n\n{OTHER}',
        ),
        ("[models.x]\nmodel = 'y'\n", f"[models.x]\nmodel = 'y'\n\n[engine]\n{SET}draft = \"none\"\n"),
        ("[engine.fim]\norder = 'none'\n", f"[engine.fim]\norder = 'none'\n\n[engine]\n{SET}draft = \"none\"\n"),
    ],
)
def test_the_rest_of_the_file_stays(tmp_path: Path, before: str | None, after: str) -> None:
    path = tmp_path / "some" / "config.toml"
    if before is not None:
        path.parent.mkdir()
        path.write_text(before)
    set_engine_values(path, VALUES)
    assert path.read_text() == after
    assert tomllib.loads(after)["engine"].items() >= VALUES.items()
    assert [entry.name for entry in path.parent.iterdir()] == ["config.toml"]


@pytest.mark.parametrize(
    "text",
    [
        "engine = { model = 'x' }\n",
        "engine.model = 'x'\n",
        "[engine]\nmodel = '''\nx'''\n",
        "[engine]\n'model' = 'x'\n",
    ],
)
def test_a_form_that_is_not_understood_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"config\.toml has an unusual form") as caught:
        set_engine_values(path, VALUES)
    assert path.read_text() == text
    assert "\n" not in str(caught.value)


def test_a_broken_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[engine\n")
    with pytest.raises(ConfigError, match=r"config\.toml"):
        set_engine_values(path, VALUES)
    assert path.read_text() == "[engine\n"


def test_a_key_is_removed_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[engine]\nmodel = 'x'  # mine\nthreads = 2\n")
    set_engine_values(path, {"model": None, "draft": None})
    assert path.read_text() == "[engine]\nthreads = 2\n"


def test_a_link_and_its_mode_stay(tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.toml"
    real.write_text("")
    real.chmod(0o600)
    link = tmp_path / "config.toml"
    link.symlink_to(real)
    set_engine_values(link, VALUES)
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o600
    assert "model" in real.read_text()


@pytest.mark.skipif(not HAS_BUNDLED, reason="no bundled model in this checkout")
def test_choosing_a_model_says_what_becomes_of_an_engine_that_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`tabcast engine stop` would look for an engine with the new file, and find none."""
    monkeypatch.setenv("TABCAST_IDLE_MINUTES", "3")
    assert main(["models", "use", "bundled"]) == 0
    told = capsys.readouterr().err
    assert "ends after 3 minutes without a request" in told
    assert "engine stop" not in told
