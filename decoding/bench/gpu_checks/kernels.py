"""Checks the kernels at the sizes of real models: against float64, and rows against each other, to the bit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from decoding.bench.gpu_checks.setting import Setting, Skipped, error
from decoding.kv_cache import BLOCK, Blocks
from decoding.models.cuda.decoder import CudaDecoder
from decoding.models.cuda.operations import STEP_SPLITS, Operations, Spot, TorchOperations, whole
from decoding.models.torch.decoder import Layer, Shape

TOLERANCE = 1e-2  # chosen: several times the rounding of bfloat16
WIDTH = 16
CHUNK_ROWS = 128


def attention(setting: Setting) -> str:
    """Check steps and chunks, at short and long contexts, across the edges of blocks and pieces."""
    worst = 0.0
    for shape in _shapes(setting):
        made = _Made(setting, shape)
        far = made.store.capacity - CHUNK_ROWS
        cases = [(start, rows, STEP_SPLITS) for start in (0, 60, far // 2, far) for rows in (1, WIDTH)]
        cases += [(start, CHUNK_ROWS, whole(made.store.capacity)) for start in (0, far)]
        for start, rows, splits in cases:
            query, spot = made.query(rows), made.spot(start, rows)
            found = made.operations.attend(query, shape, 1, spot, splits)
            worst = max(worst, error(found, _in_float64(query, shape, start, made.store)))
    assert worst < TOLERANCE, f"error {worst:.2g}"
    return f"largest error {worst:.1e}"


def attention_rows(setting: Setting) -> str:
    """Check that a query gets equal bits at every row of a step, among any other rows, with any text behind it."""
    count = 0
    for shape in _shapes(setting):
        made = _Made(setting, shape)
        for start in (0, 58, 250, made.store.capacity - 2 * WIDTH - BLOCK):
            query = made.query(2 * WIDTH)
            for row in range(0, WIDTH, 3):
                position, others = start + WIDTH - 1, made.query(WIDTH)
                others[row] = query[0]
                found = made.operations.attend(others, shape, 1, made.spot(position - row, WIDTH), STEP_SPLITS)[row]
                others = made.query(WIDTH)
                others[0] = query[0]
                wanted = made.operations.attend(others, shape, 1, made.spot(position, 1), STEP_SPLITS)[0]
                assert torch.equal(found, wanted), f"row {row} at {position}"
                count += 1
    return f"{count} pairs of rows alike"


def fused(setting: Setting) -> str:
    """Check norm with residual, rotation with the write into the cache, and the gate, against torch in float32."""
    worst = 0.0
    torch_operations = TorchOperations()
    for shape in _shapes(setting):
        made = _Made(setting, shape)
        dtype, device = made.dtype, setting.device
        hidden, delta, weight = (torch.randn(size, device=device, dtype=dtype) for size in ((WIDTH, shape.width),) * 3)
        exact = torch_operations.add_norm(hidden.double(), delta.double(), weight[0].double(), 1e-6)
        worst = max(worst, error(made.operations.add_norm(hidden, delta, weight[0], 1e-6), exact))
        gate_up = torch.randn(WIDTH, 2 * 3 * shape.width, device=device, dtype=dtype)
        worst = max(worst, error(made.operations.gate(gate_up), torch_operations.gate(gate_up.double())))
        qkv = torch.randn(WIDTH, (shape.heads + 2 * shape.kv_heads) * shape.head_dim, device=device, dtype=dtype)
        angles = torch.rand(shape.max_len + 128, 1, shape.head_dim // 2, device=device)
        rotary = torch.polar(torch.ones_like(angles), angles)
        norm = torch.rand(shape.head_dim, device=device).to(dtype)
        for norms in (None, norm):
            layer = replace(_LAYER, query_norm=norms, key_norm=norms)
            ours, theirs = made.spot(60, WIDTH - 2), made.spot(60, WIDTH - 2, copied=True)
            query = made.operations.rotate_and_write(qkv, shape, layer, 1, ours, rotary)
            wanted = torch_operations.rotate_and_write(qkv, shape, layer, 1, theirs, rotary)
            worst = max(worst, error(query, wanted), error(ours.blocks.keys, theirs.blocks.keys))
            worst = max(worst, error(ours.blocks.values, theirs.blocks.values))
    assert worst < TOLERANCE, f"error {worst:.2g}"
    return f"largest error {worst:.1e}"


_NOTHING = torch.empty(0)
_LAYER = Layer(
    input_norm=_NOTHING,
    qkv=_NOTHING,
    qkv_bias=None,
    query_norm=None,
    key_norm=None,
    out=_NOTHING,
    post_norm=_NOTHING,
    gate_up=_NOTHING,
    down=_NOTHING,
)


def _shapes(setting: Setting) -> list[Shape]:
    """Return models of two layers with the target's and the draft's sizes."""
    models: list[Any] = [setting.models.target, setting.models.draft]
    return [replace(model.shape, layers=2) for model in models if model is not None]


class _Made:
    """Operations and a cache of random numbers for a shape."""

    def __init__(self, setting: Setting, shape: Shape) -> None:
        target = setting.models.target
        if not isinstance(target, CudaDecoder):
            raise Skipped("this model is not computed by recorded passes")
        torch.manual_seed(0)
        self.operations: Operations = target.operations
        self.dtype = target.dtype
        self.store = self._new_store(setting, shape)
        self._copy = self._new_store(setting, shape)
        for stored, copied in ((self.store.keys, self._copy.keys), (self.store.values, self._copy.values)):
            copied.copy_(stored.normal_())
        self._shape, self._device = shape, setting.device

    def _new_store(self, setting: Setting, shape: Shape) -> Blocks:
        return Blocks(
            layers=shape.layers,
            kv_heads=shape.kv_heads,
            head_dim=shape.head_dim,
            capacity=shape.max_len + BLOCK,
            dtype=self.dtype,
            device=setting.device,
        )

    def query(self, rows: int) -> Tensor:
        size = (rows, self._shape.heads, self._shape.head_dim)
        return torch.randn(size, device=self._device, dtype=self.dtype)

    def spot(self, start: int, num_real: int, *, copied: bool = False) -> Spot:
        store = self._copy if copied else self.store
        words = [start, num_real, store.keys.data_ptr(), store.values.data_ptr()]
        return Spot(torch.tensor(words, device=self._device), store)


def _in_float64(query: Tensor, shape: Shape, start: int, store: Blocks) -> Tensor:
    """Compute attention of (T, N, D) in layer 1 in float64, (T, N D), head by head of the keys."""
    rows, groups = len(query), shape.heads // shape.kv_heads
    live = start + rows
    reach = torch.arange(start, live, device=query.device).unsqueeze(1) >= torch.arange(live, device=query.device)
    mixed = []
    for head in range(shape.kv_heads):
        keys, values = (stored[1, :, head].flatten(0, 1)[:live].double() for stored in (store.keys, store.values))
        queries = query[:, head * groups : (head + 1) * groups].double().transpose(0, 1)
        scores = (queries @ keys.T * shape.head_dim**-0.5).masked_fill(~reach, -torch.inf)
        mixed.append((scores.softmax(dim=-1) @ values).transpose(0, 1))
    return torch.cat(mixed, dim=1).flatten(1)
