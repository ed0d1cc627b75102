"""The parts of `tabcast setup`: what is recommended, what is measured, what is put back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from decoding.cli.setup.candidate import Candidate
from decoding.cli.setup.candidates import CODE
from decoding.cli.setup.recommend import Estimate, recommend
from decoding.cli.setup.speed import SHAPE, measure
from decoding.cli.setup.writing import undo, written
from decoding.config import EngineConfig
from decoding.errors import ConfigError
from decoding.storage.setup_record import read_replaced
from decoding.storage.user_config import set_engine_values

GB = 10**9
SMALL = Candidate(
    name="small", title="Small coder", kind="Q4_K_M", source="pull", num_parameters=5 * 10**8, step_bytes=4 * 10**8,
    memory_bytes=6 * 10**8, in_blocks=True, is_code=True, download_bytes=5 * 10**8,
)  # fmt: skip
LARGE = replace(SMALL, name="large", num_parameters=15 * 10**8, step_bytes=GB, memory_bytes=14 * 10**8)
SHIPPED = replace(SMALL, name="bundled", source="bundled", num_parameters=10**7, download_bytes=0)


def chosen(*candidates: Candidate, bandwidth: float = 40e9, free: int | None = 8 * GB, unfit: str = "") -> str:
    """The name of what is recommended on a machine that reads so many bytes a second."""
    return recommend(
        candidates,
        SHIPPED,
        lambda c: Estimate(tokens=bandwidth / c.step_bytes, prompt_tokens=bandwidth * 8 / c.num_parameters),
        free,
        lambda c: "no" if c.name == unfit else "",
    ).candidate.name


def test_the_largest_model_that_is_quick_enough_is_recommended() -> None:
    assert chosen(SMALL, LARGE) == "large"
    assert chosen(SMALL, LARGE, bandwidth=8e9) == "small"
    assert chosen(SMALL, LARGE, bandwidth=2e9) == "small"  # slow, and better than nothing
    assert chosen(SMALL, LARGE, bandwidth=1e9) == "bundled"


def test_what_does_not_fit_is_not_recommended_unless_it_is_in_use() -> None:
    assert chosen(SMALL, LARGE, free=GB) == "small"
    assert chosen(SMALL, LARGE, free=GB // 2) == "bundled"
    assert chosen(SMALL, replace(LARGE, source="in use"), free=GB) == "large"
    assert chosen(SMALL, LARGE, free=None) == "large"


def test_what_is_in_use_and_will_do_is_kept() -> None:
    used = replace(SMALL, source="in use")
    assert chosen(used, LARGE) == "small"
    assert chosen(replace(LARGE, source="in use"), SMALL, bandwidth=8e9) == "small"


def test_what_is_on_the_disk_counts_double() -> None:
    here = replace(SMALL, name="here", source="disk", num_parameters=8 * 10**8)
    assert chosen(here, LARGE) == "here"
    assert chosen(replace(here, num_parameters=7 * 10**8), LARGE) == "large"
    assert chosen(here, LARGE, unfit="here") == "large"
    assert chosen(replace(here, is_code=False), LARGE) == "large"


@pytest.mark.parametrize(
    ("name", "is_code"),
    [
        ("qwen2.5-coder:1.5b", True),
        ("codellama:7b-code", True),
        ("codestral", True),
        ("starcoder2:3b", True),
        ("Mellum-4b", True),
        ("llama3.2:1b", False),
        ("qwen2.5:7b", False),
    ],
)
def test_a_models_name_tells_whether_it_writes_code(name: str, is_code: bool) -> None:
    assert (CODE.search(name) is not None) == is_code


@pytest.mark.parametrize("in_blocks", [True, False])
def test_a_model_with_made_up_weights_is_timed(in_blocks: bool) -> None:
    tiny = replace(SHAPE, layers=1, width=256, heads=2, vocabulary=512)
    speed = measure(EngineConfig(device="cpu"), in_blocks=in_blocks, shape=tiny)
    assert 0 < speed.bytes_per_second < 1e14
    assert 0 < speed.products_per_second < 1e16
    assert speed.tokens_per_second(10**9) == speed.bytes_per_second / 1e9


def write(path: Path, model: str) -> None:
    with written(path, {"model": model, "draft": "none"}):
        pass


@pytest.mark.parametrize("before", [None, "", "[engine]\r\nthreads = 1\r\n", "[engine]\nmodel = 'mine'\n"])
def test_several_runs_are_undone_at_once_to_the_byte(tmp_path: Path, before: str | None) -> None:
    path = tmp_path / "config.toml"
    if before is not None:
        path.write_bytes(before.encode())
    for model in ("one", "two", "two", "three"):
        write(path, model)
    undo(path)
    assert (path.read_bytes().decode() if path.exists() else None) == before
    with pytest.raises(ConfigError, match="nothing is undone"):
        undo(path)
    assert {entry.name for entry in tmp_path.iterdir()} <= {"config.toml"}


def test_what_was_edited_since_stays(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[engine]\nmodel = 'mine'\n")
    write(path, "one")
    path.write_text(path.read_text() + "threads = 3\n")
    assert "edited since" in undo(path)
    assert path.read_text() == '[engine]\nmodel = "mine"\nthreads = 3\n'


def test_what_can_not_be_read_any_more_stays(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    write(path, "one")
    path.write_text("[engine\n")
    with pytest.raises(ConfigError, match=r"config\.toml"):
        undo(path)
    assert path.read_text() == "[engine\n"


def test_another_model_that_was_chosen_since_stays(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    write(path, "one")
    set_engine_values(path, {"model": "other"})
    with pytest.raises(ConfigError, match="names another model"):
        undo(path)
    write(path, "two")
    undo(path)
    assert '"other"' in path.read_text()


def test_a_failure_puts_everything_back(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    write(path, "one")
    entries, text = read_replaced(path), path.read_text()
    with pytest.raises(KeyboardInterrupt), written(path, {"model": "two", "draft": "none"}):
        raise KeyboardInterrupt
    assert (read_replaced(path), path.read_text()) == (entries, text)
    undo(path)
    assert not path.exists()
