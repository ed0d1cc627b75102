"""Reads a model folder (config.json, safetensors, tokenizer.json) into a `Decoder`, or says what is wrong with it.

Weights are safetensors only: other formats can run code when they are read. The whole folder is read from disk;
nothing is ever fetched here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer
from torch import Tensor

from decoding.errors import ModelError
from decoding.models.decoder import Decoder, Layer, Shape, rotary_table
from decoding.models.rope import inverse_frequencies

ARCHITECTURES = ("llama", "mistral", "qwen2", "qwen3")
OTHER_FORMATS = (".bin", ".pt", ".pth", ".ckpt", ".gguf")


def read_config(folder: Path) -> dict[str, Any]:
    """The folder's config.json. Raises `ModelError` if folder or file is missing or of another form."""
    if not folder.is_dir():
        raise ModelError(f"no model folder at {folder}")
    path = folder / "config.json"
    if not path.is_file():
        raise ModelError(f"{folder} is not a complete model folder: config.json is missing")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path}: not JSON ({error})") from None
    if not isinstance(config, dict) or config.get("model_type") not in ARCHITECTURES:
        found = config.get("model_type") if isinstance(config, dict) else config
        raise ModelError(f"{path}: model_type {found!r} is not supported (one of {', '.join(ARCHITECTURES)} is)")
    if (activation := config.get("hidden_act", "silu")) != "silu":
        raise ModelError(f"{path}: hidden_act {activation!r} is not supported (silu is)")
    window = config.get("sliding_window")
    if window and config.get("use_sliding_window", config["model_type"] == "mistral"):
        raise ModelError(f"{path}: sliding-window attention ({window} tokens) is not supported")
    return config


