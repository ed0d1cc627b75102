"""llama.cpp gives our tokens from our exported file, with and without its speculation."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from decoding.bench.harness import llama_cpp
from decoding.bench.suites import decode, decode_options
from decoding.errors import TabcastError
from decoding.models import gguf_export
from decoding.models.loading.model_set import ModelSet
from tests.tiny_models import make_model

PROMPT = list(range(20, 60)) * 2
NUM_TOKENS = 24


def test_a_missing_package_is_told(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with (
        pytest.raises(TabcastError, match=r"pip install xllamacpp"),
        llama_cpp.generators(tiny_model, None, llama_cpp.NAMES, num_tokens=8, max_len=256),
    ):
        pass


def test_one_name_selects_all_rows() -> None:
    parse = decode_options.parse_baselines
    assert parse("llama.cpp") == list(llama_cpp.NAMES)
    assert parse("transformers,llama.cpp-bf16") == ["transformers", "llama.cpp-bf16"]


def test_float32_gives_our_tokens(pair: ModelSet, tiny_model: Path, tmp_path: Path) -> None:
    need_packages()
    file = tmp_path / "model.gguf"
    gguf_export.export(tiny_model, file, "f32", has_stops=False)
    setting = llama_cpp.Setting(file=file, draft=None, speculation="", max_len=256)
    servers: list[object] = []
    theirs, first_s, rest_s = llama_cpp.package_server(setting, servers)[0].complete(PROMPT, NUM_TOKENS)
    ours = decode.methods(pair, ["plain"], NUM_TOKENS)[decode.PLAIN](PROMPT).token_ids
    assert len(theirs) == NUM_TOKENS
    assert first_s > 0
    assert rest_s > 0
    differing = next((i for i in range(NUM_TOKENS) if ours[i] != theirs[i]), None)
    assert differing is None or top_two_gap(pair, [*PROMPT, *ours[:differing]]) < 1e-3


def test_every_row_gives_its_tokens(tiny_model: Path, tmp_path: Path) -> None:
    need_packages()
    draft = make_model(tmp_path / "draft", "llama", seed=1, layers=1)
    with llama_cpp.generators(tiny_model, draft, llama_cpp.NAMES, num_tokens=NUM_TOKENS, max_len=256) as found:
        answers = {name: row.generate(PROMPT)[0] for name, row in found.items()}
        assert all("threads" in row.settings and "AVX" in row.settings for row in found.values())
    assert {len(token_ids) for token_ids in answers.values()} == {NUM_TOKENS}
    assert answers["llama.cpp-q8_0-draft"] == answers["llama.cpp-q8_0-ngram"] == answers["llama.cpp-q8_0"]


def test_without_a_draft_model_its_row_is_left_out(tiny_model: Path) -> None:
    need_packages()
    with llama_cpp.generators(tiny_model, None, llama_cpp.NAMES, num_tokens=4, max_len=256) as found:
        assert set(found) == set(llama_cpp.EXPORTED) - {"llama.cpp-q8_0-draft"}


def need_packages() -> None:
    for name in ("gguf", "xllamacpp"):
        pytest.importorskip(name, reason="the extra `bench` is not installed")


def top_two_gap(models: ModelSet, token_ids: list[int]) -> float:
    cache = models.target.new_cache()
    logits = torch.empty(0)
    for token_id in token_ids:
        logits = models.target.step([token_id], cache)[0]
        cache.commit([token_id])
    best = logits.topk(2).values
    return float(best[0] - best[1])
