"""Cuts a small model out of a large one: the layers, heads, neurons and channels that matter least go.

Layers are ranked by how much the loss rises without them, the rest by the size of their outputs on the user's own text:
Muralidharan et al. 2024, Minitron (https://arxiv.org/abs/2407.14679); Men et al. 2024, ShortGPT
(https://arxiv.org/abs/2403.03853). Llama, Mistral, Qwen2 and Qwen3. Knows no files.

Dimension letters: W width (channels), F neurons of a feed-forward layer, H query heads, K key heads, D head size.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from decoding.training.pretrain import next_token_loss

KINDS = ("llama", "mistral", "qwen2", "qwen3")


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """The sizes of a model that pruning changes; `heads` is a multiple of `kv_heads`."""

    layers: int
    width: int
    ff: int
    heads: int
    kv_heads: int

    @classmethod
    def of(cls, model: PreTrainedModel) -> Size:
        """Return the sizes of a model."""
        config = model.config
        return cls(
            layers=config.num_hidden_layers,
            width=config.hidden_size,
            ff=config.intermediate_size,
            heads=config.num_attention_heads,
            kv_heads=config.num_key_value_heads,
        )

    def smaller(self) -> Size:
        """Return a third of the layers and half of the rest: about a tenth of the work."""
        kv_heads = max(1, self.kv_heads // 2)
        per_group = max(1, self.heads // 2 // kv_heads)
        return Size(
            layers=max(1, self.layers // 3),
            width=_round(self.width / 2),
            ff=_round(self.ff / 2),
            heads=per_group * kv_heads,
            kv_heads=kv_heads,
        )


@dataclass(slots=True, kw_only=True)
class Importance:
    """Scores of parts; larger is more important. By layer: the loss that it saves, neurons (F,), query heads (H,).

    Channels have (W,) for the whole model.
    """

    layers: list[float] = field(default_factory=list)
    neurons: list[Tensor] = field(default_factory=list)
    heads: list[Tensor] = field(default_factory=list)
    channels: Tensor


@torch.no_grad()
def measure(model: PreTrainedModel, batches: Sequence[Tensor]) -> Importance:
    """Measure importance on `batches` of (rows, row_len) int64 token ids."""
    model.eval()
    layers = model.model.layers
    size = Size.of(model)
    neurons = [torch.zeros(size.ff) for _ in layers]
    heads = [torch.zeros(size.heads) for _ in layers]
    found = Importance(channels=torch.zeros(size.width), neurons=neurons, heads=heads)
    with ExitStack() as hooks:
        for i, layer in enumerate(layers):
            hooks.enter_context(_input_of(layer.mlp.down_proj, _adder(neurons[i])))
            hooks.enter_context(_input_of(layer.self_attn.o_proj, _adder(heads[i])))
            hooks.enter_context(_input_of(layer.mlp.gate_proj, _adder(found.channels)))
        hooks.enter_context(_input_of(model.lm_head, _adder(found.channels)))
        whole = _loss(model, batches)
    for layer in layers:
        with _skipped(layer):
            found.layers.append(_loss(model, batches) - whole)
    return found


def prune(model: PreTrainedModel, importance: Importance, size: Size) -> PreTrainedModel:
    """Return a new model of that size with the most important parts of `model`, in their order.

    Raises:
        ValueError: `size` isn't within the model's own.
    """
    had = Size.of(model)
    _check(size, had)
    layers = _best(torch.tensor(importance.layers), size.layers).tolist()
    channels = _best(importance.channels, size.width)
    pruned: PreTrainedModel = type(model)(_config(model, size, layers))
    head_dim = pruned.config.head_dim
    kept = [_kept(importance, layer, size, had, head_dim) for layer in layers]
    source, taken = model.state_dict(), {}
    for name in pruned.state_dict():
        parts = name.split(".")
        if parts[1] == "layers":
            number = int(parts[2])
            tensor = source[".".join([*parts[:2], str(layers[number]), *parts[3:]])]
            taken[name] = _cut(tensor, parts[-2], {**kept[number], "channels": channels})
        else:
            taken[name] = source[name].index_select(-1, channels.to(source[name].device))
    pruned.load_state_dict(taken)
    pruned.to(device=model.device, dtype=torch.float32)  # type: ignore[call-arg]
    return pruned


# The meaning of each dimension of a layer's tensors; tensors that aren't listed are vectors of channels.
_DIMENSIONS = {
    "q_proj": ("queries", "channels"),
    "k_proj": ("keys", "channels"),
    "v_proj": ("keys", "channels"),
    "o_proj": ("channels", "queries"),
    "gate_proj": ("neurons", "channels"),
    "up_proj": ("neurons", "channels"),
    "down_proj": ("channels", "neurons"),
    "q_norm": (),
    "k_norm": (),
}


def _cut(tensor: Tensor, kind: str, kept: dict[str, Tensor]) -> Tensor:
    """Return the kept part of a layer's weight or bias; a bias has the first dimension alone."""
    dimensions = _DIMENSIONS.get(kind, ("channels",))
    for dimension, what in enumerate(dimensions[: tensor.ndim]):
        tensor = tensor.index_select(dimension, kept[what].to(tensor.device))
    return tensor


