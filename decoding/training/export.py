"""Writes a trained model as a standard folder: config.json, safetensors, tokenizer.json.

A folder is written aside and renamed, so that nobody ever meets half a model.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import PreTrainedModel

from decoding.training.checkpoint import TrainingError

MAX_SHARD = "15MB"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")


def export(model: PreTrainedModel, tokenizer_folder: Path, folder: Path) -> None:
    """Save in bfloat16, in files below 16 MB, with the tokenizer of that folder; an older folder is replaced.

    Raises:
        TrainingError: the disk is full or the folder can't be written; an older one stands.
    """

    def write(partial: Path) -> None:
        saved = type(model)(model.config)
        saved.load_state_dict(model.state_dict())
        saved.to(torch.bfloat16).save_pretrained(partial, max_shard_size=MAX_SHARD)  # type: ignore[arg-type]
        (partial / "generation_config.json").unlink(missing_ok=True)
        copy_tokenizer(tokenizer_folder, partial)

    write_folder(folder, write)


def copy_tokenizer(source: Path, folder: Path) -> None:
    """Copy those of a tokenizer's files that exist."""
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)


def write_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Have `write` fill a folder aside, then put it in the place of `folder`.

    Raises:
        TrainingError: the disk is full or the folder can't be written; an older one stands.
    """
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        write(partial)
        for file in partial.iterdir():
            file.chmod(0o644)  # safetensors makes files that only their owner can read
        old = folder.with_name(folder.name + ".old")
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            folder.rename(old)
        partial.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    except Exception as error:  # safetensors has an error class of its own for a full disk
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, OSError) or "SafetensorError" in type(error).__name__:
            raise TrainingError(f"the model folder {folder} can't be written: {error}") from None
        raise
