"""Sends `tabcast/status`, which tells an editor whether suggestions are available, and what to do if not.

Sent to editors that announce `experimental.tabcastStatus` when they start; others would log it as unknown. Clients of
Copilot's language server read its `didChangeStatus` instead: they show themselves by sending `textDocument/didFocus`.
"""

from __future__ import annotations

from typing import Any, Final

from lsp_server.rpc.client_quirks import announces
from lsp_server.session import Session

METHOD: Final = "tabcast/status"
COPILOT_METHOD: Final = "didChangeStatus"
_COPILOT_KINDS: Final = {"failed": "Error", "off": "Inactive"}
ACTION: Final = "run 'tabcast doctor' in a terminal to see what is wrong, then the command tabcast.server.restartEngine"
ACTION_FOR_SERVER: Final = "run 'tabcast engine test {name}' in a terminal to see what is wrong"


class Status:
    """Sends the status whenever it changes, in the form that the editor reads."""

    def __init__(self) -> None:
        self._told: dict[str, Any] | None = None

    def show(self, session: Session) -> None:
        """Send the session's status if it has changed."""
        if is_wanted(session):
            method, status = METHOD, status_of(session)
        elif session.reads_copilot_status:
            method, status = COPILOT_METHOD, copilot_status_of(session)
        else:
            return
        if status != self._told:
            self._told = status
            session.server.protocol.notify(method, status)


def status_of(session: Session) -> dict[str, Any]:
    """Return the status as JSON: `state` is off, stopped, loading, ready or failed.

    The other fields are texts for people, and `percent` of the loading. `model` names the weights that are held, and
    `better` tells of a better model on this machine, and `destination` is the host to which text goes, "" where it
    stays on this machine.
    """
    engine = session.engine
    health = engine.health
    told = {"state": health.status, "percent": 0, "model": health.held, "device": health.device}
    told |= {"better": health.better, "destination": engine.destination}
    if not session.settings.enabled or session.snooze.minutes_left:
        message = "suggestions are snoozed" if session.settings.enabled else "suggestions are turned off"
        return {**told, "state": "off", "message": message, "action": ""}
    if health.status == "loading":
        percent = min(100, round(health.progress * 100))
        return {**told, "percent": percent, "message": health.detail or "loading the model", "action": ""}
    if health.status == "ready":
        instead = health.detail if engine.name else ""  # why the engine on this machine answers for a server
        return {**told, "percent": 100, "message": engine.problem or instead, "action": ""}
    if health.status == "failed" or engine.problem:
        action = ACTION_FOR_SERVER.format(name=engine.name) if engine.name else ACTION
        return {**told, "state": "failed", "message": engine.problem or health.detail, "action": action}
    if engine.is_waking:
        return {**told, "state": "loading", "message": "starting the engine", "action": ""}
    return {**told, "state": "stopped", "message": "the engine starts with the next suggestion", "action": ""}


def copilot_status_of(session: Session) -> dict[str, Any]:
    """Return the status in the form of Copilot's language server: `kind`, `busy` and a message for people."""
    status = status_of(session)
    message = status["message"]
    if status["state"] == "loading" and status["percent"]:
        message = f"{message} ({status['percent']} %)"
    if status["action"]:
        message = f"{message}: {status['action']}"
    kind = _COPILOT_KINDS.get(status["state"]) or ("Warning" if session.engine.problem else "Normal")
    return {"kind": kind, "busy": status["state"] == "loading", "message": message}


def is_wanted(session: Session) -> bool:
    """Return whether the editor announced that it understands the notification."""
    return announces(session.server.client_capabilities, "tabcastStatus")
