"""Tiny random models with a tokenizer of their own, saved as the Hugging Face folders that users have."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedModel

from decoding.training import tokenizer as training_tokenizer

VOCABULARY = 600
MAX_LEN = 320
TEXT = Path(__file__).read_text(encoding="utf-8") + "\n# äöü 中文 🎉 naïve\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A line of the table: transformers' name of the architecture, its settings, and what is to be true of it."""

    kind: str
    settings: dict[str, Any] = field(default_factory=dict)
    is_ours: bool = False
    verifies: bool = True

    @property
    def prompt_lens(self) -> tuple[int, ...]:
        """Prompts to try, around the ends of chunks; the own forward pass needs more of them, a plain one fewer."""
        if self.is_ours:
            return (1, 7, 64, 65, 100, 150)
        return (7, 120) if self.verifies else (70,)


FAMILIES: dict[str, Family] = {
    "llama": Family(kind="llama", is_ours=True),
    "qwen2": Family(kind="qwen2", settings={"tie_word_embeddings": True}, is_ours=True),
    "qwen3": Family(kind="qwen3", is_ours=True),
    "mistral": Family(kind="mistral", settings={"sliding_window": None}, is_ours=True),
    "mistral-window": Family(kind="mistral", settings={"sliding_window": 48}),
    "gpt_neox": Family(kind="gpt_neox"),
    "starcoder2": Family(kind="starcoder2", settings={"sliding_window": None}),
    "gemma": Family(kind="gemma"),
    "opt": Family(kind="opt", settings={"ffn_dim": 64, "word_embed_proj_dim": 32}),
    "bloom": Family(kind="bloom", settings={"n_layer": 2, "n_head": 4}, verifies=False),
    "mixtral": Family(kind="mixtral", settings={"num_local_experts": 4}, verifies=False),
    "mamba": Family(kind="mamba", settings={"state_size": 8}, verifies=False),
    "qwen3_next": Family(
        kind="qwen3_next",
        settings={
            "layer_types": ["linear_attention", "full_attention"],
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
            "shared_expert_intermediate_size": 32,
            "linear_num_value_heads": 4,
            "linear_num_key_heads": 2,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
        },
        verifies=False,
    ),
}
SETTINGS = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": MAX_LEN,
    "eos_token_id": 0,
    "pad_token_id": 4,
    "bos_token_id": None,
}


@cache
def make_tokenizer() -> Tokenizer:
    """Learnt from this very file."""
    return training_tokenizer.train([TEXT] * 4, vocabulary_size=VOCABULARY)


def make_model(folder: Path, family: str, *, seed: int = 0, layers: int = 2, **changes: object) -> Path:
    """Save a random model; weights are large enough for its greedy output to vary."""
    torch.manual_seed(seed)
    line = FAMILIES[family]
    vocabulary = {"vocab_size": make_tokenizer().get_vocab_size()}
    settings = {**SETTINGS, **vocabulary, "num_hidden_layers": layers, **line.settings, **changes}
    model: PreTrainedModel = AutoModelForCausalLM.from_config(CONFIG_MAPPING[line.kind](**settings))
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0, 0.3)
    model.save_pretrained(folder)
    training_tokenizer.save(make_tokenizer(), folder)
    return folder
