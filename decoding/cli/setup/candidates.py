"""Gathers the models that could complete code here: the one in use, those on the disk, those that can be fetched.

Headers alone are read, so that a disk full of models takes no time; `why_unfit` looks at one of them more closely.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from decoding.cli.choosing import recommended_draft
from decoding.cli.fetching import quieten_the_hub
from decoding.cli.setup.candidate import Candidate, Source
from decoding.config import EngineConfig, model_folder
from decoding.errors import ModelError, TabcastError
from decoding.models.catalogue import CATALOGUE, KnownModel, known_model
from decoding.models.folder.model_folder import ModelFolder
from decoding.models.folder.summary import ModelSummary
from decoding.models.listed import at_other_programs, file_of, find_model, listed_as
from decoding.models.loading.devices import choose_device
from decoding.models.loading.layer_reading import EMBEDDING, HEAD
from decoding.models.loading.memory import block_bytes
from decoding.models.loading.parts import planned_bytes
from decoding.models.loading.weight_forms import are_in_blocks, with_rounding, would_round
from decoding.protocol import BUNDLED_NAMES, NO_MODEL, is_hub_name, is_listed_name
from decoding.storage import hub
from decoding.storage.pulled import pulled_models
from decoding.text.prompt_layout import find_layout

BUNDLED: Final = "bundled"
# A family that was trained on code says so in its name; tokens for filling in the middle alone don't tell.
CODE: Final = re.compile(r"cod(e|ing|ist)|starcoder|granite|mellum|refact|santacoder", re.IGNORECASE)


def gather(config: EngineConfig, *, is_all: bool = False) -> list[Candidate]:
    """Return all candidates whose headers can be read, the model in use first; the shipped pair is not one.

    Of the catalogue, only what suits the device: files in four bits for a processor, whole weights for a GPU, unless
    `is_all`.
    """
    found: dict[str, Candidate] = {}
    for candidate in (*_in_use(config), *_on_disk(config), *_to_pull(config, is_all=is_all)):
        found.setdefault(candidate.name, candidate)
    return list(found.values())


def bundled(config: EngineConfig) -> Candidate:
    """Return the shipped pair. Raises `ModelError` if this installation has none."""
    is_in_use = config.model in BUNDLED_NAMES
    candidate = _at_hand(BUNDLED, model_folder(BUNDLED, "target"), config, "in use" if is_in_use else "bundled")
    return replace(candidate, draft=BUNDLED)


def named(name: str, config: EngineConfig) -> Candidate:
    """Return the model of a name that the user gave. Raises `ModelError` or `ConfigError` with one line."""
    if name in BUNDLED_NAMES:
        return bundled(config)
    for candidate in gather(config, is_all=True):
        if candidate.name == name:
            return candidate
    path = model_folder(find_model(name), "target")
    if is_hub_name(name) and not path.exists():
        return _of_the_hub(name, config)
    if not is_listed_name(name) and not path.exists():
        raise ModelError(f"{name} is no model that 'tabcast models' lists, no folder and no GGUF file")
    return _at_hand(name, path, config, "in use" if path == config.model_path else "disk")


def why_unfit(candidate: Candidate, config: EngineConfig) -> str:
    """Return why a model on the disk can't complete code in the middle of a file, "" where it can."""
    if candidate.source in ("pull", "bundled"):
        return ""
    try:
        folder = ModelFolder.read(model_folder(find_model(candidate.name), "target"))
        reason = folder.why_not_ours(config.context_tokens)
        layout = find_layout(folder.vocabulary, folder.own, (), model_name=folder.names, chosen=config.fim)
    except TabcastError as error:
        return str(error)
    if reason and not folder.is_wrapped:
        return f"{candidate.name} can't be computed here: {reason}"
    if layout.template is None:
        return f"{candidate.name} was not taught to fill in the middle: it sees the text before the cursor alone"
    return ""


def _in_use(config: EngineConfig) -> Iterator[Candidate]:
    if config.model not in BUNDLED_NAMES:
        for name, path in _listed():
            if path == config.model_path:
                yield from _readable(name, path, config, "in use")
                return
        yield from _readable(config.model, config.model_path, config, "in use")


def _on_disk(config: EngineConfig) -> Iterator[Candidate]:
    for name, path in _listed():
        yield from _readable(name, path, config, "disk")


def _listed() -> Iterator[tuple[str, Path]]:
    """Yield names and paths of what was pulled and of what other programs have."""
    yield from ((pulled.name, file_of(pulled)) for pulled in pulled_models() if pulled.is_complete)
    yield from ((found.name, found.path) for found in at_other_programs() if not found.problem)


def _readable(name: str, path: Path, config: EngineConfig, source: Source) -> Iterator[Candidate]:
    try:
        yield _at_hand(name, path, config, source)
    except (TabcastError, OSError):
        return  # `tabcast models` says what is wrong with it


