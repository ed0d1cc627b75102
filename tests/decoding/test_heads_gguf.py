"""Heads on a model in a GGUF file of four bits: found beside it, asked by `auto`, bound to its weights, lossless."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from decoding.cli.inspect_models import show_model
from decoding.completion.sessions import Session
from decoding.config import EngineConfig
from decoding.drafters import draft_from_logits, registry
from decoding.drafters.in_order import InOrder
from decoding.models.heads import CpuHeads, identity
from decoding.models.loading.model_set import ModelSet, load_models
from decoding.protocol import AUTO
from decoding.speculation.drafting import NoDrafter
from tests.decoding.conftest import decode, make_heads
from tests.gguf_files import Gguf
from tests.gguf_models import quantised, settings_of, tensors_of
from tests.tiny_models import make_model, make_tokenizer

VOCABULARY = make_tokenizer().get_vocab_size()
WIDTH = 256  # of the model: blocks of four bits hold as many weights
NUM_TOKENS = 24


@pytest.fixture(scope="session")
def four_bit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("four bit")
    wide = make_model(folder / "wide", "llama", layers=1, hidden_size=WIDTH, intermediate_size=256, head_dim=64)
    file = Gguf(metadata=settings_of(wide), tensors=quantised(tensors_of(wide), "Q4_K")).write(folder / "tiny.gguf")
    make_heads(folder / "tiny.gguf.heads", file, width=WIDTH, is_rounded=True)
    return file


@pytest.fixture(scope="session")
def models(four_bit: Path) -> ModelSet:
    loaded, _ = load_models(EngineConfig(model=str(four_bit), draft="none", device="cpu"))
    assert not loaded.notices
    return loaded


def test_they_are_found_beside_the_file_and_asked_by_default(models: ModelSet, four_bit: Path) -> None:
    assert isinstance(models.heads, CpuHeads)
    assert registry.choose(AUTO, models)[0] == ("lookup", "heads")
    assert show_model(str(four_bit), EngineConfig(device="cpu"))["drafters"] == ["heads"]
    assert EngineConfig(model=str(four_bit), heads="none").heads_path is None


@pytest.mark.parametrize("method", ["heads", "lookup+heads"])
def test_output_is_the_targets_own_cold_and_warm(
    models: ModelSet, method: str, rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draft_from_logits, "LEAST", {"cpu": 0.0})  # random heads are sure of nothing
    session = Session(models)
    drafter = InOrder(session.drafters(method))  # type: ignore[arg-type]
    text: list[int] = []
    for num_kept in (0, 40, 70):
        text = text[:num_kept] + [rng.randrange(8, VOCABULARY) for _ in range(50)]
        plain = decode(models, text, NoDrafter(), NUM_TOKENS)
        assert decode(models, text, drafter, NUM_TOKENS) == plain
        session.cache.reuse(text, models.target.chunk)
        assert decode(models, text, drafter, NUM_TOKENS, cache=session.cache) == plain


def test_heads_of_other_weights_are_left_out_with_one_line(four_bit: Path, tmp_path: Path) -> None:
    other = Path(shutil.copyfile(four_bit, tmp_path / "other.gguf"))
    assert identity(other) == identity(four_bit)
    content = bytearray(other.read_bytes())
    content[-len(content) // 2 :] = bytes(byte ^ 1 for byte in content[-len(content) // 2 :])  # of other weights
    other.write_bytes(content)
    assert identity(other) != identity(four_bit)
    heads = four_bit.with_name("tiny.gguf.heads")
    loaded, _ = load_models(EngineConfig(model=str(other), draft="none", heads=str(heads), device="cpu"))
    assert loaded.heads is None
    (notice,) = loaded.notices
    assert "heads that were made for other weights than those of" in notice
    assert "\n" not in notice
