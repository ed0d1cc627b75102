"""The hybrid suite: the slow line, the configuration and the rows."""

from __future__ import annotations

import asyncio
import tomllib

from decoding.bench.harness.slow_line import slow_line
from decoding.bench.suites.hybrid import KEY, Engines, _config, _Typed, _Verified
from decoding.protocol import CompletionStats
from lsp_server.engine.engines_file import read_engines


async def test_what_goes_over_a_slow_line_arrives_in_order_and_names_the_port_behind_it() -> None:
    heard = bytearray()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            heard.extend(data)
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with slow_line(port, 0.01) as slow_port:
        reader, writer = await asyncio.open_connection("127.0.0.1", slow_port)
        began_s = asyncio.get_running_loop().time()
        writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % slow_port)
        for number in range(50):
            writer.write(b"%02d" % number)
        answer = await reader.readuntil(b"49")
        assert asyncio.get_running_loop().time() - began_s >= 0.02
        writer.close()
    server.close()
    head, _, body = bytes(heard).partition(b"\r\n\r\n")
    assert b"Host: 127.0.0.1:%d" % port in head
    assert body == b"".join(b"%02d" % number for number in range(50))
    assert answer.endswith(body)


async def test_a_line_to_nobody_is_closed() -> None:
    async with slow_line(9, 0.0) as port:
        reader, _writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b""


def test_the_front_end_reads_the_configuration() -> None:
    engines = Engines(elsewhere=(), here=("--model", 'a "b".gguf', "--draft", "none"))
    text = _config(engines, 1234, is_hybrid=True)
    spec = read_engines(text).chosen()
    assert spec is not None
    assert (spec.url, spec.kind, spec.hybrid, spec.api_key_env) == ("http://127.0.0.1:1234", "tabcast", True, KEY)
    assert tomllib.loads(text)["engine"] == {"model": 'a "b".gguf', "draft": "none"}


def test_the_rows() -> None:
    sums = _Verified()
    sums.note("a", CompletionStats(tokens=9, steps=3, decode_ms=30.0))
    sums.note("b", CompletionStats(tokens=3, steps=1, decode_ms=10.0))
    assert sums.row("alone") == {
        "method": "alone", "count": 2, "tokens": 12, "steps": 4, "tokens_per_step": 3.0, "decode_ms_50": 20.0,
    }  # fmt: skip
    typed = _Typed(first_ms=[10.0, float("inf")], own_ms=[30.0, 40.0], num_first=1, num_replaced=1)
    row = typed.row("hybrid")
    assert (row["shown"], row["first_texts"], row["replaced"]) == (1, 1, 1)
    assert row["first_shown_ms_95"] is None
