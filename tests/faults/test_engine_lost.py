"""The engine is killed and frozen while somebody types: each request is answered once, and suggestions come back."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from functools import partial

import pytest

from tests.faults.campaign import Campaign
from tests.lsp.conftest import FakeRuntime
from tests.lsp.raw_client import RawClient, did_open
from tests.lsp.test_storm import GOLD, START, Typist, check

KEYS_BETWEEN = 20
# An engine that starts anew waits longer after each start that led to no answer, and a frozen one is looked at first.
PATIENCE_KEYS = 3_000


async def _type_until_suggested(typist: Typist, number: int, is_there: Callable[[], bool]) -> int:
    """Type on until an engine is there and a request brings a suggestion; return the number of the last request."""
    for _ in range(PATIENCE_KEYS):
        number += 1
        if len(typist.text) > len(GOLD) - 40:
            typist.client.send(typist.replace(START, ""))
        typist.client.send(*typist.key(), typist.ask(number))
        answer = await typist.client.answer(number)
        if is_there() and (answer.get("result") or {}).get("items"):
            return number
        await asyncio.sleep(0.05)
    raise AssertionError("suggestions did not come back")


def _is_replaced(runtime: FakeRuntime, pid: int) -> bool:
    address = runtime.address()
    return address is not None and address.pid != pid


@pytest.mark.skipif(os.name != "posix", reason="there are no such signals")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_nothing_is_lost_and_nothing_answered_twice(
    client: RawClient, runtime: FakeRuntime, campaign: Campaign, number: signal.Signals
) -> None:
    typist = Typist(client, seed=1)
    runtime.script(gold=GOLD, chunk_chars=3)
    client.send(did_open(typist.text))
    asked = await _type_until_suggested(typist, 0, lambda: True)
    for _ in range(campaign.kills if number == signal.SIGKILL else campaign.freezes):
        for _ in range(typist.random.randrange(1, KEYS_BETWEEN)):
            asked += 1
            client.send(*typist.key(), typist.ask(asked))
        address = runtime.address()
        assert address is not None
        os.kill(address.pid, number)
        # The memory of suggestions answers meanwhile, so one that comes isn't enough.
        asked = await _type_until_suggested(typist, asked, partial(_is_replaced, runtime, address.pid))
    await client.until(lambda: all(client.answers_to(one) for one in typist.sent), "all answers")
    await client.why()
    for one in typist.sent:
        check(typist, one)
    assert "window/showMessage" not in client.methods()
