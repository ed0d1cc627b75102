"""Reads the models that the user's own configuration file offers by name, and builds the engine's command line for one.

    [models.large]
    model = "~/models/Qwen2.5-Coder-7B"
    draft = "~/models/Qwen2.5-Coder-0.5B"
    device = "cuda"

An editor, or a workspace through it, can only name one of them. It must not know the wire, processes or settings.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from decoding.protocol import NO_MODEL, engine_directory, is_model_name, user_config_path

BUNDLED: Final = "tabcast-bundled"
OPTIONS: Final = ("model", "draft", "device", "dtype")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """The wanted engine: its command line, and the runtime directory that belongs to that configuration."""

    arguments: tuple[str, ...]
    directory: Path

    @classmethod
    def from_environment(cls, arguments: Sequence[str] = (), model: str = "") -> EngineSpec:
        """Derive the engine from the user's own configuration file, environment and command line.

        `model` names one of `offered_models` instead of the one that they ask for. Raises `ValueError` if none does.
        """
        text = config_text(os.environ)
        if model:
            arguments = choose_model(arguments, model, _read_models(text))
        return cls(arguments=tuple(arguments), directory=engine_directory(arguments, os.environ, text))


def offered_models() -> list[str]:
    """Return the names that can be chosen: the shipped pair, and the tables `[models.NAME]` of the user's file."""
    return [BUNDLED, *(name for name in _read_models(config_text(os.environ)) if name != BUNDLED)]


def choose_model(arguments: Sequence[str], name: str, models: dict[str, dict[str, str]]) -> tuple[str, ...]:
    """Return a command line that asks for the named model, and keeps those given options that don't choose a model.

    A model without a draft model gets none, and not the one of another. Raises `ValueError` if nobody offers the name.
    """
    if name not in models and name != BUNDLED:
        raise ValueError(f"the user's configuration offers no model {name!r}")
    chosen = {"draft": NO_MODEL, **models[name]} if name in models else {"model": "", "draft": ""}
    kept: list[str] = []
    for option, value in zip(arguments[::2], arguments[1::2], strict=True):
        if option.removeprefix("--") not in chosen:
            kept += [option, value]
    for option, value in chosen.items():
        is_path = option in ("model", "draft") and not is_model_name(value)
        kept += [f"--{option}", str(Path(value).expanduser()) if is_path else value]
    return tuple(kept)


def config_text(environ: Mapping[str, str]) -> str:
    """Return the text of the user's own configuration file, "" where there is none."""
    config = user_config_path(environ)
    return config.read_text(encoding="utf-8", errors="replace") if config.is_file() else ""


def _read_models(text: str) -> dict[str, dict[str, str]]:
    """Read the tables `[models.NAME]` that name a model; values that are no text and unknown keys are left out."""
    try:
        tables = tomllib.loads(text).get("models", {})
    except tomllib.TOMLDecodeError:
        return {}
    models: dict[str, dict[str, str]] = {}
    for name, table in tables.items() if isinstance(tables, dict) else ():
        options = {key: value for key, value in table.items() if key in OPTIONS} if isinstance(table, dict) else {}
        if options.get("model") and all(isinstance(value, str) for value in options.values()):
            models[str(name)] = options
    return models