def load_tokenizer(folder: Path) -> Tokenizer:
    """The folder's tokenizer.json. Raises `ModelError`."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ModelError(f"{folder} is not a complete model folder: tokenizer.json is missing")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise ModelError(f"{path}: {error}") from None
    # A file may hold the name of a special token; there it is text like any other.
    tokenizer.encode_special_tokens = True
    return tokenizer


def load_decoder(folder: Path, *, vocabulary: int, max_len: int, device: torch.device, dtype: torch.dtype) -> Decoder:
    """Read the weights.

    Args:
        folder: a Hugging Face model folder.
        vocabulary: number of real token ids; padding rows of the head behind them are cut off.
        max_len: wanted length of prompt and answer together, bounded by the model's own.
        device: where the weights go.
        dtype: what they are stored in.

    Raises:
        ModelError: the folder is missing, incomplete, not safetensors or of another architecture.
    """
    config = read_config(folder)
    shape = _shape(config, vocabulary, max_len)
    tensors = _Tensors(folder, device, dtype)
    embedding = tensors.take("model.embed_tokens.weight")
    if len(embedding) < vocabulary:
        raise ModelError(f"{folder}: the tokenizer has {vocabulary} tokens, the model only {len(embedding)}")
    head = embedding if config.get("tie_word_embeddings") else tensors.take("lm_head.weight")
    frequencies = inverse_frequencies(config, shape.head_dim)
    layers = [_layer(tensors, f"model.layers.{i}", shape) for i in range(shape.layers)]
    norm = tensors.take("model.norm.weight")
    if left := tensors.untaken():
        raise ModelError(f"{folder}: tensor {left[0]} (and {len(left) - 1} more) has no place in this architecture")
    return Decoder(
        shape,
        embedding=embedding,
        layers=layers,
        norm=norm,
        head=head[:vocabulary],
        rotary=rotary_table(shape.max_len + 128, frequencies).to(device),
    )


def _shape(config: Mapping[str, Any], vocabulary: int, max_len: int) -> Shape:
    try:
        heads, width = int(config["num_attention_heads"]), int(config["hidden_size"])
        return Shape(
            layers=int(config["num_hidden_layers"]),
            width=width,
            heads=heads,
            kv_heads=int(config.get("num_key_value_heads") or heads),
            head_dim=int(config.get("head_dim") or width // heads),
            vocabulary=vocabulary,
            max_len=min(max_len, int(config.get("max_position_embeddings") or max_len)),
            norm_eps=float(config.get("rms_norm_eps", 1e-6)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"config.json: {error!r} is missing or not a number") from None


def _layer(tensors: _Tensors, name: str, shape: Shape) -> Layer:
    attention = f"{name}.self_attn"
    kinds = ("q_proj", "k_proj", "v_proj")
    order = _pair_order(shape.head_dim)
    weights = [tensors.take(f"{attention}.{kind}.weight") for kind in kinds]
    biases = [tensors.find(f"{attention}.{kind}.bias") for kind in kinds]
    norms = [tensors.find(f"{attention}.{kind}.weight") for kind in ("q_norm", "k_norm")]
    present = [bias for bias in biases if bias is not None]
    return Layer(
        input_norm=tensors.take(f"{name}.input_layernorm.weight"),
        qkv=torch.cat([_pair_up(weights[0], order), _pair_up(weights[1], order), weights[2]]),
        qkv_bias=torch.cat([_pair_up(present[0], order), _pair_up(present[1], order), present[2]]) if present else None,
        query_norm=None if norms[0] is None else _pair_up(norms[0], order),
        key_norm=None if norms[1] is None else _pair_up(norms[1], order),
        out=tensors.take(f"{attention}.o_proj.weight"),
        post_norm=tensors.take(f"{name}.post_attention_layernorm.weight"),
        gate_up=torch.cat([tensors.take(f"{name}.mlp.{kind}.weight") for kind in ("gate_proj", "up_proj")]),
        down=tensors.take(f"{name}.mlp.down_proj.weight"),
    )


def _pair_order(head_dim: int) -> Tensor:
    """Hugging Face turns dimension i with i + D/2; side by side they are one complex number."""
    return torch.arange(head_dim).view(2, -1).T.flatten()


def _pair_up(rows: Tensor, order: Tensor) -> Tensor:
    paired: Tensor = rows.unflatten(0, (-1, len(order)))[:, order.to(rows.device)]
    return paired.flatten(0, 1).contiguous()


class _Tensors:
    """The tensors of a folder, one file or several, read by name."""

    def __init__(self, folder: Path, device: torch.device, dtype: torch.dtype) -> None:
        self._folder, self._device, self._dtype = folder, device, dtype
        self._files: dict[str, Path] = {}
        self._taken: set[str] = set()
        for path in sorted(folder.glob("*.safetensors")):
            try:
                with safe_open(str(path), framework="pt") as file:
                    self._files |= dict.fromkeys(file.keys(), path)
            except SafetensorError as error:
                raise ModelError(f"{path}: not a safetensors file, or cut short ({error})") from None
        if not self._files:
            others = [path.name for path in folder.iterdir() if path.suffix in OTHER_FORMATS]
            hint = f"; {others[0]} is not safetensors, and other formats are not read" if others else ""
            raise ModelError(f"{folder} is not a complete model folder: no .safetensors file{hint}")

    def take(self, name: str) -> Tensor:
        """The tensor, on device. Raises `ModelError` if it is missing."""
        tensor = self.find(name)
        if tensor is None:
            raise ModelError(f"{self._folder} is not a complete model folder: tensor {name} is missing")
        return tensor

    def find(self, name: str) -> Tensor | None:
        """The tensor, or None where the model has none of that name."""
        path = self._files.get(name)
        if path is None:
            return None
        self._taken.add(name)
        with safe_open(str(path), framework="pt") as file:
            tensor: Tensor = file.get_tensor(name).to(self._device, self._dtype)
        return tensor

    def untaken(self) -> list[str]:
        """Names that nothing asked for: a model half read computes nonsense. Some tools leave needless ones behind."""
        return sorted(
            name for name in self._files.keys() - self._taken if name != "lm_head.weight" and "rotary_emb" not in name
        )
