"""Loads the models that an engine decodes with: target, tokenizer, layout and drafts, and reports progress."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import torch
from tokenizers import Tokenizer

from decoding.config import AUTO_ROUNDING, NO_ROUNDING, EngineConfig
from decoding.errors import ModelError
from decoding.models.folder import tokenizer_files
from decoding.models.folder.model_folder import ModelFolder
from decoding.models.folder.tokenizer_files import encode
from decoding.models.heads import Heads, load_heads
from decoding.models.language_model import LanguageModel
from decoding.models.listed import resolved
from decoding.models.loading.decoder_loading import LoadedModel, Places, load_decoder
from decoding.models.loading.devices import choose_device, load_spread
from decoding.models.loading.parts import Parts, choose_parts, draft_config, named_weights, plan_memory
from decoding.models.loading.rounded_file import Tell
from decoding.models.loading.weight_forms import rounded_to
from decoding.models.parallel import ParallelModel, mask_form
from decoding.models.probing.kept_times import measured_or_kept
from decoding.models.probing.row_invariance import Probe, check_finite, probe, probe_plain
from decoding.models.probing.step_times import measure_draft_times, measure_step_times
from decoding.protocol import AUTO, BUNDLED_NAMES, Method
from decoding.small_torch import require_torch
from decoding.text.detokenize import token_bytes
from decoding.text.encoded_texts import EncodedTexts
from decoding.text.prompt_layout import Layout, find_layout
from decoding.text.token_healing import TokenIndex

log = logging.getLogger(__name__)

NO_MIDDLE: Final = "the model has no tokens for filling in the middle, so it sees only the text before the cursor"


Progress = Callable[[float, str], None]
Loaded = TypeVar("Loaded")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSet:
    """The models that an engine decodes with: the target, its tokenizer and layout, and the drafts.

    `name` is what chose the target; `weights` and `draft_weights` are what people call what is held. `notices` say
    which settings could not be used, and why; `method` is the drafting method for requests that name none. `rounding`
    says what the target's weights are rounded to. `step_ms` and `draft_step_ms` are the times of a pass of each on this
    machine, by its number of rows. `unused_ids` lie within the vocabulary and are no tokens.
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
    rounding: str = NO_ROUNDING
    step_ms: Mapping[int, float] = field(default_factory=dict)
    draft_step_ms: Mapping[int, float] = field(default_factory=dict)
    weights: str = ""
    draft_weights: str = ""
    unused_ids: tuple[int, ...] = ()
    _encoded: EncodedTexts = field(default_factory=EncodedTexts, init=False, repr=False, compare=False)

    @property
    def language_models(self) -> tuple[LanguageModel, ...]:
        """The target, and the models that draft for it."""
        parallel = self.parallel.model if self.parallel else None
        return tuple(model for model in (self.target, self.draft, parallel) if model is not None)

    @property
    def num_code_weights(self) -> int:
        """The target's number of weights; 0 if it doesn't fill in the middle, as a code model does."""
        return self.target.num_parameters if self.layout.template is not None else 0

    @property
    def without_middle(self) -> str:
        """What is missed for a model that doesn't fill in the middle, "" for others."""
        return "" if self.layout.template is not None else NO_MIDDLE

    def encode(self, text: str) -> list[int]:
        """Return token ids of plain text; a special token's name in it is text like any other."""
        return self._encoded.encode(text, partial(encode, self.tokenizer))


def load_models(config: EngineConfig, progress: Progress = lambda share, what: None) -> tuple[ModelSet, Probe]:
    """Load everything that `config` names: choose the folders, plan the memory, read the weights.

    Raises:
        ModelError: a folder can't be loaded, or its model doesn't fit into memory.
        ConfigError: the device isn't there.
    """
    config = resolved(config)
    device, dtype = choose_device(config)
    if config.threads:
        torch.set_num_threads(config.threads)
    parts = choose_parts(config)
    places = plan_memory(parts, config, device, dtype)
    try:
        return _load_parts(parts, places, config, device, dtype, progress)
    except (MemoryError, torch.OutOfMemoryError):
        raise ModelError(f"there is too little memory to load {parts.target.path}: a smaller model may fit") from None


