"""Folders of parallel drafts and of heads: what they declare, and what is refused and said."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from decoding.cli.inspect_models import show_model
from decoding.config import BUNDLED, EngineConfig
from decoding.errors import ModelError
from decoding.models.loading.model_set import load_models
from decoding.models.parallel import MaskForm, mask_form
from tests.decoding.conftest import make_heads
from tests.tiny_models import make_tokenizer

VOCABULARY = make_tokenizer().get_vocab_size()


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({}, "names no mask"),
        ({"tabcast": {"parallel": {"mask_id": 600}}}, "must be from 2 to 8"),
        ({"tabcast": {"parallel": {"mask_id": 601, "tokens": 4}}}, "must be an id of the model"),
        ({"tabcast": {"parallel": {"mask_id": True, "tokens": 4}}}, "must be an id of the model"),
        ({"tabcast": {"parallel": [1, 2]}}, "must be an id of the model"),
        ({"tabcast": {"parallel": {"mask_id": 3, "tokens": 40}}}, "must be from 2 to 8"),
    ],
)
def test_a_folder_that_declares_no_mask_is_refused(declared: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        mask_form({"vocab_size": 601, **declared}, Path("folder"))


def test_published_parallel_drafts_are_understood() -> None:
    assert mask_form({"vocab_size": 601, "pard_token": 600}, Path("folder")) == MaskForm(mask_id=600, num_tokens=8)


def test_what_cant_be_used_is_left_out_and_said(ahead_folders: dict[str, str], tmp_path: Path) -> None:
    make_heads(tmp_path / "short", Path(ahead_folders["model"]), num_heads=2, heads=3)
    make_heads(tmp_path / "others", Path(ahead_folders["parallel"]))
    make_heads(tmp_path / "beyond", Path(ahead_folders["model"]), kept_ids=[5, VOCABULARY])
    for named, message in (
        ({"heads": "short"}, "block.2 is missing"),
        ({"heads": "others"}, "made for other weights"),
        ({"heads": "beyond"}, "kept_ids must be ids of the target"),
        ({"heads": "nowhere"}, "holds no heads"),
        ({"parallel": ahead_folders["model"]}, "names no mask"),
        ({"parallel": "nowhere"}, "there is no model at"),
    ):
        settings_ = {**ahead_folders, "heads": "none", "parallel": "none"}
        settings_ |= {name: str(tmp_path / path) for name, path in named.items()}
        loaded, _ = load_models(EngineConfig(**settings_, device="cpu"))  # type: ignore[arg-type]
        assert len(loaded.notices) == 1
        assert message in loaded.notices[0]
        assert "\n" not in loaded.notices[0]
        assert loaded.heads is None
        assert loaded.parallel is None


def test_a_target_brings_what_lies_beside_it_and_no_other_has_the_shipped_ones(tmp_path: Path) -> None:
    assert EngineConfig(model=str(tmp_path)).heads_path is None
    (tmp_path / "heads").mkdir()
    assert EngineConfig(model=str(tmp_path)).heads_path == tmp_path / "heads"
    assert EngineConfig(model=str(tmp_path), heads="none").heads_path is None
    assert EngineConfig(model=str(tmp_path), parallel="/models/small").parallel_path == Path("/models/small")
    shipped = EngineConfig().parallel_path
    assert shipped is None or shipped == BUNDLED / "parallel"


def test_show_says_what_drafts_for_a_model(ahead_folders: dict[str, str], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(ahead_folders["model"], tmp_path / "model"))

    def shown(name: str) -> object:
        return show_model(name, EngineConfig(device="cpu"))["drafters"]

    assert shown(str(folder)) == "none of its own"
    make_heads(folder / "heads", folder)
    shutil.copytree(ahead_folders["parallel"], folder / "parallel")
    assert shown(str(folder)) == ["parallel", "heads"]
    assert shown(ahead_folders["parallel"]) == ["it is itself a parallel draft of 5 tokens a pass"]
    (folder / "heads" / "heads.json").write_text("{}", encoding="utf-8")
    assert "can't be read" in str(shown(str(folder)))
