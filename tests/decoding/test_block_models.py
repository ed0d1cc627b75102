"""Whole models whose matrices are blocks: equal to torch on what the blocks stand for, and to themselves to the bit."""

from __future__ import annotations

import random
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import gguf
import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from decoding.models.cpu import integer_dots
from decoding.models.cpu.block_packing import can_pack
from decoding.models.cpu.block_repacking import block_types
from decoding.models.cpu.decoder import PREFILL_WIDTH, STEP_WIDTH, CpuDecoder, build
from decoding.models.cpu.quantized_rows import GROUP, rounded_plainly
from decoding.models.language_model import Cache, LanguageModel
from decoding.models.probing.row_invariance import probe
from decoding.models.torch.decoder import Decoder, Layer, Shape, Weights, rotary_table
from decoding.models.weights.stored_blocks import BlockRows, Matrix, StoredLayer, StoredWeights

WIDTH, INNER, HEADS, KV_HEADS, HEAD_DIM, VOCABULARY = 256, 768, 8, 2, 32, 603
SHAPE = Shape(
    layers=3, width=WIDTH, heads=HEADS, kv_heads=KV_HEADS, head_dim=HEAD_DIM, vocabulary=VOCABULARY, max_len=300,
    norm_eps=1e-6,
)  # fmt: skip
# What is in files: q and k of one type and v of another, and half of the down projections finer than the rest.
Q4_K_M = {"v": "Q6_K", "down": "Q6_K", "head": "Q6_K", "": "Q4_K"}
MIXTURES: dict[str, dict[str, str]] = {
    "Q4_K_M": Q4_K_M,
    "tied": {**Q4_K_M, "head": ""},
    "unlike halves": {"gate": "Q4_K", "up": "Q5_K", "": "Q5_1"},
    "0.5B": {"v": "Q8_0", "head": "Q8_0", "down": "Q6_K", "embedding": "Q5_1", "": "Q5_0"},
    "Q4_0": {"head": "Q6_K", "": "Q4_0"},
    "partly dense": {"out": "F32", "embedding": "F32", "": "Q4_1"},
    "dense head": {"head": "F32", "": "IQ4_NL"},
    "dense and tied": {"embedding": "F32", "head": "", "": "Q4_K"},
}


@dataclass(frozen=True, slots=True)
class Pair:
    """A model in blocks, and the same numbers for torch."""

    stored: StoredWeights
    exact: Weights