def _at_hand(name: str, path: Path, config: EngineConfig, source: Source) -> Candidate:
    model = ModelSummary.read(path)
    device, dtype = choose_device(config)
    settings = with_rounding(config, model, device)
    in_blocks = are_in_blocks(model, settings, device)
    read = model
    if HEAD in model.entries:  # of an embedding that is not the head as well, a step looks up one row
        read = replace(model, entries={name: entry for name, entry in model.entries.items() if name != EMBEDDING})
    draft = _draft_in_use(config) if source == "in use" and config.draft else recommended_draft(name)
    known = known_model(name)
    names = f"{name} {model.title} {model.config.get('_name_or_path') or ''} {path.name}"
    return Candidate(
        name=name,
        title=model.title,
        kind=model.kind,
        source=source,
        num_parameters=read.num_parameters,
        step_bytes=block_bytes(read, dtype, settings.quantize) if in_blocks else read.num_parameters * dtype.itemsize,
        memory_bytes=planned_bytes(model, config, device, dtype) + _draft_bytes(draft, config),
        in_blocks=in_blocks,
        is_code=known is not None or CODE.search(names) is not None,
        draft=draft,
    )


def _draft_in_use(config: EngineConfig) -> str:
    path = config.draft_path
    return config.draft if path is None else listed_as(path) or config.draft


def _draft_bytes(draft: str, config: EngineConfig) -> int:
    if draft == NO_MODEL:
        return 0
    device, dtype = choose_device(config)
    try:
        path = model_folder(find_model(draft), "draft")
        return planned_bytes(ModelSummary.read(path), config, device, dtype, is_draft=True)
    except (TabcastError, OSError):
        return 0  # loading leaves such a draft out


def _to_pull(config: EngineConfig, *, is_all: bool) -> Iterator[Candidate]:
    device, dtype = choose_device(config)
    for model in CATALOGUE:
        if not is_all and bool(model.file) != (device.type == "cpu"):
            continue
        is_rounded = not model.file and would_round(model.num_parameters, config, device)
        in_blocks = is_rounded or (bool(model.file) and device.type == "cpu")
        # Beside blocks of four bits a draft model adds a tenth to the speed: that isn't worth a download.
        draft = known_model(model.draft) if not in_blocks else None
        parts = [model] if draft is None else [model, draft]
        on_cpu = device.type == "cpu"
        needed = (
            part.needed_bytes(
                config.context_tokens,
                dtype.itemsize,
                on_cpu=on_cpu,
                is_draft=part is draft,
                is_rounded=would_round(part.num_parameters, config, device),
            )
            for part in parts
        )
        yield Candidate(
            name=model.name,
            title=_title(model),
            kind=model.kind,
            source="pull",
            num_parameters=model.num_parameters - model.num_looked_up,
            step_bytes=_step_bytes(model, dtype.itemsize, in_blocks=in_blocks),
            memory_bytes=sum(needed),
            in_blocks=in_blocks,
            is_code=True,
            download_bytes=sum(part.download_bytes for part in parts if not _is_pulled(part.name)),
            draft=draft.name if draft else recommended_draft(model.name),
        )


def _of_the_hub(name: str, config: EngineConfig) -> Candidate:
    """Describe a repository by the sizes of its files. Raises `ModelError` if the hub can't be asked."""
    quieten_the_hub()
    num_bytes = hub.size_of(name)
    model = KnownModel(name=name, repository=name, num_parameters=num_bytes // 2, cached_numbers=0, hardware="")
    device, dtype = choose_device(config)
    is_rounded = would_round(model.num_parameters, config, device)
    return Candidate(
        name=name,
        title=_title(model),
        kind="safetensors",
        source="pull",
        num_parameters=model.num_parameters,
        step_bytes=_step_bytes(model, dtype.itemsize, in_blocks=is_rounded),
        memory_bytes=model.needed_bytes(
            config.context_tokens, dtype.itemsize, on_cpu=device.type == "cpu", is_rounded=is_rounded
        ),
        in_blocks=is_rounded,
        is_code=True,
        download_bytes=num_bytes,
    )


def _step_bytes(model: KnownModel, number_bytes: int, *, in_blocks: bool) -> int:
    """Return the bytes of the weights that a step reads; of an embedding that is not the head, it looks up one row."""
    if in_blocks and model.file:
        return model.step_bytes
    if in_blocks:
        return model.held_rounded_bytes * (model.num_parameters - model.num_looked_up) // model.num_parameters
    return (model.num_parameters - model.num_looked_up) * number_bytes


def _is_pulled(name: str) -> bool:
    return any(pulled.name == name and pulled.is_complete for pulled in pulled_models())


def _title(model: KnownModel) -> str:
    return model.repository.rpartition("/")[2].removesuffix("-GGUF")
