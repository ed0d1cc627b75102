"""Gets the settings from the editor: at its start, when they change, or by asking where the editor supports it.

Each mistake in them is reported to the user once; it must not know what a setting does.
"""

from __future__ import annotations

import logging
from typing import Any

from lsprotocol import types

from lsp_server.session import Session
from lsp_server.settings import SECTION, read_settings

logger = logging.getLogger(__name__)


def take(session: Session, *layers: object) -> None:
    """Use the options of `initialize`, overridden by these. Report mistakes that were not reported before."""
    settings, problems = read_settings(session.options, *layers)
    session.configure(settings)
    new = [problem for problem in problems if problem not in session.told_problems]
    session.told_problems.update(new)
    if new:
        text = f"ignored settings: {'; '.join(new)}"
        logger.warning("%s", text)
        session.server.window_show_message(
            types.ShowMessageParams(type=types.MessageType.Warning, message=f"Tabcast {text}")
        )


def begin(session: Session) -> None:
    """Use the options of `initialize`. Ask editors that support it for the settings and to report changes."""
    take(session)
    workspace = session.server.client_capabilities.workspace
    if workspace and (did_change := workspace.did_change_configuration) and did_change.dynamic_registration:
        session.in_background(_register(session))
    pull(session)


def changed(session: Session, told: Any) -> None:
    """Use the settings that come with a notification of changes, or ask for them."""
    if can_pull(session):
        pull(session)
    elif told is not None:
        take(session, told)


def can_pull(session: Session) -> bool:
    """Return whether the editor answers `workspace/configuration`."""
    workspace = session.server.client_capabilities.workspace
    return bool(workspace and workspace.configuration)


def pull(session: Session) -> None:
    """Ask the editor for the settings. Of several answers in flight only that to the last question counts."""
    if can_pull(session):
        session.num_pulls += 1
        session.in_background(_pull(session, session.num_pulls))


async def _pull(session: Session, number: int) -> None:
    params = types.ConfigurationParams(items=[types.ConfigurationItem(section=SECTION)])
    answer = await session.server.workspace_configuration_async(params)
    if number == session.num_pulls:
        take(session, *[layer for layer in answer or [] if layer is not None][:1])


async def _register(session: Session) -> None:
    registration = types.Registration(
        id="tabcast.configuration",
        method=types.WORKSPACE_DID_CHANGE_CONFIGURATION,
        register_options=types.DidChangeConfigurationRegistrationOptions(section=SECTION),
    )
    await session.server.client_register_capability_async(types.RegistrationParams(registrations=[registration]))
