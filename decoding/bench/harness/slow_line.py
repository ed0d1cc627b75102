"""A line to a port of this machine on which everything arrives late, in either direction.

An engine refuses requests for another host than its own, so that the line puts the port behind it into their heads.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


@asynccontextmanager
async def slow_line(port: int, delay_s: float) -> AsyncIterator[int]:
    """Listen on another port; what comes there goes on to `port`, and back, each `delay_s` later."""
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            writer.close()
            return
        own = writer.get_extra_info("sockname")[1]
        hosts = b"Host: 127.0.0.1:%d\r\n" % own, b"Host: 127.0.0.1:%d\r\n" % port
        for source, sink in ((reader, there_writer), (there_reader, writer)):
            task = asyncio.create_task(_carry(source, sink, delay_s, hosts))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float, hosts: tuple[bytes, bytes]
) -> None:
    """Pass on what arrives, in its order; what is on its way doesn't hold up what follows."""
    loop, on_the_way = asyncio.get_running_loop(), asyncio.Queue[tuple[float, bytes]]()

    async def deliver() -> None:
        while (sent := await on_the_way.get())[1]:
            await asyncio.sleep(sent[0] - loop.time())
            writer.write(sent[1])
        writer.close()

    delivering = asyncio.create_task(deliver())
    try:
        data = b"-"
        while data:
            data = await reader.read(65536)
            on_the_way.put_nowait((loop.time() + delay_s, data.replace(*hosts)))
        await delivering
    except OSError:
        pass
    finally:
        delivering.cancel()
        with suppress(OSError):
            writer.close()
