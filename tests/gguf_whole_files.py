"""Whole tiny models as GGUF files that need neither a folder nor torch to be made: one of each kind of tokenizer."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.gguf_files import Gguf, floats, random_tensor

TOKENS = "tokenizer.ggml."


def byte_pair_file() -> Gguf:
    """A whole tiny model with a byte-level tokenizer."""
    names = [*_byte_level(), "ab", "Ġa", "Ġab", "<|endoftext|>", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"]
    kinds = [1] * (len(names) - 4) + [3] * 4 + [5] * 2
    tokens = {
        "model": "gpt2",
        "pre": "qwen2",
        "tokens": [*names, "[PAD1]", "[PAD2]"],
        "token_type": np.array(kinds, np.int32),
        "merges": ["a b", "Ġ a", "Ġa b"],
        "eos_token_id": len(names) - 4,
        "bos_token_id": len(names) - 4,
        "add_bos_token": False,
    }
    return _model("qwen2", tokens)


def sentence_piece_file() -> Gguf:
    """A whole tiny model with a SentencePiece table, and factors of rotary frequencies."""
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "b", "▁a", "ab", "▁ab"]
    tokens = {
        "model": "llama",
        "tokens": names,
        "token_type": np.array([2, 3, 3, *[6] * 256, *[1] * 6], np.int32),
        "scores": -np.arange(len(names), dtype=np.float32),
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    more = {"rope.scaling.type": "linear", "rope.scaling.factor": 2.0, "split.count": 1, "split.no": 0}
    return _model("llama", tokens, more, {"rope_freqs.weight": floats(np.ones(8))})


def _byte_level() -> list[str]:
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + number) for number in range(len(others))]


def _model(kind: str, tokens: dict[str, Any], more: Any = (), extra: Any = ()) -> Gguf:
    sizes = {
        "block_count": 1, "context_length": 512, "embedding_length": 32, "feed_forward_length": 64,
        "attention.head_count": 2, "attention.head_count_kv": 1, "attention.key_length": 16,
        "attention.layer_norm_rms_epsilon": 1e-6, "rope.freq_base": 10_000.0, "attention.sliding_window": 0,
    }  # fmt: skip
    metadata: dict[str, Any] = {"general.architecture": kind, "general.name": "Tiny", "general.file_type": 15}
    metadata |= {
        key if key.startswith("split") else f"{kind}.{key}": item for key, item in {**sizes, **dict(more)}.items()
    }
    metadata |= {"general.alignment": 32, **{TOKENS + key: item for key, item in tokens.items()}}
    shapes = {
        "attn_q": (32, 32), "attn_k": (16, 32), "attn_v": (16, 32), "attn_output": (32, 32),
        "ffn_gate": (64, 32), "ffn_up": (64, 32), "ffn_down": (32, 64),
    }  # fmt: skip
    tensors = {"token_embd.weight": random_tensor("Q8_0", len(tokens["tokens"]), 32)}
    tensors |= {f"blk.0.{name}.weight": random_tensor("Q4_0", *shape) for name, shape in shapes.items()}
    tensors |= {f"blk.0.{name}.weight": random_tensor("F32", 32) for name in ("attn_norm", "ffn_norm")}
    if kind == "qwen2":
        tensors |= {f"blk.0.attn_{part}.bias": random_tensor("F32", shapes[f"attn_{part}"][0]) for part in "qkv"}
    tensors |= {"output_norm.weight": random_tensor("F32", 32), **dict(extra)}
    return Gguf(metadata=metadata, tensors=tensors)
