"""The compiled kernels: equal to torch within rounding, and to themselves to the bit, however the work is cut."""

from __future__ import annotations

import gc
import os
import random
import sys
import threading
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from numba.core import caching
from torch import Tensor

from decoding.config import EngineConfig
from decoding.models.cpu import compiling
from decoding.models.cpu.compiling import tidy
from decoding.models.cpu.decoder import PREFILL_WIDTH, STEP_WIDTH, CpuDecoder
from decoding.models.cpu.job_layout import SHARED_NUMBERS
from decoding.models.cpu.simd import FLOAT32, HAS_PAIRS
from decoding.models.folder.model_folder import ModelFolder
from decoding.models.language_model import Cache, LanguageModel
from decoding.models.loading.decoder_loading import load_decoder
from decoding.models.torch import attention, row_placement
from decoding.models.torch.decoder import Decoder
from tests.tiny_models import FAMILIES, make_model

OURS = [name for name, line in FAMILIES.items() if line.is_ours]
VOCABULARY = 603
# Sizes that fill no panel, no tile and no block.
ODD = {"hidden_size": 36, "intermediate_size": 50, "head_dim": 10, "num_attention_heads": 6, "vocab_size": VOCABULARY}


def load(folder: Path, *, dtype: torch.dtype = torch.float32, **settings: object) -> LanguageModel:
    config = EngineConfig(**settings)  # type: ignore[arg-type]
    sizes = {"vocabulary": VOCABULARY, "max_len": 300}
    model = load_decoder(ModelFolder.read(folder), config, **sizes, device=torch.device("cpu"), dtype=dtype)
    model.capabilities = model.capabilities.at_width(STEP_WIDTH)
    return model


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("odd")
    return {family: make_model(root / family, family, **ODD) for family in OURS}


@pytest.fixture
def tokens() -> list[int]:
    rng = random.Random(0)
    return [rng.randrange(VOCABULARY) for _ in range(256)]


