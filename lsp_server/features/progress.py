"""Shows in the editor that the engine is loading, if the editor can show progress."""

from __future__ import annotations

import asyncio
import logging
import uuid

from lsprotocol import types

from decoding.protocol import Health
from lsp_server.rpc.protocol import WireServer
from lsp_server.session import Session

logger = logging.getLogger(__name__)


class LoadingProgress:
    """Shows progress: it begins when the engine loads, and ends when the engine is ready or gone."""

    def __init__(self) -> None:
        self._health = Health(status="absent")
        self._token: str | None = None
        self._opening: asyncio.Task[None] | None = None

    def show(self, session: Session) -> None:
        """Follow the engine's state, which may have changed."""
        before, self._health = self._health, session.engine.health
        if self._health == before:
            return
        health, server = self._health, session.server
        if health.status == "loading" and self._token is None and _can_show(server):
            self._opening = self._opening or asyncio.create_task(self._begin(server))
        elif self._token is not None and health.status == "loading":
            report = types.WorkDoneProgressReport(message=health.detail, percentage=_percentage(health))
            server.work_done_progress.report(self._token, report)
        elif self._token is not None:
            end = types.WorkDoneProgressEnd(message=health.detail or health.status)
            server.work_done_progress.end(self._token, end)
            self._token = None

    async def _begin(self, server: WireServer) -> None:
        token = uuid.uuid4().hex
        try:
            await server.work_done_progress.create_async(token)
        except Exception as error:
            logger.info("the editor refuses to show progress: %s", type(error).__name__)
            return
        finally:
            self._opening = None
        if self._health.status == "loading":
            self._token = token
            begin = types.WorkDoneProgressBegin(
                title="Tabcast: loading the models", message=self._health.detail, percentage=_percentage(self._health)
            )
            server.work_done_progress.begin(token, begin)


def _can_show(server: WireServer) -> bool:
    window = server.client_capabilities.window
    return bool(window and window.work_done_progress)


def _percentage(health: Health) -> int:
    return min(100, round(health.progress * 100))
