"""The commands that an editor can run: why the last request gave what it gave, and a new engine."""

from __future__ import annotations

from typing import Any

from lsp_server.session import Session


async def why(session: Session) -> dict[str, Any]:
    """Why the last request was answered as it was, and the state of the engine. No text of documents."""
    last, health = session.last_outcome, session.engine.health
    return {
        "reason": last.reason if last else "nothing asked yet",
        "detail": last.detail if last else "",
        "ms": round(last.ms, 1) if last else 0.0,
        "engine": {
            "status": health.status,
            "detail": session.engine.problem or health.detail,
            "progress": health.progress,
            "model": health.model,
            "device": health.device,
            "languages": list(health.languages),
        },
    }


async def restart_engine(session: Session) -> None:
    """Stop the engine that runs, for all windows that share it, and start another."""
    await session.engine.restart()
