"""Spoiled messages of an editor: the server goes on, answers what it can read, and nothing twice."""

from __future__ import annotations

import json
from collections import Counter
from random import Random

from tests import json_mutations
from tests.faults.campaign import Campaign, memory_mb
from tests.lsp.conftest import FakeRuntime, Servers
from tests.lsp.raw_client import RawClient, did_change, did_open, inline, notification, request

BETWEEN_LOOKS = 50
URI = "file:///work/project/spoiled.py"
GOOD_URI = "file:///work/project/good.py"


def _messages(number: int) -> list[dict[str, object]]:
    place = {"textDocument": {"uri": URI}, "position": {"line": 0, "character": 4}}
    return [
        did_open("x = \ny = 1\n", uri=URI),
        did_change(number, "a", (0, 0), (0, 1), uri=URI),
        inline(number, 0, 4, uri=URI),
        notification("$/cancelRequest", {"id": number - 1}),
        notification("workspace/didChangeConfiguration", {"settings": {"tabcast": {"minConfidence": 0.3}}}),
        notification("textDocument/didClose", {"textDocument": {"uri": URI}}),
        request(number, "workspace/executeCommand", {"command": "tabcast.server.stats", "arguments": []}),
        request(number, "textDocument/copilotInlineEdit", place),
        notification("workspace/didChangeWorkspaceFolders", {"event": {"added": [], "removed": []}}),
    ]


async def _suggests(client: RawClient, number: int) -> None:
    """A document that nobody spoils has its suggestion."""
    # Spoiled settings may have turned suggestions off.
    good = {"settings": {"tabcast": {"enabled": True, "minConfidence": 0}}}
    client.send(notification("workspace/didChangeConfiguration", good))
    closed = notification("textDocument/didClose", {"textDocument": {"uri": GOOD_URI}})
    client.send(closed, did_open("x = \n", uri=GOOD_URI), inline(number, 0, 4, uri=GOOD_URI, kind=1))
    assert await client.items(number)


async def test_the_server_goes_on(
    client: RawClient, servers: Servers, runtime: FakeRuntime, campaign: Campaign
) -> None:
    runtime.script("tail")
    rng = Random(1)
    pid = servers.processes[-1].pid
    await _suggests(client, 1)
    first_mb = 0.0
    for number in range(10_000, 10_000 + campaign.wire_messages):
        _, body = json_mutations.mutated(number, json.dumps(rng.choice(_messages(number))).encode())
        if b'"exit"' not in body and b'"shutdown"' not in body:
            client.send(body)
        if number % BETWEEN_LOOKS == 0:
            await _suggests(client, 1_000_000 + number)
            first_mb = first_mb or memory_mb(pid)
    await _suggests(client, 2_000_000)
    assert servers.processes[-1].returncode is None
    answers = Counter(one["id"] for one in client.received if "method" not in one and type(one.get("id")) is int)
    twice = [one for one, count in answers.items() if count > 1 and one >= 1_000_000]
    assert not twice, "a good request was answered twice"
    assert memory_mb(pid) - first_mb < campaign.grown_mb
