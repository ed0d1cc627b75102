"""Loads what an engine decodes with: target, tokenizer, layout and draft, with progress for those who wait."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import torch
from tokenizers import Tokenizer

from decoding.config import ALL_DEVICES, AS_TARGET, BUNDLED_NAMES, EngineConfig
from decoding.errors import ConfigError, ModelError
from decoding.models.folder.model_config import read_config, why_not_ours
from decoding.models.folder.tokenizer_files import begin_token_ids, load_tokenizer, num_token_ids, why_not_alike
from decoding.models.heads import Heads, load_heads
from decoding.models.language_model import LanguageModel
from decoding.models.loading.decoder_loading import Places, load_decoder
from decoding.models.loading.devices import choose_devices, find_device, load_spread, plan
from decoding.models.loading.memory import check_fit, free_bytes, needed_bytes
from decoding.models.parallel import ParallelModel, mask_form
from decoding.models.probing.row_invariance import Probe, check_finite, probe, probe_plain
from decoding.models.probing.step_times import measure_draft_times, measure_step_times
from decoding.models.weights.safetensors_headers import count_parameters
from decoding.protocol import AUTO, Method
from decoding.storage.adaptation import Home
from decoding.text.detokenize import token_bytes
from decoding.text.prompt_layout import Layout, find_layout
from decoding.text.token_healing import TokenIndex

log = logging.getLogger(__name__)


Progress = Callable[[float, str], None]
Loaded = TypeVar("Loaded")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSet:
    """What an engine decodes with: the target, its tokenizer and layout, and what drafts for it.

    `notices` say what of the settings could not be used, and why; `method` is how requests are drafted that name none.
    `step_ms` and `draft_step_ms` are what a pass of each over so many rows takes on this machine.
    """

    name: str
    target: LanguageModel
    tokenizer: Tokenizer
    layout: Layout
    index: TokenIndex = field(repr=False)
    draft: LanguageModel | None = None
    parallel: ParallelModel | None = None
    heads: Heads | None = None
    languages: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    method: Method = AUTO
    step_ms: Mapping[int, float] = field(default_factory=dict)
    draft_step_ms: Mapping[int, float] = field(default_factory=dict)

    @property
    def language_models(self) -> tuple[LanguageModel, ...]:
        """The target, and the models that draft for it."""
        parallel = self.parallel.model if self.parallel else None
        return tuple(model for model in (self.target, self.draft, parallel) if model is not None)

    def encode(self, text: str) -> list[int]:
        """Token ids of plain text; a special token's name in it is text like any other."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids


def load_pair(config: EngineConfig, progress: Progress = lambda share, what: None) -> tuple[ModelSet, Probe]:
    """Load everything that `config` names.

    Raises:
        ModelError: a folder can't be loaded, or its model doesn't fit into memory.
        ConfigError: the device isn't there.
    """
    device, dtype = choose_device(config)
    if config.threads:
        torch.set_num_threads(config.threads)
    folder, draft_folder = config.model_path, config.draft_path
    declared, tokenizer = read_config(folder), load_tokenizer(folder)
    own = declared.get("tabcast") or {}
    notices: list[str] = []
    if config.online and draft_folder is not None:
        draft_folder = _adapted(folder, draft_folder, tokenizer, notices)
    if draft_folder is not None and (problem := why_not_alike(tokenizer, load_tokenizer(draft_folder))):
        notices.append(f"the draft {draft_folder} is left out, because it has another tokenizer: {problem}")
        draft_folder = None
    places = _plan([folder, draft_folder] if draft_folder else [folder], config, device, dtype)
    progress(0.2, "reading the target model")
    if places:
        target, plain = load_spread(folder, tokenizer, config, dtype, places)
    else:
        target, plain = _load(folder, tokenizer, config, device, dtype)
    progress(0.7, "trying its rows (the first start of a version compiles its kernels)")
    found = probe_plain(plain) if plain else probe(target)
    draft = None
    if draft_folder is not None:
        progress(0.8, "reading the draft model")
        draft, problem = _load(draft_folder, tokenizer, draft_config(config), device, dtype)
        if problem:
            notices.append(f"the draft {draft_folder} is left out: {problem}")
            draft = None
    parallel = _if_usable(config.parallel_path, lambda path: _load_parallel(path, tokenizer, config), notices)
    heads = _if_usable(config.heads_path, lambda path: _load_heads(path, config, target), notices)
    for notice in (*([plain] if plain else []), *notices):
        log.warning("%s", notice)
    layout = find_layout(
        tokenizer.get_vocab(),
        own,
        end_token_ids(declared),
        begin_ids=begin_token_ids(folder, tokenizer),
        model_name=f"{declared.get('_name_or_path', '')} {folder.name}",
        chosen=config.fim,
    )
    progress(0.9, "measuring a step of each")
    models = ModelSet(
        name=config.model if config.model not in BUNDLED_NAMES else "tabcast-bundled",
        target=target,
        tokenizer=tokenizer,
        layout=layout,
        draft=draft,
        parallel=parallel,
        heads=heads,
        languages=tuple(own.get("languages") or ()),
        notices=tuple(notices),
        method=config.method,
        index=TokenIndex(token_bytes(tokenizer)),
        step_ms=measure_step_times(target),
        draft_step_ms={} if draft is None else measure_draft_times(draft),
    )
    return models, found


