"""Reads the engine's settings: defaults, the user's file, the environment and the command line, in rising order.

This is the one place of engine defaults. Nothing here is ever read from a workspace or from an LSP message; a name of
the hub is looked for where `tabcast models pull` puts models, and never in the working directory.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from decoding.errors import ConfigError
from decoding.protocol import (
    AUTO,
    BUNDLED_NAMES,
    NO_MODEL,
    Method,
    ProtocolError,
    check_method,
    is_hub_name,
    is_listed_name,
    user_config_path,
)

BUNDLED = Path(__file__).parent / "bundled"
DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = ("auto", "float32", "bfloat16", "float16")
KERNELS = ("auto", "torch", "rehearsed")
AUTO_ROUNDING = "auto"
NO_ROUNDING = "none"
QUANTIZATIONS = (AUTO_ROUNDING, NO_ROUNDING, "int8", "int4", "fp8")
AS_TARGET = "as target"
ALL_DEVICES = "all"
LEAST = (("context_tokens", 128), ("sessions", 1), ("cache_mb", 0), ("cache_on_disk_mb", 0), ("threads", 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """The settings of one engine.

    `model` and `draft` are folders, GGUF files, names that `tabcast models` lists, or "" for the shipped pair.
    `parallel` and `heads` are folders of a parallel draft and of heads, "" for those beside the target if it has any.
    `draft`, `parallel` and `heads` may be "none". `fim` has fields of `FimTemplate` that override the
    table's. `method` is the drafting method for requests that name none. `devices` "cuda:0,cuda:1", or "all", spreads
    the target's layers over these devices; the draft goes to the first. `quantize` rounds weights to eight or four
    bits, "auto" those of a large model on a CPU, and `draft_quantize` those of the draft. `kernels` "torch" does
    without compiled kernels; "rehearsed" computes as on a GPU, on any device and slowly. `context_tokens` bounds
    prompt and answer together; `threads` 0 leaves the choice to torch. At most `sessions` requests take turns, and as
    many token sequences are kept in `cache_mb` megabytes, 0 for a share of the memory; what was read of documents is
    kept for the next start in `cache_on_disk_mb` megabytes on disk, 0 for not at all. `online` keeps the last answers
    on this machine and lets the draft learn from them while the engine is idle.
    """

    model: str = ""
    draft: str = ""
    parallel: str = ""
    heads: str = ""
    device: str = "auto"
    devices: str = ""
    dtype: str = "auto"
    quantize: str = AUTO_ROUNDING
    draft_quantize: str = AS_TARGET
    kernels: str = "auto"
    context_tokens: int = 4096
    sessions: int = 16
    cache_mb: int = 0
    cache_on_disk_mb: int = 256
    threads: int = 0
    idle_minutes: float = 10.0
    online: bool = False
    method: Method = AUTO
    fim: Mapping[str, Any] = field(default_factory=dict)

    @property
    def model_path(self) -> Path:
        """The folder of the target."""
        return model_folder(self.model, "target")

    @property
    def draft_path(self) -> Path | None:
        """The folder of the draft model; without one of their own, other targets than the shipped one have none."""
        if self.draft == NO_MODEL or (not self.draft and self.model not in BUNDLED_NAMES):
            return None
        return model_folder(self.draft, "draft")

    @property
    def parallel_path(self) -> Path | None:
        """The folder of the parallel draft."""
        return self._beside(self.parallel, "parallel")

    @property
    def heads_path(self) -> Path | None:
        """The folder of the heads."""
        return self._beside(self.heads, "heads")

    def _beside(self, name: str, role: str) -> Path | None:
        """Return a folder by its name, or the one of that role in the target's own folder or with the shipped pair."""
        if name:
            return None if name == NO_MODEL else model_folder(name, role)
        folder = BUNDLED / role if self.model in BUNDLED_NAMES else beside(self.model_path, role)
        return folder if folder.is_dir() else None


def beside(model: Path, role: str) -> Path:
    """Return where a model's own draft of a kind lies: in its folder, or beside its file by the file's name."""
    return model.with_name(f"{model.name}.{role}") if model.is_file() else model / role