def read(model: LanguageModel, token_ids: list[int], sizes: list[int]) -> Cache:
    """A cache that was filled in pieces of these sizes, again and again."""
    cache, at = model.new_cache(), 0
    while len(cache) < len(token_ids):
        piece = token_ids[len(cache) : len(cache) + sizes[at % len(sizes)]]
        model.prefill(piece, cache)
        at += 1
    return cache


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("family", OURS)
def test_logits_are_those_of_torch(
    folders: dict[str, Path], family: str, dtype: torch.dtype, tokens: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against the same stored weights computed in float32, from inputs rounded where the kernels round them."""
    model = load(folders[family], dtype=dtype)
    exact = load(folders[family], dtype=dtype, kernels="torch")
    assert isinstance(model, CpuDecoder)
    assert isinstance(exact, Decoder)
    if dtype != torch.float32:
        exact = _in_float32(exact)
    is_rounded = dtype == torch.bfloat16 and HAS_PAIRS
    if is_rounded:
        linear = F.linear
        monkeypatch.setattr(F, "linear", lambda x, *rest: linear(x.bfloat16().float(), *rest))
        _round_attention(monkeypatch)
    exact_cache = read(exact, tokens[:192], [64])
    cache = read(model, tokens[:192], [PREFILL_WIDTH])
    expected, ours = exact.step(tokens[192:200], exact_cache), model.step(tokens[192:200], cache)
    # Numbers near the middle between two of bfloat16 may be rounded either way.
    off = 0.02 if is_rounded else 2e-4
    torch.testing.assert_close(ours, expected, rtol=off, atol=off * float(expected.abs().max()))
    assert (ours - expected).norm() < off / 4 * expected.norm()
    torch.testing.assert_close(model.advance(tokens[192:200], cache), expected[-1], rtol=1e-3, atol=1e-2)


def test_without_dot_products_of_pairs_nothing_is_rounded(
    folders: dict[str, Path], tokens: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A processor that lacks them multiplies what the weights stand for, in float32."""
    monkeypatch.setattr("decoding.models.cpu.packing.HAS_PAIRS", False)
    model, exact = (load(folders["qwen2"], dtype=torch.bfloat16, kernels=kernels) for kernels in ("auto", "torch"))
    assert isinstance(exact, Decoder)
    exact = _in_float32(exact)
    expected = exact.step(tokens[:8], exact.new_cache())
    ours = model.step(tokens[:8], model.new_cache())
    torch.testing.assert_close(ours, expected, rtol=2e-4, atol=2e-4 * float(expected.abs().max()))


def _round_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torch round queries that are scaled, keys, values and shares to bfloat16."""
    attend, by_block = attention.attend, attention._by_block

    def attending(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor, scale: float) -> Tensor:
        return attend(query * scale, keys, values, mask, 1.0)

    monkeypatch.setattr(row_placement, "attend", attending)
    monkeypatch.setattr(attention, "_by_block", lambda *both: by_block(*(x.bfloat16().float() for x in both)))


@pytest.fixture(scope="module")
def roundable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose rows have whole groups of blocks, and otherwise odd sizes."""
    sizes = {**ODD, "hidden_size": 96, "intermediate_size": 160, "head_dim": 16}
    return make_model(tmp_path_factory.mktemp("roundable") / "qwen2", "qwen2", **sizes)


@pytest.mark.parametrize("form", [{"dtype": torch.bfloat16}, {"quantize": "int8"}], ids=str)
def test_keys_and_values_take_half_the_memory_where_weights_are_rounded(
    roundable: Path, form: dict[str, object]
) -> None:
    exact = load(roundable).new_cache()
    rounded = load(roundable, **form).new_cache()  # type: ignore[arg-type]
    assert rounded.num_bytes * (2 if HAS_PAIRS else 1) == exact.num_bytes


@pytest.mark.skipif(not HAS_PAIRS, reason="this processor keeps float32")
def test_rounded_keys_and_values_change_answers_little(roundable: Path, tokens: list[int]) -> None:
    model = load(roundable, quantize="int8")
    assert isinstance(model, CpuDecoder)
    packed = replace(model._packed, cache_kind=FLOAT32, kinds=model._packed.kinds | {FLOAT32})
    exact = CpuDecoder(model.shape, packed, threads=1)
    expected = exact.step(tokens[192:200], read(exact, tokens[:192], [64]))
    error = (model.step(tokens[192:200], read(model, tokens[:192], [64])) - expected).norm() / expected.norm()
    assert 0 < error < 0.1  # inputs of the products are rounded to eight bits, and some of them the other way now


def _in_float32(model: Decoder) -> Decoder:
    def up(value: object) -> object:
        return value.float() if isinstance(value, torch.Tensor) and value.is_floating_point() else value

    weights = model._weights
    layers = [replace(layer, **{f.name: up(getattr(layer, f.name)) for f in fields(layer)}) for layer in weights.layers]
    changed = {"embedding": up(weights.embedding), "norm": up(weights.norm), "head": up(weights.head)}
    exact = Decoder(model.shape, replace(weights, layers=layers, **changed))  # type: ignore[arg-type]
    exact.capabilities = exact.capabilities.at_width(model.capabilities.step_width)
    return exact


@pytest.mark.parametrize("form", [{}, {"dtype": torch.bfloat16}], ids=str)
def test_any_cut_of_the_work_gives_the_same_bits(
    folders: dict[str, Path], form: dict[str, object], tokens: list[int]
) -> None:
    """Numbers of rows, pieces of the prompt, threads."""
    model = load(folders["qwen2"], threads=1, **form)  # type: ignore[arg-type]
    many = load(folders["qwen2"], threads=3, **form)  # type: ignore[arg-type]
    whole = read(model, tokens[:200], [PREFILL_WIDTH])
    wanted = model.step(tokens[200 : 200 + STEP_WIDTH], whole).clone()
    for other, sizes in ((model, [1]), (model, [7, 64, 2]), (many, [PREFILL_WIDTH]), (many, [3, 1, 33])):
        cache = read(other, tokens[:200], sizes)
        for rows in range(1, STEP_WIDTH + 1):
            assert torch.equal(other.step(tokens[200 : 200 + rows], cache), wanted[:rows]), (sizes, rows)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_rows_that_threads_prepare_together_are_those_of_one(
    tmp_path: Path, dtype: torch.dtype, tokens: list[int]
) -> None:
    """Rows so wide that it pays to share their preparation, and one row, for which it doesn't."""
    folder = make_model(tmp_path, "qwen2", **{**ODD, "hidden_size": 164, "intermediate_size": 150})
    assert PREFILL_WIDTH * 150 >= SHARED_NUMBERS > 1 * 164
    one, many = load(folder, threads=1, dtype=dtype), load(folder, threads=3, dtype=dtype)
    wanted = one.step(tokens[200:201], read(one, tokens[:200], [1])).clone()
    for model in (one, many):
        assert torch.equal(model.step(tokens[200:201], read(model, tokens[:200], [PREFILL_WIDTH])), wanted)


def test_what_stands_behind_the_end_changes_nothing(folders: dict[str, Path], tokens: list[int]) -> None:
    model = load(folders["llama"])
    cache = read(model, tokens[:130], [64])
    wanted = model.step(tokens[130:134], cache).clone()
    cache = read(model, tokens, [64])
    cache.roll_back(130)
    assert torch.equal(model.step(tokens[130:134], cache), wanted)


@pytest.mark.parametrize("token_id", [-1, VOCABULARY])
def test_what_is_no_token_is_refused(folders: dict[str, Path], token_id: int) -> None:
    model = load(folders["llama"])
    with pytest.raises(IndexError, match="out of bounds"):
        model.step([0, token_id], model.new_cache())


def test_a_full_cache_is_refused(folders: dict[str, Path], tokens: list[int]) -> None:
    model = load(folders["llama"])
    cache = read(model, [*tokens, *tokens[:64]], [64])
    with pytest.raises(IndexError, match="out of bounds"):
        model.step([0], cache)


@pytest.mark.parametrize("threads", [1, 3])
def test_what_is_drafted_ahead_is_what_single_passes_choose(
    folders: dict[str, Path], tokens: list[int], threads: int
) -> None:
    """With their probabilities; the cache then holds all but the last, and a doubtful token ends it."""
    model = load(folders["llama"], threads=threads)
    assert isinstance(model, CpuDecoder)
    single, ahead, again = (read(model, tokens[:60], [64]) for _ in range(3))
    expected, part = [], tokens[60:70]
    for _ in range(7):
        shares = model.advance(part, single).double().softmax(dim=-1)
        expected.append((int(shares.argmax()), float(shares.max())))
        part = [expected[-1][0]]
    found = model.draft_ahead(tokens[60:70], ahead, 7)
    assert [token_id for token_id, _ in found] == [token_id for token_id, _ in expected]
    assert [share for _, share in found] == pytest.approx([share for _, share in expected], rel=1e-4)
    assert ahead.token_ids == single.token_ids
    assert torch.equal(model.step([3], ahead).clone(), model.step([3], single))
    least = sorted(share for _, share in found)[3]
    last = next(number for number, (_, share) in enumerate(found) if share < least)
    assert model.draft_ahead(tokens[60:70], again, 7, least) == found[: last + 1]
    assert len(again) == 70 + last
    with pytest.raises(IndexError, match="out of bounds"):
        model.draft_ahead([0], again, again.capacity - len(again) + 1)


def test_torch_computes_where_numba_is_missing(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("decoding.models.cpu.decoder")
    monkeypatch.setitem(sys.modules, "decoding.models.cpu.decoder", None)
    assert isinstance(load(folders["llama"]), Decoder)


def test_folders_of_other_versions_go_when_nobody_uses_them(tmp_path: Path) -> None:
    now_s, day_s = 1_700_000_000.0, 86_400.0
    ages = {"0123456789abcdef": 90, "fedcba9876543210": 31, "00000000000000aa": 29, "notes": 90}
    for name, days in ages.items():
        (tmp_path / name / "inner").mkdir(parents=True)
        os.utime(tmp_path / name, (now_s - days * day_s,) * 2)
    used = tmp_path / "0123456789abcdef"
    tidy(used, now_s=now_s)
    assert {path.name for path in tmp_path.iterdir()} == {used.name, "00000000000000aa", "notes"}
    assert used.stat().st_mtime == now_s
    tidy(tmp_path / "not there" / "yet", now_s=now_s)


def test_threads_end_with_their_model(folders: dict[str, Path], tokens: list[int]) -> None:
    before = threading.active_count()
    model = load(folders["llama"], threads=4)
    model.step(tokens[:4], model.new_cache())
    helpers = [thread for thread in threading.enumerate() if thread.name == "tabcast-kernels"]
    assert len(helpers) >= 3
    assert threading.active_count() == before + 3
    del model
    gc.collect()
    for thread in helpers[-3:]:
        thread.join(timeout=30)
    assert threading.active_count() <= before


def test_a_cache_that_can_not_be_written_or_read_costs_a_warning_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Numba writes at the first call, reads at it, too, and compiles callbacks where they are defined."""

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    def twice(number: int) -> int:
        return 2 * number

    def nothing(number: int) -> None:
        return

    monkeypatch.setattr(compiling, "_cache_folder", lambda: tmp_path)
    monkeypatch.setattr(compiling, "_troubles", [])
    with monkeypatch.context() as full:
        full.setattr(caching.IndexDataCacheFile, "_open_for_write", fail)
        assert compiling.compiled(twice)(21) == 42
        assert compiling.compiled_at_once(1)(nothing)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "No space left on device" in caplog.text
    assert compiling.compiled(twice)(21) == 42
    for file in tmp_path.rglob("*.nb?"):
        file.write_bytes(b"damaged")
    assert compiling.compiled(twice)(21) == 42
    assert len(caplog.records) == 1