def _load_parts(
    parts: Parts, places: Places, config: EngineConfig, device: torch.device, dtype: torch.dtype, progress: Progress
) -> tuple[ModelSet, Probe]:
    folder, notices = parts.target, list(parts.notices)
    progress(0.2, "reading the target model")

    def tell(what: str) -> None:
        log.info("%s", what)
        progress(0.2, what)

    if places:
        loaded = load_spread(folder, config, dtype, places)
    else:
        loaded = load_model(folder, config, device, dtype, tell=tell)
    target = loaded.model
    progress(0.7, "trying its rows (the first start of a version compiles its kernels)")
    found = probe_plain(loaded.notice) if loaded.notice else probe(target)
    draft = None
    if parts.draft is not None:
        progress(0.8, "reading the draft model")
        draft = _load_draft(parts.draft, config, device, dtype, notices, tell)
    parallel = _if_usable(config.parallel_path, lambda path: _load_parallel(path, folder, config), notices)
    heads = _if_usable(config.heads_path, lambda path: _load_heads(path, folder, target), notices)
    for notice in (*([loaded.notice] if loaded.notice else []), *notices):
        log.warning("%s", notice)
    layout = find_layout(
        folder.vocabulary,
        folder.own,
        folder.end_token_ids,
        begin_ids=folder.begin_token_ids,
        model_name=folder.names,
        chosen=config.fim,
    )
    progress(0.9, "measuring a step of each")
    weights, draft_weights = named_weights(parts, config, device, dtype)
    models = ModelSet(
        name=config.model if config.model not in BUNDLED_NAMES else "tabcast-bundled",
        target=target,
        tokenizer=folder.tokenizer,
        layout=layout,
        draft=draft,
        parallel=parallel,
        heads=heads,
        languages=tuple(folder.own.get("languages") or ()),
        notices=tuple(notices),
        method=config.method,
        rounding=rounded_to(folder, config, device),
        index=TokenIndex(token_bytes(folder.tokenizer, folder.vocabulary)),
        unused_ids=tokenizer_files.unused_ids(folder.vocabulary),
        step_ms=_times(target, folder, "target", config, partial(measure_step_times, target)),
        draft_step_ms={}
        if draft is None or parts.draft is None
        else _times(draft, parts.draft, "draft", config, partial(measure_draft_times, draft)),
        weights=weights,
        draft_weights=draft_weights if draft is not None else "",
    )
    return models, found


def _times(
    model: LanguageModel, folder: ModelFolder, role: str, config: EngineConfig, measure: Callable[[], dict[int, float]]
) -> dict[int, float]:
    return measured_or_kept(model, folder.path, role, config.threads or torch.get_num_threads(), measure)


def _load_draft(
    folder: ModelFolder,
    config: EngineConfig,
    device: torch.device,
    dtype: torch.dtype,
    notices: list[str],
    tell: Tell,
) -> LanguageModel | None:
    """Load the draft model; return None, with a notice, if it can't be rolled back."""
    loaded = load_model(folder, draft_config(config), device, dtype, tell=tell)
    if loaded.notice:
        notices.append(f"the draft {folder.path} is left out: {loaded.notice}")
    return None if loaded.notice else loaded.model


def _if_usable(path: Path | None, load: Callable[[Path], Loaded], notices: list[str]) -> Loaded | None:
    """Load from `path`; if that fails, add a notice and return None, so that the engine does without."""
    try:
        return None if path is None else load(path)
    except ModelError as error:
        notices.append(f"left out: {error}")
        return None


def _load_parallel(path: Path, target: ModelFolder, config: EngineConfig) -> ParallelModel:
    folder = ModelFolder.read(path)
    form = mask_form(folder.config, path)
    if problem := folder.why_not_alike(target):
        raise ModelError(f"the parallel draft {path} has another tokenizer: {problem}")
    model = load_model(folder, draft_config(config), *choose_device(config), mask_id=form.mask_id).model
    # One pass takes the tokens of the last round, which may be a whole draft, and the masks.
    model.capabilities = model.capabilities.at_width(max(model.capabilities.step_width, 2 * form.num_tokens))
    return ParallelModel(
        model=model, mask_id=form.mask_id, num_tokens=form.num_tokens, num_real_ids=target.num_token_ids
    )


def _load_heads(path: Path, folder: ModelFolder, target: LanguageModel) -> Heads:
    if not target.hidden_width:
        raise ModelError(f"heads {path}, because this model doesn't tell its hidden states")
    return load_heads(
        path,
        folder.path,
        width=target.hidden_width,
        vocabulary=target.shape.vocabulary,
        device=target.device,
        dtype=target.dtype,
    )


def load_model(
    folder: ModelFolder,
    config: EngineConfig,
    device: torch.device,
    dtype: torch.dtype,
    *,
    mask_id: int = 0,
    tell: Tell = log.info,
) -> LoadedModel:
    """Read the weights for the quickest forward pass that computes them right.

    Args:
        folder: of any architecture.
        config: whose context, quantization and kernels count.
        device: where the weights go.
        dtype: of the stored weights.
        mask_id: one of the model's ids, be it a token or not.
        tell: is called with a sentence before what is done once and takes time.

    Raises:
        ModelError: the weights aren't what config.json says, or nothing here computes them.
    """
    vocabulary, max_len = max(folder.num_token_ids, mask_id + 1), config.context_tokens
    if reason := folder.why_not_ours(max_len):
        if not folder.is_wrapped:
            raise ModelError(f"{folder.path}: {reason} is not computed from GGUF files; its Hugging Face folder may be")
        if config.quantize not in (AUTO_ROUNDING, NO_ROUNDING):
            raise ModelError(
                f"{folder.path}: quantize {config.quantize} is for models of our own forward pass; {reason}"
            )
        require_torch(f"{folder.path}: {reason} is computed by transformers: it")
        from decoding.models.transformers.loading import load_generic  # noqa: PLC0415 - brings transformers

        log.info("%s is computed by transformers: %s", folder.path.name, reason)
        generic = load_generic(folder, vocabulary=vocabulary, max_len=max_len, device=device, dtype=dtype)
        return LoadedModel(model=generic, notice=generic.notice)
    own = load_decoder(folder, config, vocabulary=vocabulary, max_len=max_len, device=device, dtype=dtype, tell=tell)
    check_finite(own, folder.path)
    return LoadedModel(model=own)
