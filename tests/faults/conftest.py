"""The fault campaign: run by `make faults`, and left out of the usual suite."""

from __future__ import annotations

import pytest

from tests.faults.campaign import CAMPAIGNS, Campaign
from tests.lsp.conftest import client, runtime, servers

__all__ = ["client", "runtime", "servers"]


@pytest.fixture
def campaign(request: pytest.FixtureRequest) -> Campaign:
    return CAMPAIGNS[request.config.getoption("--faults")]
