"""Writes a trained model as the folder that everybody reads: config.json, safetensors, tokenizer.json.

A folder is written aside and renamed, so that nobody ever meets half a model.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from decoding.training import tokenizer as training_tokenizer

MAX_SHARD = "15MB"


def export(model: LlamaForCausalLM, tokenizer: Tokenizer, folder: Path) -> None:
    """Save in bfloat16, in files below 16 MB; an older folder of that name is replaced."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    saved = LlamaForCausalLM(model.config)
    saved.load_state_dict(model.state_dict())
    saved.to(torch.bfloat16).save_pretrained(partial, max_shard_size=MAX_SHARD)  # type: ignore[arg-type]
    (partial / "generation_config.json").unlink(missing_ok=True)
    training_tokenizer.save(tokenizer, partial)
    for file in partial.iterdir():
        file.chmod(0o644)  # safetensors writes files that only their owner can read
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