def random_blocks(type_name: str, outputs: int, inputs: int, rng: np.random.Generator) -> BlockRows:
    """Random weights whose size is what a network's are."""
    per_block, num_bytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[type_name]]
    raw = rng.integers(0, 256, (outputs, inputs // per_block, num_bytes), dtype=np.uint8)
    steps = {"Q4_K": 1e-4, "Q5_K": 5e-5, "Q6_K": 3e-5, "Q8_0": 4e-4, "IQ4_NL": 6e-4}.get(type_name, 4e-3)
    scale = (rng.uniform(0.5, 1.5, raw.shape[:2]) * steps).astype(np.float16)
    at = 208 if type_name == "Q6_K" else 0
    raw[..., at : at + 2] = scale[..., None].view(np.uint8)
    if type_name in {"Q4_K", "Q5_K", "Q4_1", "Q5_1"}:
        middle = 8 if type_name.startswith("Q4") else 16
        offset = scale * np.float16(middle if type_name.endswith("K") else -middle)
        raw[..., 2:4] = offset[..., None].view(np.uint8)
    return BlockRows(type_name=type_name, inputs=inputs, rows=raw.reshape(outputs, -1))


def widened(matrix: Matrix) -> Tensor:
    if isinstance(matrix, Tensor):
        return matrix
    return torch.cat([
        torch.from_numpy(gguf.dequantize(part.rows, gguf.GGMLQuantizationType[part.type_name])) for part in matrix
    ])  # fmt: skip


def make(mixture: dict[str, str], seed: int = 0) -> Pair:
    rng = np.random.default_rng(seed)

    def kind(part: str) -> str:
        return mixture.get(part, mixture[""])

    def matrix(inputs: int, **parts: int) -> Matrix:
        if any(kind(part) == "F32" for part in parts):
            outputs = sum(parts.values())
            return torch.from_numpy(rng.normal(size=(outputs, inputs)).astype(np.float32) * 0.05)
        return tuple(random_blocks(kind(part), outputs, inputs, rng) for part, outputs in parts.items())

    def floats(*sizes: int, around: float = 0.0) -> Tensor:
        return torch.from_numpy((rng.normal(size=sizes) * 0.1 + around).astype(np.float32))

    keys = KV_HEADS * HEAD_DIM
    layers = [
        StoredLayer(
            input_norm=floats(WIDTH, around=1),
            qkv=matrix(WIDTH, q=HEADS * HEAD_DIM, k=keys, v=keys),
            qkv_bias=floats(HEADS * HEAD_DIM + 2 * keys),
            query_norm=None,
            key_norm=None,
            out=matrix(HEADS * HEAD_DIM, out=WIDTH),
            post_norm=floats(WIDTH, around=1),
            gate_up=matrix(WIDTH, gate=INNER, up=INNER),
            down=matrix(INNER, down=WIDTH),
        )
        for _ in range(SHAPE.layers)
    ]
    embedding = matrix(WIDTH, embedding=VOCABULARY)
    stored = StoredWeights(
        tables=[embedding, matrix(WIDTH, head=VOCABULARY)] if kind("head") else [embedding],
        layers=layers,
        norm=floats(WIDTH, around=1),
        is_tied=not kind("head"),
        rotary=rotary_table(SHAPE.max_len + 128, 10_000.0 ** -(torch.arange(0, HEAD_DIM, 2) / HEAD_DIM)),
    )
    wide = [
        Layer(**{
            name: widened(value) if isinstance(value := getattr(layer, name), tuple) else value
            for name in StoredLayer.__slots__
        })
        for layer in layers
    ]  # fmt: skip
    exact_embedding = widened(embedding)
    exact = Weights(
        embedding=exact_embedding,
        layers=wide,
        norm=stored.norm,
        head=exact_embedding if stored.is_tied else widened([*stored.tables][1]),
        rotary=stored.rotary,
    )
    return Pair(stored, exact)


def load(stored: StoredWeights, threads: int = 1) -> CpuDecoder:
    return build(SHAPE, stored, threads=threads)


def read(model: LanguageModel, token_ids: list[int], sizes: list[int]) -> Cache:
    """A cache that was filled in pieces of these sizes, again and again."""
    cache, at = model.new_cache(), 0
    while len(cache) < len(token_ids):
        model.prefill(token_ids[len(cache) : len(cache) + sizes[at % len(sizes)]], cache)
        at += 1
    return cache


@pytest.fixture
def tokens() -> list[int]:
    rng = random.Random(0)
    return [rng.randrange(VOCABULARY) for _ in range(256)]


@pytest.mark.parametrize("mixture", MIXTURES)
def test_logits_are_those_of_torch(mixture: str, tokens: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Computed from the same numbers, with inputs rounded where the kernels round them."""
    pair = make(MIXTURES[mixture])
    model, exact = load(pair.stored), Decoder(SHAPE, pair.exact)
    exact.capabilities = exact.capabilities.at_width(STEP_WIDTH)
    assert model.num_parameters == exact.num_parameters
    linear = F.linear
    dense = {id(weight) for weight in _dense(pair.exact, pair.stored)}

    def rounding(x: Tensor, weight: Tensor, *rest: Tensor) -> Tensor:
        return linear(x if id(weight) in dense else _rounded(x), weight, *rest)

    monkeypatch.setattr(F, "linear", rounding)
    expected = exact.step(tokens[192:200], read(exact, tokens[:192], [64]))
    ours = model.step(tokens[192:200], read(model, tokens[:192], [PREFILL_WIDTH]))
    assert expected.isfinite().all()
    # Numbers near the middle between two whole ones may be rounded either way.
    assert (ours - expected).norm() < 0.03 * expected.norm()


def _dense(exact: Weights, stored: StoredWeights) -> list[Tensor]:
    """What no row is rounded for."""
    layers = [(wide, layer, name) for wide, layer in zip(exact.layers, stored.layers, strict=True)
              for name in ("qkv", "out", "gate_up", "down")]  # fmt: skip
    found = [getattr(wide, name) for wide, layer, name in layers if isinstance(getattr(layer, name), Tensor)]
    return [*found, *([exact.head] if isinstance([*stored.tables][-1], Tensor) else [])]


def _rounded(x: Tensor) -> Tensor:
    rows = x.reshape(-1, x.shape[-1]).contiguous().numpy()
    whole = rounded_plainly(rows)
    numbers = np.ascontiguousarray(whole[:, : x.shape[-1]]).view(np.int8).astype(np.float32)
    scales = np.ascontiguousarray(whole[:, x.shape[-1] :]).view(np.float32)[:, ::4]
    return torch.from_numpy(numbers * np.repeat(scales, GROUP, axis=1)).view(x.shape)


@pytest.mark.parametrize("mixture", ["Q4_K_M", "tied", "unlike halves"])
def test_any_cut_of_the_work_gives_the_same_bits(mixture: str, tokens: list[int]) -> None:
    """Numbers of rows, pieces of the prompt, threads."""
    pair = make(MIXTURES[mixture])
    model, many = load(pair.stored), load(pair.stored, threads=3)
    wanted = model.step(tokens[200 : 200 + STEP_WIDTH], read(model, tokens[:200], [PREFILL_WIDTH])).clone()
    for other, sizes in ((model, [1]), (model, [7, 64, 2]), (many, [PREFILL_WIDTH]), (many, [3, 1, 33])):
        cache = read(other, tokens[:200], sizes)
        for rows in range(1, STEP_WIDTH + 1):
            assert torch.equal(other.step(tokens[200 : 200 + rows], cache), wanted[:rows]), (sizes, rows)


@pytest.mark.parametrize("path", integer_dots.HERE)
def test_every_path_gives_the_same_logits(path: str, tokens: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a processor that has no better instructions than these."""
    pair = make(Q4_K_M)
    model = load(pair.stored)
    wanted = model.step(tokens[60:70], read(model, tokens[:60], [64])).clone()
    monkeypatch.setattr(integer_dots, "HERE", (path,))
    other = load(pair.stored)
    assert torch.equal(other.step(tokens[60:70], read(other, tokens[:60], [7])), wanted)


@pytest.mark.parametrize("mixture", MIXTURES)
def test_embeddings_are_what_their_blocks_stand_for(mixture: str) -> None:
    pair = make(MIXTURES[mixture])
    model = load(pair.stored).with_layers([])
    for first in range(0, VOCABULARY, STEP_WIDTH):
        token_ids = list(range(first, min(first + STEP_WIDTH, VOCABULARY)))
        model.step(token_ids, model.new_cache())
        assert torch.equal(model.hidden(), pair.exact.embedding[token_ids].float()), first


def test_layers_are_left_out_and_tokens_drafted_as_usual(tokens: list[int]) -> None:
    model = load(make(Q4_K_M).stored, threads=2)
    fewer = model.with_layers([0, 2])
    assert fewer.num_parameters < model.num_parameters
    for one in (model, fewer):
        single, ahead = read(one, tokens[:60], [64]), read(one, tokens[:60], [64])
        expected, part = [], tokens[60:64]
        for _ in range(5):
            expected.append(int(one.advance(part, single).argmax()))
            part = expected[-1:]
        assert [token_id for token_id, _ in one.draft_ahead(tokens[60:64], ahead, 5)] == expected


def test_one_layer_of_each_form_is_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers of equal kinds and sizes are computed alike, and a large model takes seconds for all of them."""
    coarse, fine = make(Q4_K_M).stored, make({**Q4_K_M, "down": "Q4_K"}).stored
    layers = [*coarse.layers, *fine.layers, *coarse.layers]
    model = build(replace(SHAPE, layers=9), replace(coarse, layers=layers), threads=1)
    probed = model.of_each_form()
    assert probed.num_layers == 2
    counted = 0
    step = CpuDecoder.step

    def counting(self: CpuDecoder, token_ids: Sequence[int], cache: Cache) -> Tensor:
        nonlocal counted
        counted += self.num_layers
        return step(self, token_ids, cache)

    monkeypatch.setattr(CpuDecoder, "step", counting)
    assert probe(model).width == model.capabilities.step_width == STEP_WIDTH
    assert counted == 2 * (STEP_WIDTH + 1)


def test_layers_are_asked_for_once_and_one_by_one(tokens: list[int]) -> None:
    """So that a file's blocks and their panels need not be there together."""
    pair = make(Q4_K_M)
    wanted = load(pair.stored).step(tokens[:4], load(pair.stored).new_cache()).clone()
    once = StoredWeights(
        tables=iter(pair.stored.tables), layers=iter(pair.stored.layers), norm=pair.stored.norm,
        rotary=pair.stored.rotary, is_tied=pair.stored.is_tied,
    )  # fmt: skip
    model = load(once)
    assert torch.equal(model.step(tokens[:4], model.new_cache()), wanted)


def test_a_table_is_let_go_before_the_next_is_read() -> None:
    stored = make(Q4_K_M).stored
    seen = []

    def tables() -> Iterator[Matrix]:
        for table in stored.tables:
            assert not isinstance(table, Tensor)
            rows = table[0].rows.copy()
            seen.append(weakref.ref(rows))
            yield (replace(table[0], rows=rows),)
            del rows
            assert seen[-1]() is None

    load(replace(stored, tables=tables()))
    assert len(seen) == 2


def test_what_the_kernels_can_not_multiply_with_is_known_before() -> None:
    rng = np.random.default_rng(0)
    parts = [random_blocks("Q8_0", outputs, 64, rng) for outputs in (64, 32, 10)]
    assert can_pack(parts)
    assert not can_pack([parts[2], parts[0]]), "a part that fills no panel, and another below it"
    other = BlockRows(type_name="Q2_K", inputs=256, rows=np.zeros((4, 84), np.uint8))
    assert not can_pack([other])
    assert "Q2_K" not in block_types()
