"""Checks the servers of the user's configuration file for `tabcast doctor`: each is named, found out and asked."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from lsp_server.cli.engines import try_engine
from lsp_server.engine.choosing import known_engines
from lsp_server.engine.engines_file import EnginesFile, RemoteSpec
from lsp_server.engine.model_choice import EngineSpec
from lsp_server.engine.remote import RemoteEngine
from lsp_server.engine.stream import EngineUnavailable

# chosen: a server that answers no line within this time is of no use to an editor.
TIMEOUT_S: Final = 20.0

Finding = Mapping[str, Any]


async def engine_findings() -> list[Finding]:
    """Return the findings, all at once asked; one in use that doesn't answer isn't in order, another is only told."""
    file = known_engines()
    found = [
        _finding(name, problem, "mend its table in config.toml", is_ok=name != file.use)
        for name, problem in file.problems.items()
        if name  # a file that can't be read at all is a finding of its own
    ]
    if file.use and file.use not in {**file.engines, **file.problems}:
        advice = "'tabcast engine use NAME' names another, or 'local'"
        found.append(_finding(file.use, "it is in use and has no table in config.toml", advice, is_ok=False))
    return [*found, *await asyncio.gather(*(_look(file, spec) for spec in file.engines.values()))]


async def _look(file: EnginesFile, spec: RemoteSpec) -> Finding:
    is_used = spec.name == file.use
    role = "in use" if is_used else "not in use"
    client = RemoteEngine(spec, EngineSpec.from_environment())
    try:
        async with asyncio.timeout(TIMEOUT_S):
            told = await try_engine(client)
    except (EngineUnavailable, TimeoutError) as error:
        detail = str(error).removeprefix(f"engine {spec.name}: ") or f"no line came within {TIMEOUT_S:.0f} s"
        advice = f"'tabcast engine test {spec.name}' tries it again"
        if is_used and not (spec.fallback or spec.hybrid):
            advice += ", and 'tabcast engine use local' does without it"
        return _finding(spec.name, f"{role}: {detail}", advice, is_ok=not is_used)
    finally:
        await client.close()
    detail = f"{role}: {told['kind']}, {told['model']} at {spec.host}, a line after {told['line_ms']:.0f} ms"
    if spec.hybrid:
        detail += ", first texts from this machine"
    advice = f"missing: {'; '.join(told['missing'])}" if told["missing"] else ""
    return _finding(spec.name, detail, advice)


def _finding(name: str, detail: str, advice: str, *, is_ok: bool = True) -> Finding:
    return {"name": f"engine {name}", "ok": is_ok, "detail": detail, "advice": advice}
