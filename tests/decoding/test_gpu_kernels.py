"""The Triton kernels against float64 and against themselves: interpreted without a GPU, absent without Triton."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton", reason="Triton is not installed")

from decoding.kv_cache import BLOCK, Blocks
from decoding.models.cuda.operations import Splits, Spot, TorchOperations, whole
from decoding.models.cuda.triton_operations import TritonOperations
from decoding.models.torch.decoder import Layer, Shape, rotary_table
from decoding.models.torch.row_placement import Tails

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
SPLITS = Splits(near=64, num_near=2, far=128)
CAPACITY = 576
KERNELS = TritonOperations()
# Triton's interpreter multiplies no bfloat16.
HALF = torch.bfloat16 if DEVICE.type == "cuda" else torch.float16
# By dtype, the largest norm of the error over the norm of the result.
TOLERANCE = {torch.float32: 1e-5, HALF: 1e-2}


def make_shape(heads: int = 4, kv_heads: int = 2, head_dim: int = 16) -> Shape:
    return Shape(
        layers=2,
        width=24,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocabulary=50,
        max_len=CAPACITY - BLOCK,
        norm_eps=1e-6,
    )


def make_layer(shape: Shape, *, has_norms: bool, dtype: torch.dtype = torch.float32) -> Layer:
    nothing = torch.empty(0)
    norms = [1 + 0.1 * torch.randn(shape.head_dim, device=DEVICE).to(dtype) if has_norms else None for _ in range(2)]
    return Layer(
        input_norm=nothing,
        qkv=nothing,
        qkv_bias=None,
        query_norm=norms[0],
        key_norm=norms[1],
        out=nothing,
        post_norm=nothing,
        gate_up=nothing,
        down=nothing,
    )


def make_place(shape: Shape, start: int, num_real: int, dtype: torch.dtype, store: Blocks | None = None) -> Spot:
    if store is None:
        store = Blocks(
            layers=shape.layers,
            kv_heads=shape.kv_heads,
            head_dim=shape.head_dim,
            capacity=CAPACITY,
            dtype=dtype,
            device=DEVICE,
        )
        store.keys.normal_()
        store.values.normal_()
    words = [start, num_real, store.keys.data_ptr(), store.values.data_ptr()]
    return Spot(torch.tensor(words, device=DEVICE), store)


def error(found: Tensor, wanted: Tensor) -> float:
    """Relative, by norms; not a number where the result is none."""
    wanted = wanted.double()
    return float((found.double() - wanted).norm() / wanted.norm())


def attention_in_float64(query: Tensor, shape: Shape, index: int, place: Spot) -> Tensor:
    start, num_real, *_ = place.words.tolist()
    groups = shape.heads // shape.kv_heads
    keys, values = (
        stored[index].transpose(0, 1).flatten(1, 2).double().repeat_interleave(groups, dim=0)
        for stored in (place.store.keys, place.store.values)
    )
    rows = []
    for row in range(num_real):
        live = start + row + 1
        scores = torch.einsum("nd,nsd->ns", query[row].double(), keys[:, :live]) * shape.head_dim**-0.5
        rows.append(torch.einsum("ns,nsd->nd", scores.softmax(-1), values[:, :live]).flatten())
    return torch.stack(rows)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("has_delta", [False, True])
def test_norm_and_residual(dtype: torch.dtype, has_delta: bool) -> None:
    torch.manual_seed(0)
    hidden, delta, weight = (torch.randn(size, device=DEVICE).to(dtype) for size in ((5, 24), (5, 24), (24,)))
    total = hidden.double() + (delta.double() if has_delta else 0)
    wanted = total * (total.square().mean(-1, keepdim=True) + 1e-6).rsqrt() * weight.double()
    found = KERNELS.add_norm(hidden, delta if has_delta else None, weight, 1e-6)
    assert error(found, wanted) < TOLERANCE[dtype]
    assert error(hidden, total) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_gate(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    gate_up = torch.randn(3, 2 * 1500, device=DEVICE).to(dtype)
    gate, up = gate_up.double().chunk(2, dim=-1)
    assert error(KERNELS.gate(gate_up), torch.nn.functional.silu(gate) * up) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("has_norms", [False, True])
def test_rotation_and_cache(dtype: torch.dtype, has_norms: bool) -> None:
    """Into the right slots, over the edge of a block, and nothing into those of padding or beside them."""
    torch.manual_seed(0)
    shape = make_shape()
    layer = make_layer(shape, has_norms=has_norms)
    rotary = rotary_table(CAPACITY, torch.rand(shape.head_dim // 2)).to(DEVICE)
    qkv = torch.randn(6, (shape.heads + 2 * shape.kv_heads) * shape.head_dim, device=DEVICE).to(dtype)
    places = [make_place(shape, 61, 5, dtype) for _ in range(2)]
    places[1].store.keys.copy_(places[0].store.keys)
    places[1].store.values.copy_(places[0].store.values)
    before = places[0].store.keys.clone()
    kernels = KERNELS.rotate_and_write(qkv, shape, layer, 1, places[0], rotary)
    plain = TorchOperations().rotate_and_write(qkv, shape, layer, 1, places[1], rotary)
    assert error(kernels, plain) < TOLERANCE[dtype]
    for name in ("keys", "values"):
        assert error(getattr(places[0].store, name), getattr(places[1].store, name)) < TOLERANCE[dtype]
    changed = (places[0].store.keys != before).any(-1)  # (L, blocks, H, 64)
    assert sorted({(layer, block * BLOCK + slot) for layer, block, _, slot in changed.nonzero().tolist()}) == [
        (1, slot) for slot in range(61, 66)
    ]


@pytest.mark.parametrize(
    ("dtype", "splits", "start", "num_rows", "num_real", "heads", "kv_heads"),
    [
        (torch.float32, SPLITS, 0, 1, 1, 4, 2),
        (torch.float32, SPLITS, 126, 5, 5, 3, 3),
        (torch.float32, SPLITS, 500, 8, 7, 7, 1),
        (torch.float32, whole(CAPACITY), 60, 8, 5, 7, 1),
        (HALF, SPLITS, 60, 8, 8, 4, 2),
        (HALF, whole(CAPACITY), 126, 4, 3, 4, 2),
    ],
)
def test_attention(
    dtype: torch.dtype, splits: Splits, start: int, num_rows: int, num_real: int, heads: int, kv_heads: int
) -> None:
    torch.manual_seed(0)
    shape = make_shape(heads, kv_heads)
    place = make_place(shape, start, num_real, dtype)
    query = torch.randn(num_rows, heads, shape.head_dim, device=DEVICE).to(dtype)
    found = KERNELS.attend(query, shape, 1, place, splits)[:num_real]
    assert error(found, attention_in_float64(query, shape, 1, place)) < TOLERANCE[dtype]


def test_more_queries_than_one_program_takes() -> None:
    torch.manual_seed(0)
    shape = make_shape(heads=7, kv_heads=1)
    place = make_place(shape, 70, 40, torch.float32)
    query = torch.randn(40, 7, shape.head_dim, device=DEVICE)
    for splits in (SPLITS, whole(CAPACITY)):
        found = KERNELS.attend(query, shape, 0, place, splits)
        assert error(found, attention_in_float64(query, shape, 0, place)) < TOLERANCE[torch.float32]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("first", [58, 122])
def test_a_row_is_the_same_whichever_row_it_is(dtype: torch.dtype, first: int) -> None:
    """To the bit: at each place of a step that crosses a block's and a piece's edge, whatever the other rows hold."""
    torch.manual_seed(0)
    shape = make_shape()
    width = 4
    place = make_place(shape, first, width, dtype)
    query = torch.randn(width + 8, shape.heads, shape.head_dim, device=DEVICE).to(dtype)
    above: Tensor | None = None
    for i in range(8):
        together = KERNELS.attend(query[i : i + width].contiguous(), shape, 0, _moved(place, i), SPLITS)
        if above is not None:
            assert torch.equal(together[: width - 1], above[1:])
        above = together
        row = i % width
        others = torch.randn_like(query[:width])
        others[row] = query[i + row]
        again = KERNELS.attend(others, shape, 0, _moved(place, i, num_real=row + 1), SPLITS)
        assert torch.equal(again[row], together[row])


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("start", [5, 64, 62, 126])
@pytest.mark.parametrize("splits", [SPLITS, whole(CAPACITY)], ids=["pieces", "whole"])
def test_rows_of_chains_are_those_of_steps(dtype: torch.dtype, start: int, splits: Splits) -> None:
    """To the bit, keys and values too, across a block's and a piece's edge; and the cache stays as it is."""
    torch.manual_seed(0)
    shape, width, lengths = make_shape(), 8, [3, 1, 3]
    layer = make_layer(shape, has_norms=False)
    rotary = rotary_table(CAPACITY, torch.rand(shape.head_dim // 2)).to(DEVICE)
    qkv = torch.randn(width, (shape.heads + 2 * shape.kv_heads) * shape.head_dim, device=DEVICE).to(dtype)
    plain = make_place(shape, start, width, dtype)
    assert plain.store is not None
    tails = Tails(plain.store)
    tails.keys.normal_()  # of earlier passes
    tails.values.normal_()
    together = _of_chains(plain, lengths, width, tails)
    before = plain.store.keys.clone()
    query = KERNELS.rotate_and_write(qkv, shape, layer, 1, together, rotary)
    mixed = KERNELS.attend(query, shape, 1, together, splits)
    assert torch.equal(plain.store.keys, before)
    first = 0
    for number, length in enumerate(lengths):
        alone = _moved(_copied(plain), 0, num_real=length)
        rows = torch.randn_like(qkv)
        rows[:length] = qkv[first : first + length]
        wanted = KERNELS.rotate_and_write(rows, shape, layer, 1, alone, rotary)
        assert torch.equal(query[first : first + length], wanted[:length])
        found = KERNELS.attend(wanted, shape, 1, alone, splits)
        assert torch.equal(mixed[first : first + length], found[:length]), number
        kept = _copied(plain)
        tails.keep(number, length, kept.blocks, start)
        assert torch.equal(kept.blocks.keys[1], alone.blocks.keys[1])
        assert torch.equal(kept.blocks.values[1], alone.blocks.values[1])
        first += length


def _of_chains(place: Spot, lengths: list[int], width: int, tails: Tails) -> Spot:
    padding = [0] * (width - sum(lengths))
    offsets = [i for length in lengths for i in range(length)] + padding
    owners = [number for number, length in enumerate(lengths) for _ in range(length)] + padding
    start, _, *addresses = place.words.tolist()
    words = [start, sum(lengths), *addresses, *([0] * width), *offsets, *owners]
    return Spot(torch.tensor(words, device=DEVICE), place.store, tails)


def _copied(place: Spot) -> Spot:
    store = copy.deepcopy(place.blocks)
    start, num_real, *_ = place.words.tolist()
    return Spot(torch.tensor([start, num_real, store.keys.data_ptr(), store.values.data_ptr()], device=DEVICE), store)


def _moved(place: Spot, by: int, num_real: int | None = None) -> Spot:
    words = place.words.clone()
    words[0] += by
    if num_real is not None:
        words[1] = num_real
    return Spot(words, place.store)


def test_where_pieces_begin_does_not_depend_on_the_length() -> None:
    assert [SPLITS.count(n) for n in (1, 64, 65, 128, 129, 256, 257, 576)] == [1, 1, 2, 2, 3, 3, 4, 6]
    assert whole(CAPACITY).count(CAPACITY) == 1
