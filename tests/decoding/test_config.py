"""Where the engine's settings come from, and what is said of bad ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from decoding.config import BUNDLED, EngineConfig, load
from decoding.errors import ConfigError


def environment(tmp_path: Path, text: str = "", **variables: str) -> dict[str, str]:
    file = tmp_path / "config.toml"
    file.write_text(text, encoding="utf-8")
    return {"TABCAST_CONFIG": str(file), **variables}


def test_each_source_overrides_the_one_before(tmp_path: Path) -> None:
    text = '[engine]\ndevice = "cuda"\nthreads = 3\nidle_minutes = 2\n'
    assert load({}, environment(tmp_path)) == EngineConfig()
    from_file = load({}, environment(tmp_path, text))
    assert (from_file.device, from_file.threads, from_file.idle_minutes) == ("cuda", 3, 2.0)
    from_environment = load({}, environment(tmp_path, text, TABCAST_DEVICE="cpu", TABCAST_THREADS="1"))
    assert (from_environment.device, from_environment.threads) == ("cpu", 1)
    assert load({"device": "cuda:1", "threads": None}, environment(tmp_path, text)).device == "cuda:1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[engine]\ncolour = 1\n", "unknown engine setting 'colour'"),
        ("[engine]\nthreads = 'many'\n", "threads must be int"),
        ("[engine]\ndevice = 'abacus'\n", "device must be one of"),
        ("[engine]\ndevice = 'cuda:'\n", "device must be one of"),
        ("[engine]\ndevice = 'cuda:x'\n", "device must be one of"),
        ("[engine]\ndtype = 'cuda:0'\n", "dtype must be one of"),
        ("[engine]\nkernels = 'cuda:0'\n", "kernels must be one of"),
        ("[engine]\nquantize = 'cuda:0'\n", "quantize must be one of"),
        ("[engine]\ndraft_quantize = 'cuda:0'\n", "draft_quantize must be one of"),
        ("[engine]\nthreads = -1\n", "threads must be at least 0"),
        ("[engine]\ncache_mb = -1\n", "cache_mb must be at least 0"),
        ("[engine]\nmethod = 'magic'\n", "method: expected plain, auto"),
        ("[engine]\nidle_minutes = 0\n", "idle_minutes must be more than 0"),
        ("[engine\n", "config.toml"),
    ],
)
def test_a_bad_setting_names_its_source(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=r"config\.toml") as caught:
        load({}, environment(tmp_path, text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_only_the_shipped_target_brings_the_shipped_draft() -> None:
    assert EngineConfig().draft_path == BUNDLED / "draft"
    assert EngineConfig(draft="none").draft_path is None
    assert EngineConfig(model="/models/other").draft_path is None
    assert EngineConfig(model="/models/other", draft="/models/small").draft_path == Path("/models/small")
