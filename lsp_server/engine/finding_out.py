"""Finds out what a server is: its kind where the user's file doesn't say it, its model, and its window's length.

It must not know streams.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from decoding.protocol import PROTOCOL_VERSION, Health, ProtocolError
from lsp_server.engine.adapters.server import ServerFacts, fim_for
from lsp_server.engine.engines_file import RemoteSpec
from lsp_server.engine.remote_connection import RemoteConnection
from lsp_server.engine.remote_trouble import reason_for
from lsp_server.engine.stream import EngineUnavailable

# What servers write as the owner of their models.
_OWNERS: Final = {
    "vllm": "vllm",
    "sglang": "sglang",
    "llamacpp": "llama.cpp",
    "mistralai": "mistral",
    "tabcast": "tabcast",
}
MAX_NAMED: Final = 5
LISTED_KINDS: Final = ("vllm", "sglang", "openai", "ollama")


async def find_out(connection: RemoteConnection, spec: RemoteSpec) -> tuple[ServerFacts, Health]:
    """Return what the server runs, and its state as a session sees it. Raises `EngineUnavailable`."""
    models = await _models(connection, spec)
    kind = spec.kind or await _kind(connection, spec, models)
    if kind == "tabcast":
        health = await _own_health(connection, spec)
        facts = ServerFacts(
            kind=kind, model=spec.model or health.model, fim="server", context_tokens=health.context_tokens
        )
        return facts, replace(health, proof="", searches_code=False, **_told(spec, facts, health.held))
    model, entry = _model(spec, kind, models)
    names, context_tokens = model, 0
    match kind:
        case "llama.cpp":
            names, context_tokens = await _llama_cpp(connection, spec, model)
        case "ollama":
            context_tokens = await _ollama_context(connection, spec, model)
        case "mistral":
            context_tokens = _integer(entry.get("max_context_length"))
        case _:
            names = f"{model} {entry.get('root') or ''}"
            context_tokens = _integer(entry.get("max_model_len"))
    facts = ServerFacts(
        kind=kind,
        model=model,
        fim=fim_for(kind, names, spec.fim),
        context_tokens=spec.context_tokens or context_tokens,
        told_context=spec.context_tokens,
    )
    return facts, Health(status="ready", context_tokens=facts.context_tokens, **_told(spec, facts, model))


def _told(spec: RemoteSpec, facts: ServerFacts, held: str) -> dict[str, Any]:
    """Return the fields of a state by which people tell where their text goes."""
    weights = f"{held or facts.kind} at {spec.host} ({facts.kind})"
    return {"model": f"{spec.name}:{facts.model}", "weights": weights, "draft": "", "device": spec.host}


async def _models(connection: RemoteConnection, spec: RemoteSpec) -> list[dict[str, Any]]:
    _, answer = await connection.look(f"{spec.api}/models")
    listed = answer.get("data") if isinstance(answer, dict) else None
    return [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []


async def _kind(connection: RemoteConnection, spec: RemoteSpec, models: list[dict[str, Any]]) -> str:
    for entry in models:
        if (kind := _OWNERS.get(str(entry.get("owned_by")))) is not None:
            return kind
    _, health = await connection.look(f"{spec.root}/health")
    if isinstance(health, dict) and "protocol" in health and "status" in health:
        return "tabcast"
    status, version = await connection.look(f"{spec.root}/api/version")
    if status == 200 and isinstance(version, dict) and "version" in version:
        return "ollama"
    if models:
        return "openai"
    raise EngineUnavailable(f"engine {spec.name}: no known server answers at {spec.url}; name its kind", "refused")


def _model(spec: RemoteSpec, kind: str, models: list[dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    """Return the model's name and what the server says of it. Raises `EngineUnavailable`."""
    by_name = {str(entry.get("id")): entry for entry in models}
    if spec.model:
        found = by_name.get(spec.model) or by_name.get(f"{spec.model}:latest")
        if found is None and by_name and kind in LISTED_KINDS:
            raise EngineUnavailable(
                f"engine {spec.name}: it has no model {spec.model!r}; it has {_some(by_name)}", "refused"
            )
        return spec.model, found or {}
    if len(by_name) == 1 or (by_name and kind == "llama.cpp"):
        return next(iter(by_name.items()))
    has = f"it has {_some(by_name)}" if by_name else "it names none"
    raise EngineUnavailable(f"engine {spec.name}: name one of its models by model; {has}", "refused")


def _some(names: dict[str, Any]) -> str:
    known = [name[:80] for name in names]
    return ", ".join(known[:MAX_NAMED]) + (", …" if len(known) > MAX_NAMED else "")


async def _own_health(connection: RemoteConnection, spec: RemoteSpec) -> Health:
    status, answer = await connection.look(f"{spec.root}/health")
    if status >= 500:
        raise EngineUnavailable(f"engine {spec.name}: {reason_for(spec, status, '')}", "failed")
    try:
        health = Health.from_json(answer)
        if health.protocol == PROTOCOL_VERSION:
            return health
        told = f"engine {spec.name}: it is a Tabcast of another version ({health.version[:20]})"
        raise EngineUnavailable(told, "refused")
    except ProtocolError:
        raise EngineUnavailable(
            f"engine {spec.name}: it is no engine of Tabcast; correct its kind", "refused"
        ) from None


async def _llama_cpp(connection: RemoteConnection, spec: RemoteSpec, model: str) -> tuple[str, int]:
    """Return the names that tell the family, and the window of one slot."""
    _, props = await connection.look(f"{spec.root}/props")
    if not isinstance(props, dict):
        return model, 0
    settings = props.get("default_generation_settings")
    context_tokens = _integer(settings.get("n_ctx")) if isinstance(settings, dict) else 0
    return f"{model} {props.get('model_alias') or ''} {props.get('model_path') or ''}", context_tokens


async def _ollama_context(connection: RemoteConnection, spec: RemoteSpec, model: str) -> int:
    """Return the window with which the model is loaded, 0 where it isn't or an older release doesn't say."""
    _, running = await connection.look(f"{spec.root}/api/ps")
    listed = running.get("models") if isinstance(running, dict) else None
    for entry in listed if isinstance(listed, list) else ():
        if isinstance(entry, dict) and str(entry.get("name")).removesuffix(":latest") == model.removesuffix(":latest"):
            return _integer(entry.get("context_length"))
    return 0


def _integer(value: object) -> int:
    return value if isinstance(value, int) and 0 < value < 10_000_000 else 0