def _if_usable(path: Path | None, load: Callable[[Path], Loaded], notices: list[str]) -> Loaded | None:
    """What is loaded from `path`; where it can't be, a notice says why, and the engine goes without."""
    try:
        return None if path is None else load(path)
    except ModelError as error:
        notices.append(f"left out: {error}")
        return None


def _load_parallel(folder: Path, tokenizer: Tokenizer, config: EngineConfig) -> ParallelModel:
    form = mask_form(read_config(folder), folder)
    if problem := why_not_alike(tokenizer, load_tokenizer(folder)):
        raise ModelError(f"the parallel draft {folder} has another tokenizer: {problem}")
    model, _ = _load(folder, tokenizer, draft_config(config), *choose_device(config), mask_id=form.mask_id)
    # One pass takes what was emitted in the last round, all of a draft perhaps, and the masks.
    model.capabilities = model.capabilities.at_width(max(model.capabilities.step_width, 2 * form.num_tokens))
    return ParallelModel(
        model=model, mask_id=form.mask_id, num_tokens=form.num_tokens, num_real_ids=num_token_ids(tokenizer)
    )


def _load_heads(folder: Path, config: EngineConfig, target: LanguageModel) -> Heads:
    hidden = target.hidden()  # of the steps in which its rows were tried
    if hidden is None:
        raise ModelError(f"heads {folder}, because this model doesn't tell its hidden states")
    return load_heads(
        folder,
        config.model_path,
        width=hidden.shape[-1],
        vocabulary=target.shape.vocabulary,
        device=target.device,
        dtype=target.dtype,
    )


def _adapted(target: Path, draft: Path, tokenizer: Tokenizer, notices: list[str]) -> Path:
    """The folder of the draft that has learnt from the user, or the one given where there is none that is whole."""
    adapted = Home.of(target, draft).draft
    if not adapted.is_dir():
        return draft
    try:
        count_parameters(adapted)
        read_config(adapted)
        problem = why_not_alike(tokenizer, load_tokenizer(adapted))
    except ModelError as error:
        problem = str(error)
    if problem:
        notices.append(f"the adapted draft is left out ('tabcast train online --reset' removes it): {problem}")
    return draft if problem else adapted


def choose_device(config: EngineConfig) -> tuple[torch.device, torch.dtype]:
    """What `auto` means here: CUDA if there is one, and bfloat16 wherever the hardware multiplies it."""
    name = config.devices.split(",")[0].strip().replace(ALL_DEVICES, "") or config.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError("device cuda was asked for, and torch finds none")
    device = find_device(name) if config.devices else torch.device(name)
    if config.dtype != "auto":
        return device, {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[config.dtype]
    if device.type == "cuda":
        has_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return device, torch.bfloat16 if has_bfloat16 else torch.float16
    has_bfloat16 = device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return device, torch.bfloat16 if has_bfloat16 else torch.float32


def draft_config(config: EngineConfig) -> EngineConfig:
    """The settings that the draft is loaded with."""
    return config if config.draft_quantize == AS_TARGET else replace(config, quantize=config.draft_quantize)


def end_token_ids(config: dict[str, object]) -> list[int]:
    """The ids of config.json's `eos_token_id`, which is a number, a list or nothing."""
    value = config.get("eos_token_id")
    if isinstance(value, int):
        return [value]
    return [token_id for token_id in value if isinstance(token_id, int)] if isinstance(value, list) else []


def _plan(folders: Sequence[Path], config: EngineConfig, device: torch.device, dtype: torch.dtype) -> Places:
    """Where the target's layers go if that is not one device. Raises `ModelError` if target and draft don't fit."""
    settings = (config, draft_config(config))
    needs = [
        (folder.name, needed_bytes(folder, read_config(folder), dtype, config.context_tokens, stored_as(of, device)))
        for folder, of in zip(folders, settings, strict=False)
    ]
    devices = choose_devices(config, device)
    if len(devices) > 1:
        return plan(folders[0], config, devices, dtype, beside=sum(num_bytes for _, num_bytes in needs[1:]))
    check_fit(needs, device, free_bytes(device))
    return ()


def stored_as(config: EngineConfig, device: torch.device) -> str:
    """How weights are stored when they arrive; on a CPU they are read in full and then rounded."""
    return config.quantize if device.type != "cpu" else "none"


def _load(
    folder: Path,
    tokenizer: Tokenizer,
    config: EngineConfig,
    device: torch.device,
    dtype: torch.dtype,
    *,
    mask_id: int = 0,
) -> tuple[LanguageModel, str]:
    """The model, and why it can't verify drafts, "" where it can; `mask_id` is one of its ids, be it a token or not."""
    vocabulary, max_len = max(num_token_ids(tokenizer), mask_id + 1), config.context_tokens
    if reason := why_not_ours(read_config(folder), max_len):
        from decoding.models.transformers.loading import load_generic  # noqa: PLC0415 - brings transformers

        if config.quantize != "none":
            raise ModelError(f"{folder}: quantize {config.quantize} is for models of our own forward pass; {reason}")
        log.info("%s is computed by transformers: %s", folder.name, reason)
        generic = load_generic(folder, vocabulary=vocabulary, max_len=max_len, device=device, dtype=dtype)
        return generic, generic.notice
    own = load_decoder(folder, config, vocabulary=vocabulary, max_len=max_len, device=device, dtype=dtype)
    check_finite(own, folder)
    return own, ""
