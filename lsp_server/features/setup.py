"""Implements the command `tabcast.server.setup`: a model for this machine, from within an editor.

It runs `tabcast setup`, shows how far it is, and lets this window use the model that was written into the user's
configuration. Only the editor's user starts it: nothing of a workspace can.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import Any, Final

from lsprotocol import types

from lsp_server.model_setup import Event
from lsp_server.rpc.protocol import WireServer
from lsp_server.session import Session

logger = logging.getLogger(__name__)

COMMAND: Final = "tabcast.server.setup"
OPTIONS: Final[dict[str, tuple[str, ...]]] = {"recommend": ("--dry-run",), "run": ("--yes",), "undo": ("--undo",)}
OUTCOMES: Final[dict[str, str]] = {"recommend": "recommended", "run": "done", "undo": "undone"}
TITLES: Final[dict[str, str]] = {
    "recommend": "Tabcast: looking for a model",
    "run": "Tabcast: setting up a model",
    "undo": "Tabcast: undoing the setup",
}
BUSY: Final = "a setup is running in this window already"
OVERRIDDEN: Final = "this editor starts the server with --model, which counts before the configuration: remove it there"


async def set_up(session: Session, options: Any = None, *_: Any) -> dict[str, Any]:
    """Recommend a model, set it up, or undo that, as `{"action": ..., "model": ...}` says; see docs."""
    options = options if isinstance(options, dict) else {}
    action, model = options.get("action", "recommend"), options.get("model")
    if action not in OPTIONS or not isinstance(model, str | None):
        return _answer("failed", message=f"action must be one of {', '.join(OPTIONS)}, and model a name")
    chosen = [f"--model={model}"] if model and action != "undo" else []
    told: dict[str, Event] = {}
    progress = _Progress(session.server, TITLES[action])

    def tell(event: Event) -> None:
        told[event["event"]] = event
        progress.follow(event)

    work = session.model_setup.start([*OPTIONS[action], *chosen], tell)
    if work is None:
        return _answer("busy", message=BUSY)
    session.in_background(progress.begin(work))
    await asyncio.wait([work])
    progress.end()
    if work.cancelled():
        return _answer("cancelled", told, message="cancelled: the configuration is unchanged")
    last = work.result()
    if last["event"] == "error":
        return _answer("failed", told, message=last["message"])
    is_overridden = action != "recommend" and await _use_configured(session)
    return _answer(OUTCOMES[action], told, message=OVERRIDDEN if is_overridden else "")


def read(_session: Session, _request_id: int | str, params: types.ExecuteCommandParams) -> object:
    """Take the request as it is: it is read only so that its cancellation is heard of."""
    return params


def cancelled(session: Session, params: types.ExecuteCommandParams) -> None:
    """End the setup when its request is cancelled; the wire doesn't end a command's coroutine."""
    if params.command == COMMAND:
        session.model_setup.cancel()


class _Progress:
    """Shows in the editor what the setup does, if the editor can; its user may cancel it there."""

    def __init__(self, server: WireServer, title: str) -> None:
        self._server, self._title = server, title
        self._token = uuid.uuid4().hex
        self._is_open = self._is_over = False
        self._shown: tuple[str, int | None] = ("", None)

    async def begin(self, work: asyncio.Task[Event]) -> None:
        """Ask the editor to show progress, and cancel the work when its user wants that."""
        window, progress = self._server.client_capabilities.window, self._server.work_done_progress
        if not (window and window.work_done_progress):
            return
        try:
            await progress.create_async(self._token)
        except Exception as error:
            logger.info("the editor refuses to show progress: %s", type(error).__name__)
            return
        if self._is_over:
            return
        self._is_open = True
        wish = progress.tokens[self._token]
        wish.add_done_callback(lambda wish: work.cancel() if wish.cancelled() else None)
        progress.begin(self._token, types.WorkDoneProgressBegin(title=self._title, cancellable=True, percentage=0))

    def follow(self, event: Event) -> None:
        """Show how far it is; what differs in no whole percent is not sent again."""
        if event["event"] != "progress" or not self._is_open:
            return
        is_counted = event.get("stage") == "fetch"
        percentage = min(100, 100 * int(event["done"]) // max(int(event["total"]), 1)) if is_counted else None
        shown = (str(event.get("message", "")), percentage)
        if shown != self._shown:
            self._shown = shown
            report = types.WorkDoneProgressReport(message=shown[0], percentage=percentage)
            self._server.work_done_progress.report(self._token, report)

    def end(self) -> None:
        """End it, or don't begin it."""
        self._is_over = True
        if self._is_open:
            self._server.work_done_progress.end(self._token, types.WorkDoneProgressEnd())
            self._server.work_done_progress.tokens.pop(self._token, None)


async def _use_configured(session: Session) -> bool:
    """Use what the configuration now says, and return whether the server's command line counts before it."""
    await session.engine.select("")
    spec = session.engine.spec
    return spec is not None and "--model" in spec.arguments


def _answer(outcome: str, told: dict[str, Event] | None = None, *, message: str) -> dict[str, Any]:
    told = told or {}
    done = told.get("done", {})
    fields = {
        name: {key: value for key, value in told[name].items() if key != "event"} if name in told else None
        for name in ("machine", "recommendation")
    }
    return {
        "outcome": outcome,
        "message": message or str(done.get("message", "")),
        **fields,
        "model": done.get("model", ""),
        "completion": done.get("completion", ""),
        "config": done.get("config", ""),
    }
