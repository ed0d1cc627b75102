"""Writes a Hugging Face folder as a GGUF file, as llama.cpp's own converter does, with every setting open to change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file

from decoding.models.gguf.architecture import IN_LAYER, NAMES
from tests.gguf_files import Gguf, Stored, floats, random_tensor

ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)


def settings_of(folder: Path, *, padding: int = 0, pre: str = "gpt-2") -> dict[str, Any]:
    """The metadata of a folder's model and tokenizer, with so many padding ids at the end."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    kind = ARCHITECTURES[config["model_type"]]
    rope = config.get("rope_parameters") or {}
    own = {
        "block_count": config["num_hidden_layers"],
        "context_length": config["max_position_embeddings"],
        "embedding_length": config["hidden_size"],
        "feed_forward_length": config["intermediate_size"],
        "attention.head_count": config["num_attention_heads"],
        "attention.head_count_kv": config["num_key_value_heads"],
        "attention.key_length": config["head_dim"],
        "attention.value_length": config["head_dim"],
        "attention.layer_norm_rms_epsilon": float(config["rms_norm_eps"]),
        "rope.freq_base": float(rope.get("rope_theta") or 10_000),
    }
    named = {f"{kind}.{key}": value for key, value in own.items()}
    return {"general.architecture": kind, "general.name": "Tiny", **named, **tokens_of(folder, padding, pre)}


def tokens_of(folder: Path, padding: int, pre: str) -> dict[str, Any]:
    described = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    added = {token["id"]: token for token in described["added_tokens"]}
    table = {token_id: token for token, token_id in described["model"]["vocab"].items()}
    table |= {token_id: token["content"] for token_id, token in added.items()}
    kinds = [
        CONTROL if (token := added.get(i)) and token["special"] else USER_DEFINED if token else NORMAL
        for i in sorted(table)
    ]
    pads = [f"[PAD{len(table) + i}]" for i in range(padding)]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in described["model"]["merges"]]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": [*(table[i] for i in sorted(table)), *pads],
        "tokenizer.ggml.token_type": np.array([*kinds, *[UNUSED] * padding], np.int32),
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.eos_token_id": 0,
        "tokenizer.ggml.add_bos_token": False,
    }


def tensors_of(folder: Path, *, padding: int = 0) -> dict[str, Stored]:
    """The folder's tensors in float32; the rows of Llama's queries and keys in llama.cpp's order."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    back = {there: here for here, there in (NAMES | IN_LAYER).items()}
    tensors = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        values = tensor.float().numpy()
        if ARCHITECTURES[config["model_type"]] == "llama" and name.split(".")[-2] in ("q_proj", "k_proj"):
            halves = values.reshape(-1, 2, config["head_dim"] // 2, values.shape[-1])
            values = halves.swapaxes(1, 2).reshape(values.shape)
        if name in back:
            theirs = back[name]
        else:
            _, _, layer, *path, kind = name.split(".")
            theirs = f"blk.{layer}.{back['.'.join(path)]}.{kind}"
        if name in ("model.embed_tokens.weight", "lm_head.weight") and padding:
            values = np.concatenate([values, np.full((padding, values.shape[1]), 9, np.float32)])
        tensors[theirs] = floats(values)
    return tensors


def tiny_gguf(file: Path, folder: Path, *, padding: int = 0, **changes: Any) -> Path:
    """Write a folder as a file; a setting that is None is left out, and `a__b` stands for `a.b`."""
    changed = {key.replace("__", "."): value for key, value in changes.items()}
    metadata = settings_of(folder, padding=padding) | changed
    metadata = {key: value for key, value in metadata.items() if value is not None}
    return Gguf(metadata=metadata, tensors=tensors_of(folder, padding=padding)).write(file)


def quantised(tensors: dict[str, Stored], kind: str) -> dict[str, Stored]:
    """The same names and shapes, with random blocks of a type in every matrix."""
    return {
        name: random_tensor(kind, *tensor.dimensions[::-1], seed=number) if len(tensor.dimensions) == 2 else tensor
        for number, (name, tensor) in enumerate(tensors.items())
    }
