"""Makes the client of the engine that the user chose: a server of the configuration file, or the one we start."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from decoding.protocol import Health
from lsp_server.engine.client import EngineClient
from lsp_server.engine.engines_file import EngineFileError, EnginesFile, RemoteSpec, read_engines
from lsp_server.engine.fallback import WithFallback
from lsp_server.engine.hybrid import Hybrid
from lsp_server.engine.model_choice import EngineSpec, config_text
from lsp_server.engine.remote import RemoteEngine
from lsp_server.engine.seam import Client
from lsp_server.engine.stream import EngineUnavailable

OnHealth = Callable[[Health], None]


def known_engines() -> EnginesFile:
    """Read the engines of the user's own configuration file."""
    return read_engines(config_text(os.environ))


def make_client(arguments: Sequence[str] = (), model: str = "", on_health: OnHealth | None = None) -> Client:
    """Return the client of the engine in use.

    Options that choose a model, and a model that was selected, mean the engine that we start. Raises `ValueError` for a
    model that nobody offers, and `EngineUnavailable` for an engine whose table can't be used.
    """
    spec = EngineSpec.from_environment(arguments, model)
    if arguments or model:
        return EngineClient(spec, on_health)
    try:
        chosen = known_engines().chosen()
    except EngineFileError as error:
        raise EngineUnavailable(str(error), "failed") from None
    return EngineClient(spec, on_health) if chosen is None else remote_client(chosen, spec, on_health)


def remote_client(chosen: RemoteSpec, spec: EngineSpec, on_health: OnHealth | None = None) -> Client:
    """Return the client of a server, with the engine on this machine behind it where the file says so."""
    if not chosen.fallback and not chosen.hybrid:
        return RemoteEngine(chosen, spec, on_health)

    def hear_remote(health: Health) -> None:
        both.hear_remote(health)

    def hear_local(health: Health) -> None:
        both.hear_local(health)

    kind = Hybrid if chosen.hybrid else WithFallback
    both = kind(RemoteEngine(chosen, spec, hear_remote), EngineClient(spec, hear_local), on_health)
    return both
