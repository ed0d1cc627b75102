"""Tells the user once for each window that text goes to another machine, before any does."""

from __future__ import annotations

from lsprotocol import types

from lsp_server.session import Session


class Destination:
    """Shows one message for each host to which the user's own configuration sends text."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def show(self, session: Session) -> None:
        """Follow the engine's state, which may have changed."""
        host = session.engine.destination
        if not host or host in self._told or session.engine.health.status != "ready":
            return
        self._told.add(host)
        text = (
            f"Tabcast: the code around your cursor goes to {host}, as your config.toml says."
            " 'tabcast engine use local' keeps it on this machine."
        )
        session.server.window_show_message(types.ShowMessageParams(type=types.MessageType.Info, message=text))
