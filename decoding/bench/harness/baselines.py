"""Runs the baseline that a user would pick instead: transformers, with equal weights, prompts and stops."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PretrainedConfig

from decoding.errors import TabcastError
from decoding.models.gguf.split_files import is_gguf

GENERATE = "transformers"
ASSISTED = "transformers-assisted"
LOOKUP = "transformers-lookup"
NAMES = (GENERATE, ASSISTED, LOOKUP)
LOOKUP_TOKENS = 10


Generate = Callable[[list[int]], tuple[list[int], float, float]]


def load(target: Path, draft: Path | None, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Load the folders with transformers' own classes."""
    models = {"target": _load(target, device, dtype)}
    if draft is not None:
        models["draft"] = _load(draft, device, dtype)
    return models


def load_random(
    target: PretrainedConfig, draft: PretrainedConfig | None, device: torch.device, dtype: torch.dtype
) -> dict[str, Any]:
    """Make models of these architectures with weights that transformers draws."""
    named = {"target": target, **({} if draft is None else {"draft": draft})}
    with device:
        models = {name: AutoModelForCausalLM.from_config(config, dtype=dtype) for name, config in named.items()}
    return {name: _prepared(model, device) for name, model in models.items()}


def generators(names: list[str], models: dict[str, Any], num_tokens: int) -> dict[str, Generate]:
    """Return, for each name, a function from prompt ids to (new ids, seconds to the first, seconds for the others).

    The time to the first token is that of a call for one token, because assisted generation streams nothing.
    """
    settings: dict[str, dict[str, Any]] = {GENERATE: {}, LOOKUP: {"prompt_lookup_num_tokens": LOOKUP_TOKENS}}
    if "draft" in models:
        settings[ASSISTED] = {"assistant_model": models["draft"]}
    return {name: _generator(models["target"], num_tokens, settings[name]) for name in names if name in settings}


def describe(name: str) -> str:
    """Return the settings of a baseline, for the report."""
    return {
        GENERATE: "generate, greedy, dynamic cache",
        ASSISTED: "generate with assistant_model, its own schedule",
        LOOKUP: f"generate with prompt_lookup_num_tokens={LOOKUP_TOKENS}",
    }[name]


def _load(folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    if is_gguf(folder):
        raise TabcastError(f"{folder}: transformers is compared by Hugging Face folders, and this is a GGUF file")
    return _prepared(AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True), device)


def _prepared(model: Any, device: torch.device) -> Any:
    model.generation_config.eos_token_id = None  # no stops, as for our own methods
    model.generation_config.pad_token_id = 0
    model.to(device).eval()
    return model


def _generator(model: Any, num_tokens: int, settings: dict[str, Any]) -> Generate:
    def call(ids: torch.Tensor, length: int) -> tuple[torch.Tensor, float]:
        began = time.perf_counter()
        with torch.inference_mode():
            output = model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=length, do_sample=False, **settings
            )
        return output, time.perf_counter() - began

    def generate(prompt_ids: list[int]) -> tuple[list[int], float, float]:
        ids = torch.tensor([prompt_ids], device=model.device)
        _, first_s = call(ids, 1)
        output, whole_s = call(ids, num_tokens)
        return output[0, len(prompt_ids) :].tolist(), first_s, max(1e-9, whole_s - first_s)

    return generate