def model_folder(name: str, role: str) -> Path:
    """Return the folder of a model by the name that settings and commands give it; it need not exist.

    Args:
        name: a folder, a pulled model's name on the hub, or one of `BUNDLED_NAMES`; a listed name that
            `models/listed.py` has not turned into a path stands for a model that isn't there.
        role: "target" or "draft", of the shipped pair.
    """
    if name in BUNDLED_NAMES:
        return BUNDLED / role
    return models_directory() / name if is_hub_name(name) or is_listed_name(name) else Path(name).expanduser()


def models_directory() -> Path:
    """Return the folder of pulled models; `TABCAST_MODELS` names another place."""
    return _data_directory("TABCAST_MODELS", "models")


def online_directory() -> Path:
    """Return the folder of adapted drafts and of what they learn from; `TABCAST_ONLINE_DIR` names another place."""
    return _data_directory("TABCAST_ONLINE_DIR", "online")


def datastores_directory() -> Path:
    """Return the folder where `tabcast models index` puts datastores; `TABCAST_DATASTORES` names another place."""
    return _data_directory("TABCAST_DATASTORES", "datastores")


def _data_directory(variable: str, name: str) -> Path:
    if named := os.environ.get(variable):
        return Path(named)
    try:
        import platformdirs  # noqa: PLC0415 - absent on some GPU machines, where `bench` and `train` must run
    except ImportError:
        return Path.home() / ".local" / "share" / "tabcast" / name
    return platformdirs.user_data_path("tabcast") / name


def load(overrides: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> EngineConfig:
    """Read all sources; `overrides` (the command line) holds only what was given.

    Raises `ConfigError` naming the source, the setting and what was expected.
    """
    environ = os.environ if environ is None else environ
    config = EngineConfig()
    path = user_config_path(environ)
    if path.is_file():
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8")).get("engine", {})
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path}: {error}") from error
        config = _apply(config, table, str(path))
    variables = {
        field.name: environ[f"TABCAST_{field.name.upper()}"]
        for field in fields(EngineConfig)
        if environ.get(f"TABCAST_{field.name.upper()}")
    }
    config = _apply(config, variables, "environment")
    return _apply(config, {key: value for key, value in overrides.items() if value is not None}, "command line")


def _apply(config: EngineConfig, values: Mapping[str, Any], source: str) -> EngineConfig:
    known = {field.name: type(getattr(config, field.name)) for field in fields(EngineConfig)}
    changed: dict[str, Any] = {}
    for key, value in values.items():
        kind = known.get(key)
        if kind is None:
            raise ConfigError(f"{source}: unknown engine setting {key!r} (known: {', '.join(sorted(known))})")
        try:
            changed[key] = _truth(value) if kind is bool else kind(value)
        except (TypeError, ValueError):
            wanted = {dict: "a table of the file", bool: "true or false"}.get(kind, kind.__name__)
            raise ConfigError(f"{source}: {key} must be {wanted}, not {value!r}") from None
    config = replace(config, **changed)
    for key, allowed in (
        ("device", DEVICES),
        ("dtype", DTYPES),
        ("quantize", QUANTIZATIONS),
        ("draft_quantize", (*QUANTIZATIONS, AS_TARGET)),
        ("kernels", KERNELS),
    ):
        is_numbered = key == "device" and re.fullmatch(r"cuda:\d{1,3}", config.device) is not None
        if getattr(config, key) not in allowed and not is_numbered:
            raise ConfigError(f"{source}: {key} must be one of {', '.join(allowed)}, not {getattr(config, key)!r}")
    for key, least in LEAST:
        if getattr(config, key) < least:
            raise ConfigError(f"{source}: {key} must be at least {least}, not {getattr(config, key)}")
    try:
        check_method(config.method)
    except ProtocolError as error:
        raise ConfigError(f"{source}: {error}") from None
    if config.idle_minutes <= 0:
        raise ConfigError(f"{source}: idle_minutes must be more than 0, not {config.idle_minutes:g}")
    return config


def _truth(value: object) -> bool:
    """Return a truth value that a file holds as true or false, or the environment as a word."""
    words = {"true": True, "1": True, "false": False, "0": False}
    if (text := str(value).lower()) not in words:
        raise ValueError(text)
    return words[text]