def _kept(importance: Importance, layer: int, size: Size, had: Size, head_dim: int) -> dict[str, Tensor]:
    """Return the indices of one layer's neurons and of the rows of its query and key projections."""
    by_group = importance.heads[layer].view(had.kv_heads, -1)
    groups = _best(by_group.sum(dim=1), size.kv_heads)
    per_group = size.heads // size.kv_heads
    heads = torch.cat([_best(by_group[group], per_group) + group * by_group.shape[1] for group in groups])
    within = torch.arange(head_dim)
    return {
        "neurons": _best(importance.neurons[layer], size.ff),
        "queries": (heads[:, None] * head_dim + within).flatten(),
        "keys": (groups[:, None] * head_dim + within).flatten(),
    }


def _best(scores: Tensor, number: int) -> Tensor:
    """Return the indices of the `number` largest scores, in ascending order."""
    return scores.topk(number).indices.sort().values


def _check(size: Size, had: Size) -> None:
    for name in Size.__slots__:
        if not 1 <= getattr(size, name) <= getattr(had, name):
            raise ValueError(f"{name} must be from 1 to {getattr(had, name)}, not {getattr(size, name)}")
    if size.heads % size.kv_heads or size.heads // size.kv_heads > had.heads // had.kv_heads:
        raise ValueError(f"{size.heads} query heads can't share {size.kv_heads} of the {had.kv_heads} key heads")


def _config(model: PreTrainedModel, size: Size, layers: Sequence[int]) -> Any:
    config = copy.deepcopy(model.config)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    config.update(
        {
            "num_hidden_layers": size.layers,
            "hidden_size": size.width,
            "intermediate_size": size.ff,
            "num_attention_heads": size.heads,
            "num_key_value_heads": size.kv_heads,
            "head_dim": head_dim,
        }
    )
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[layer] for layer in layers]
    return config


def _round(number: float) -> int:
    """Round to a multiple of 64, which hardware likes, or of 8 for the tiniest."""
    step = 64 if number >= 64 else 8
    return max(step, round(number / step) * step)


def _loss(model: PreTrainedModel, batches: Sequence[Tensor]) -> float:
    losses = []
    for ids in batches:
        with torch.autocast(model.device.type, dtype=torch.bfloat16):
            losses.append(next_token_loss(model, ids.to(model.device)).item())
    return sum(losses) / len(losses)


def _adder(total: Tensor) -> Callable[[Tensor], None]:
    """Return a function that adds the mean absolute value of an input (…, n) to `total`.

    Where `total` has fewer than n entries, each gets the mean of an equal stretch.
    """

    def add(values: Tensor) -> None:
        means = values.detach().float().abs().flatten(0, -2).mean(dim=0).cpu()
        total.add_(means.view(len(total), -1).mean(dim=1))

    return add


@contextmanager
def _input_of(module: torch.nn.Module, look: Callable[[Tensor], None]) -> Iterator[None]:
    handle = module.register_forward_pre_hook(lambda _, inputs: look(inputs[0]))
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _skipped(layer: torch.nn.Module) -> Iterator[None]:
    def pass_through(_: torch.nn.Module, inputs: tuple[Any, ...], output: object) -> object:
        return (inputs[0], *output[1:]) if isinstance(output, tuple) else inputs[0]

    handle = layer.register_forward_hook(pass_through)
    try:
        yield
    finally:
        handle.remove()
