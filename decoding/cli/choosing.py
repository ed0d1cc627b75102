"""Turns the names of a target and a draft into what config.toml says of them, once they are seen to fit together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from decoding.config import EngineConfig, model_folder
from decoding.errors import ModelError
from decoding.models.catalogue import known_model
from decoding.models.listed import find_model, folder_of
from decoding.protocol import BUNDLED_NAMES, NO_MODEL, is_model_name
from decoding.small_torch import require_torch
from decoding.storage.pulled import read_record

if TYPE_CHECKING:
    from decoding.models.folder.model_folder import ModelFolder

USUAL_TOKENS: Final = EngineConfig().context_tokens


def values_for(name: str, draft: str | None = None) -> dict[str, str]:
    """Return the values of `model` and `draft` for `[engine]`.

    Args:
        name: a model by any name that `tabcast models use` takes.
        draft: its draft, or None for the recommended one where that was pulled.

    Raises:
        ModelError: one of them is missing or broken, or their tokenizers differ.
    """
    if "://" in name:
        raise ModelError(f"{name} is a server and no model: 'tabcast engine add NAME --url {name}' adds it")
    is_bundled = name in BUNDLED_NAMES
    draft_name = find_model(draft or ("bundled" if is_bundled else recommended_draft(name)))
    target = find_model(name)
    read = loadable(model_folder(target, "target"))
    if draft_name != NO_MODEL:
        problem = loadable(model_folder(draft_name, "draft")).why_not_alike(read)
        if problem:
            raise ModelError(f"{draft_name} can't draft for {name}, because it has another tokenizer: {problem}")
    return {"model": _written(target), "draft": _written(draft_name)}


def loadable(path: Path) -> ModelFolder:
    """Read a folder or file but for its weights. Raises `ModelError` unless all that an engine needs is there."""
    from decoding.models.folder.model_folder import ModelFolder  # noqa: PLC0415 - takes a while
    from decoding.models.weights.weight_schema import check, decoder_schema  # noqa: PLC0415 - likewise

    folder = ModelFolder.read(path)
    reason = folder.why_not_ours(USUAL_TOKENS)
    if not reason:
        check(folder.entries, decoder_schema(folder.sizes), path)
    elif not folder.is_wrapped:
        raise ModelError(f"{path}: {reason} is not computed from GGUF files; its Hugging Face folder may be")
    elif not folder.entries:
        raise ModelError(f"{path} holds no weights")
    else:
        require_torch(f"{path}: {reason} is computed by transformers: it")
    return folder


def recommended_draft(name: str) -> str:
    """Return the recommended draft of a recommended target where it was pulled, else "none"."""
    known = known_model(name)
    draft = known.draft if known is not None else ""
    pulled = read_record(folder_of(draft)) if draft else None
    return draft if pulled is not None and pulled.is_complete else NO_MODEL


def _written(name: str) -> str:
    """Return a model's name as settings need it: folders absolute, because the engine runs in one of its own."""
    if is_model_name(name):
        return name
    return str(Path(name).expanduser().absolute())
