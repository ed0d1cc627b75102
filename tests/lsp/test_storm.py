"""Random editing against a model of the document: each request is answered once, and only with what fits its text.

The fake engine knows the text that is being written, so that a wrong place, a stale answer or a wrong join shows as a
suggestion that does not go on with it.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from tests.lsp.conftest import FakeRuntime
from tests.lsp.raw_client import RawClient, did_change, did_open, inline, notification

GOLD = '''"""Areas of shapes."""

import math


def circle(radius):
    if radius < 0:
        raise ValueError("radius")
    return math.pi * radius**2


def square(side):
    if side < 0:
        raise ValueError("side")
    area = side * side
    return area


def total(shapes):
    result = 0
    for shape in shapes:
        result += shape.area()
    return result
'''
START = GOLD.index("def circle")
CANCELLED = -32800


class Typist:
    """An editor at the end of one document, and what it knows of each request that it sent."""

    def __init__(self, client: RawClient, seed: int) -> None:
        self.client = client
        self.random = random.Random(seed)
        self.text = GOLD[:START]
        self.version = 1
        self.sent: dict[int, str] = {}
        self.cancelled: set[int] = set()

    def replace(self, start: int, text: str) -> dict[str, Any]:
        """A change from `start` to the end of the text."""
        self.version += 1
        places = place(self.text, start), place(self.text, len(self.text))
        self.text = self.text[:start] + text
        return did_change(self.version, text, *places)

    def key(self) -> list[dict[str, Any]]:
        is_right = GOLD.startswith(self.text)
        dice = self.random.random()
        if dice < 0.1 and len(self.text) > START:
            return [self.replace(len(self.text) - self.random.randint(1, min(6, len(self.text) - START)), "")]
        if dice < 0.2 and self.sent and (number := max(self.sent)) not in self.cancelled:
            return self.accept(number)
        if not is_right:  # goes back to where it was right
            right = next(i for i in range(len(self.text), -1, -1) if GOLD.startswith(self.text[:i]))
            return [self.replace(right, "")]
        if dice < 0.3:
            return [self.replace(len(self.text), self.random.choice("x)\n "))]
        length = self.random.choice([1, 1, 1, 1, 2, 3, 12])
        return [self.replace(len(self.text), GOLD[len(self.text) : len(self.text) + length])]

    def accept(self, number: int) -> list[dict[str, Any]]:
        answers = self.client.answers_to(number)
        if not answers or self.sent[number] != self.text or not (answers[0].get("result") or {}).get("items"):
            return []
        rest = completed(self.text, answers[0]["result"]["items"][0])[len(self.text) :]
        part = self.random.choice([rest, rest[: rest.find("\n") + 1] or rest, rest.split(" ")[0]])
        return [self.replace(len(self.text), part)]

    def ask(self, number: int) -> dict[str, Any]:
        self.sent[number] = self.text
        return inline(number, *place(self.text, len(self.text)), kind=self.random.choice([2] * 9 + [1]))

    def cancel(self) -> list[dict[str, Any]]:
        number = self.random.choice(list(self.sent))
        self.cancelled.add(number)
        return [notification("$/cancelRequest", {"id": number})]


def place(text: str, offset: int) -> tuple[int, int]:
    above = text[:offset].split("\n")
    return len(above) - 1, len(above[-1])


def completed(text: str, item: dict[str, Any]) -> str:
    """The text with an item accepted; the cursor is at its end."""
    lines = text.split("\n")
    span = item["range"]
    assert span["start"]["line"] == span["end"]["line"] == len(lines) - 1
    assert span["end"]["character"] == len(lines[-1])
    lines[-1] = lines[-1][: span["start"]["character"]] + item["insertText"]
    return "\n".join(lines)


def check(typist: Typist, number: int) -> None:
    answers = typist.client.answers_to(number)
    assert len(answers) == 1
    if "error" in answers[0]:
        assert answers[0]["error"]["code"] == CANCELLED
        assert number in typist.cancelled
    elif answers[0]["result"] is None:
        assert number < max(typist.sent)
    else:
        text = typist.sent[number]
        for index, item in enumerate(answers[0]["result"]["items"]):
            after = completed(text, item)
            assert after.startswith(text)
            assert after != text
            if index == 0 and GOLD.startswith(text):
                assert GOLD.startswith(after)


@pytest.mark.parametrize("seed", range(2))
async def test_a_storm_of_keys_requests_and_cancellations(
    any_client: RawClient, runtime: FakeRuntime, seed: int
) -> None:
    typist = Typist(any_client, seed)
    runtime.script(text="elsewhere(1)", gold=GOLD, chunk_chars=3, others=("other(2)", "third(3)"))
    any_client.send(did_open(typist.text))
    for number in range(1, 301):
        messages = typist.key()
        if typist.random.random() < 0.85:
            messages.append(typist.ask(number))
        if typist.sent and typist.random.random() < 0.1:
            messages += typist.cancel()
        if typist.random.random() < 0.03:
            settings = {"enabled": typist.random.random() < 0.7, "minConfidence": typist.random.choice([0, 0.5])}
            messages.append(notification("workspace/didChangeConfiguration", {"settings": {"tabcast": settings}}))
        any_client.send(*messages)
        if typist.random.random() < 0.2:
            await asyncio.sleep(typist.random.choice([0, 0.001, 0.01]))
        if typist.random.random() < 0.3 and typist.sent:
            await any_client.answer(max(typist.sent))
    await any_client.until(lambda: all(any_client.answers_to(number) for number in typist.sent), "all answers")
    await any_client.why()
    for number in typist.sent:
        check(typist, number)
    shown = sum(bool((any_client.answers_to(n)[0].get("result") or {}).get("items")) for n in typist.sent)
    assert shown > 10, "the storm shows too little to prove anything"
