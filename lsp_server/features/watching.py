"""Asks editors that support it to report changes of source files and ignore rules on disk."""

from __future__ import annotations

from typing import Final

from lsprotocol import types

from lsp_server.context.ignore import RULE_FILES
from lsp_server.context.similar import FAMILIES
from lsp_server.session import Session

_ENDINGS: Final = ",".join(sorted(ending.removeprefix(".") for family in FAMILIES for ending in family))
GLOBS: Final = (f"**/*.{{{_ENDINGS}}}", *(f"**/{name}" for name in RULE_FILES))


def begin(session: Session) -> None:
    """Ask for reports, if the editor supports it. Without them files are checked before use and when saved."""
    workspace = session.server.client_capabilities.workspace
    if workspace and (watched := workspace.did_change_watched_files) and watched.dynamic_registration:
        session.in_background(_register(session))


async def _register(session: Session) -> None:
    watchers = [types.FileSystemWatcher(glob_pattern=glob) for glob in GLOBS]
    registration = types.Registration(
        id="tabcast.watching",
        method=types.WORKSPACE_DID_CHANGE_WATCHED_FILES,
        register_options=types.DidChangeWatchedFilesRegistrationOptions(watchers=watchers),
    )
    await session.server.client_register_capability_async(types.RegistrationParams(registrations=[registration]))
