"""A half word before the cursor, which a server that can be made to do so writes again."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from decoding.protocol import CompletionOptions, CompletionRequest, CompletionStats, Confidence
from lsp_server.engine.adapters.healing import MAX_CHARS, behind_half_word, half_word, without_half_word
from lsp_server.engine.remote import RemoteEngine
from lsp_server.engine.stream import Delta, Part
from tests.lsp.stand_in import ROUTES, StandIn, serving
from tests.lsp.test_remote_engine import client_of

HALF = CompletionRequest(prompt="items.app", tabcast=CompletionOptions(confidence=True))


@pytest.mark.parametrize(
    ("prompt", "half"),
    [
        ("items.app", ".app"),
        ("    return sel", " sel"),
        ("x = ", " "),
        ("snake_ca", "_ca"),
        ("def f():\n    ", ""),
        ("\nwhi", "whi"),
        ("größ", ""),  # all of the prompt
        ("x = größ", " größ"),
        ("call(", ""),
        ("x1", ""),
        ("x = 12", ""),
        ("", ""),
        ("x = " + "a" * (MAX_CHARS + 1), ""),
        ("x = \U00020000", ""),
    ],
)
def test_what_is_taken_off_a_prompt(prompt: str, half: str) -> None:
    request = CompletionRequest(prompt=prompt)
    assert half_word(request) == half
    assert without_half_word(request).prompt + half == prompt
    assert half_word(CompletionRequest(prompt=prompt, tabcast=CompletionOptions(heal=False))) == ""


async def answered(half: str, *pieces: tuple[str, Confidence]) -> tuple[str, Confidence, str]:
    async def parts() -> AsyncGenerator[Part, None]:
        for text, confidence in pieces:
            yield Delta(text, confidence=confidence)
        yield CompletionStats(reason="line")

    text, spans, reason = "", [], ""
    async for part in behind_half_word(parts(), half):
        if isinstance(part, CompletionStats):
            reason = part.reason
        else:
            text += part.text
            spans += part.confidence
    return text, tuple(spans), reason


async def test_the_half_word_is_cut_and_its_token_counts_as_certain() -> None:
    tokens = ("_", ((1, -2.0),)), ("append", ((6, -1.5),)), ("(1)", ((1, -0.1), (2, -0.2)))
    assert await answered("_app", *tokens) == ("end(1)", ((3, 0.0), (1, -0.1), (2, -0.2)), "line")
    # A space tells nothing of the word behind it.
    assert await answered(" ", (" value", ((6, -1.5),))) == ("value", ((5, -1.5),), "line")


async def test_an_answer_that_begins_otherwise_is_none() -> None:
    assert await answered(".app", (".ex", ()), ("tend", ())) == ("", (), "stop")


async def text_of(client: RemoteEngine, request: CompletionRequest) -> str:
    return "".join([part.text async for part in client.complete(request) if isinstance(part, Delta)])


async def test_llama_cpp_writes_a_half_word_again() -> None:
    async with serving(StandIn(kind="llama.cpp", pieces=("end", "(1)"))) as server, client_of(server.url) as client:
        assert await text_of(client, HALF) == "end(1)"
        body = server.bodies[-1]
        assert body["grammar"] == 'root ::= ".app" [^\\x00]*'
        assert ".app" not in body["prompt"]


async def test_llama_cpp_writes_a_half_word_again_where_it_lays_out_the_prompt() -> None:
    stand_in = StandIn(kind="llama.cpp", model="phi", pieces=("end", "(1)"))
    async with serving(stand_in) as server, client_of(server.url) as client:
        assert await text_of(client, HALF) == "end(1)"
        body = server.bodies[-1]
        assert (body["input_prefix"], body["grammar"]) == ("items", 'root ::= ".app" [^\\x00]*')


@pytest.mark.parametrize("kind", [kind for kind in ROUTES if kind != "llama.cpp"])
async def test_to_other_kinds_a_half_word_goes_as_it_stands(kind: str) -> None:
    async with serving(StandIn(kind=kind, pieces=("end", "(1)"))) as server, client_of(server.url) as client:
        assert await text_of(client, HALF) == "end(1)"
        assert "items.app" in server.bodies[-1]["prompt"]
        assert "grammar" not in server.bodies[-1]
