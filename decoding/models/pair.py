"""Loads what an engine decodes with: target, tokenizer, layout and draft, with progress for those who wait."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tokenizers import Tokenizer

from decoding.config import EngineConfig
from decoding.constraint import TokenIndex
from decoding.detokenize import token_bytes
from decoding.errors import ConfigError, ModelError
from decoding.fim import Layout, find_layout
from decoding.models.decoder import Decoder
from decoding.models.loading import load_decoder, load_tokenizer, read_config
from decoding.models.row_invariance import Probe, probe

log = logging.getLogger(__name__)

NUM_TIMED_STEPS = 7

Progress = Callable[[float, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSet:
    """What an engine decodes with: the target, its tokenizer and layout, and a draft model of the same tokenizer.

    `target_ms` and `draft_ms` are what a step of each takes on this machine.
    """

    name: str
    target: Decoder
    tokenizer: Tokenizer
    layout: Layout
    index: TokenIndex = field(repr=False)
    draft: Decoder | None = None
    languages: tuple[str, ...] = ()
    target_ms: float = 0.0
    draft_ms: float = 0.0

    def encode(self, text: str) -> list[int]:
        """Token ids of plain text; a special token's name in it is text like any other."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids


def load_pair(config: EngineConfig, progress: Progress = lambda share, what: None) -> tuple[ModelSet, Probe]:
    """Load everything that `config` names.

    Raises:
        ModelError: a folder can't be loaded, or the draft has another tokenizer.
        ConfigError: the device isn't there.
    """
    device, dtype = choose_device(config)
    if config.threads:
        torch.set_num_threads(config.threads)
    progress(0.2, "reading the target model")
    folder = config.model_path
    declared = read_config(folder)
    tokenizer = load_tokenizer(folder)
    target = _load(folder, tokenizer, config, device, dtype)
    progress(0.7, "trying its rows")
    found = probe(target)
    own = declared.get("tabcast") or {}
    draft = None
    if config.draft_path is not None:
        progress(0.8, "reading the draft model")
        if load_tokenizer(config.draft_path).get_vocab() != tokenizer.get_vocab():
            raise ModelError(f"the draft {config.draft_path} has another tokenizer than the target {folder}")
        draft = _load(config.draft_path, tokenizer, config, device, dtype)
    layout = find_layout(tokenizer.get_vocab(), own, end_token_ids(declared))
    models = ModelSet(
        name=config.model or "tabcast-bundled",
        target=target,
        tokenizer=tokenizer,
        layout=layout,
        draft=draft,
        languages=tuple(own.get("languages") or ()),
        index=TokenIndex(token_bytes(tokenizer)),
        target_ms=measure_step_ms(target, target.step_width),
        draft_ms=0.0 if draft is None else measure_step_ms(draft, 1),
    )
    progress(0.9, "measuring a step of each")
    return models, found


def measure_step_ms(model: Decoder, num_rows: int) -> float:
    """Median time of a step behind one whole chunk, the answer fetched."""
    cache = model.new_cache()
    model.prefill([0] * model.chunk, cache)
    times: list[float] = []
    for _ in range(NUM_TIMED_STEPS):
        began = time.perf_counter()
        model.logits(model.forward([0] * num_rows, cache)).argmax(dim=-1).tolist()
        times.append((time.perf_counter() - began) * 1e3)
    return statistics.median(times)


def choose_device(config: EngineConfig) -> tuple[torch.device, torch.dtype]:
    """What `auto` means here: CUDA if there is one, and bfloat16 wherever the hardware multiplies it."""
    name = config.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError("device cuda was asked for, and torch finds none")
    device = torch.device(name)
    if config.dtype != "auto":
        return device, {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[config.dtype]
    has_bfloat16 = device.type == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return device, torch.bfloat16 if has_bfloat16 else torch.float32


def end_token_ids(config: dict[str, object]) -> list[int]:
    """The ids of config.json's `eos_token_id`, which is a number, a list or nothing."""
    value = config.get("eos_token_id")
    if isinstance(value, int):
        return [value]
    return [token_id for token_id in value if isinstance(token_id, int)] if isinstance(value, list) else []


def _load(
    folder: Path, tokenizer: Tokenizer, config: EngineConfig, device: torch.device, dtype: torch.dtype
) -> Decoder:
    vocabulary = tokenizer.get_vocab_size(with_added_tokens=True)
    return load_decoder(folder, vocabulary=vocabulary, max_len=config.context_tokens, device=device, dtype=dtype)
