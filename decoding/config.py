"""The engine's settings: defaults, the user's file, the environment and the command line, in rising order.

The one place of engine defaults. Nothing here is ever read from a workspace or from an LSP message.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from decoding.errors import ConfigError

BUNDLED = Path(__file__).parent / "bundled"
DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = ("auto", "float32", "bfloat16", "float16")
METHOD_NO_DRAFT = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """What one engine runs. `model` and `draft` are folders, or "" for the shipped pair; `draft` may be "none".

    `context_tokens` bounds prompt and answer together; `threads` 0 leaves the choice to torch.
    """

    model: str = ""
    draft: str = ""
    device: str = "auto"
    dtype: str = "auto"
    context_tokens: int = 4096
    sessions: int = 8
    threads: int = 0
    idle_minutes: float = 10.0

    @property
    def model_path(self) -> Path:
        """The folder of the target."""
        return Path(self.model).expanduser() if self.model else BUNDLED / "target"

    @property
    def draft_path(self) -> Path | None:
        """The folder of the draft model; without one of their own, other targets than the shipped one have none."""
        if self.draft == METHOD_NO_DRAFT or (not self.draft and self.model):
            return None
        return Path(self.draft).expanduser() if self.draft else BUNDLED / "draft"


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


def user_config_path(environ: Mapping[str, str]) -> Path:
    """Where the user's own file lies; `TABCAST_CONFIG` names another."""
    if named := environ.get("TABCAST_CONFIG"):
        return Path(named)
    import platformdirs  # noqa: PLC0415 - absent on some GPU machines, where `bench` and `train` must run

    return platformdirs.user_config_path("tabcast") / "config.toml"


def _apply(config: EngineConfig, values: Mapping[str, Any], source: str) -> EngineConfig:
    known = {field.name: type(getattr(config, field.name)) for field in fields(EngineConfig)}
    changed: dict[str, Any] = {}
    for key, value in values.items():
        kind = known.get(key)
        if kind is None:
            raise ConfigError(f"{source}: unknown engine setting {key!r} (known: {', '.join(sorted(known))})")
        try:
            changed[key] = kind(value)
        except (TypeError, ValueError):
            raise ConfigError(f"{source}: {key} must be {kind.__name__}, not {value!r}") from None
    config = replace(config, **changed)
    for key, allowed in (("device", DEVICES), ("dtype", DTYPES)):
        if getattr(config, key) not in allowed and not str(getattr(config, key)).startswith("cuda:"):
            raise ConfigError(f"{source}: {key} must be one of {', '.join(allowed)}, not {getattr(config, key)!r}")
    if config.context_tokens < 128 or config.sessions < 1 or config.threads < 0 or config.idle_minutes <= 0:
        raise ConfigError(f"{source}: context_tokens (128 or more), sessions, threads or idle_minutes is out of range")
    return config
