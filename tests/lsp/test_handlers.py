"""The shape of the handlers: requests are coroutines, so that they can be cancelled; notifications are done at once."""

from __future__ import annotations

import inspect

import pytest
from lsprotocol import types

from lsp_server.server import COMMANDS, NOTIFICATIONS, READERS, REQUESTS, Front, _handler, own_engine


@pytest.mark.parametrize("name", [*REQUESTS.values(), *COMMANDS.values()])
def test_requests_and_commands_are_coroutines(name: str) -> None:
    assert inspect.iscoroutinefunction(_handler(name))


@pytest.mark.parametrize("name", [*NOTIFICATIONS.values(), *READERS.values()])
def test_notifications_and_readers_are_plain_functions(name: str) -> None:
    assert not inspect.iscoroutinefunction(_handler(name))


def test_pygls_keeps_no_documents() -> None:
    features = Front(own_engine()).server.protocol.fm
    assert types.TEXT_DOCUMENT_DID_OPEN not in features.builtin_features
    assert set(NOTIFICATIONS) - {types.INITIALIZED} <= set(features.features)
