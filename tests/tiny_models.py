"""Tiny random models with a tokenizer of their own, saved as the Hugging Face folders that users have."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from decoding.training import tokenizer as training_tokenizer

VOCABULARY = 600
MAX_LEN = 320
KINDS = {
    "llama": (LlamaConfig, LlamaForCausalLM, {}),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM, {"tie_word_embeddings": True}),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM, {}),
}
TEXT = Path(__file__).read_text(encoding="utf-8") + "\n# äöü 中文 🎉 naïve\n"


@cache
def make_tokenizer() -> Tokenizer:
    """Learnt from this very file."""
    return training_tokenizer.train([TEXT] * 4, vocabulary_size=VOCABULARY)


def make_model(folder: Path, family: str, *, seed: int = 0, layers: int = 2, **changes: object) -> Path:
    """Save a random model; weights are large enough for its greedy output to vary."""
    torch.manual_seed(seed)
    config_type, model_type, extra = KINDS[family]
    settings = {
        "vocab_size": make_tokenizer().get_vocab_size(),
        "hidden_size": 32,
        "num_hidden_layers": layers,
        "intermediate_size": 64,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": MAX_LEN,
        "eos_token_id": 0,
        "pad_token_id": 4,
        "bos_token_id": None,
        **extra,
        **changes,
    }
    model: PreTrainedModel = model_type(config_type(**settings))
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0, 0.3)
    model.save_pretrained(folder)
    training_tokenizer.save(make_tokenizer(), folder)
    return folder
