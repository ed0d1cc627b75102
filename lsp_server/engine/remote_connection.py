"""Holds the connections to a server that the user's file names.

Certificates are checked, redirects are refused, and a proxy of the environment is used for other machines alone. It
must not know what a completion is.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import logging
import ssl
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.request import getproxies, proxy_bypass

from lsp_server.engine.engines_file import EngineFileError, RemoteSpec
from lsp_server.engine.remote_trouble import reason_for, worded_for
from lsp_server.engine.stream import EngineUnavailable

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S: Final = 10.0
LOOK_TIMEOUT_S: Final = 10.0
SILENCE_TIMEOUT_S: Final = 60.0
KEEP_ALIVE_S: Final = 300.0
END_TIMEOUT_S: Final = 0.5
MAX_ANSWER_BYTES: Final = 4_000_000
MAX_ERROR_BYTES: Final = 65536
MAX_RETRY_S: Final = 600.0


class RemoteConnection:
    """The pool of connections to one server. The key is read when the pool is opened, and anew after a refusal."""

    def __init__(self, spec: RemoteSpec) -> None:
        self._spec = spec
        self._opening = asyncio.Lock()
        self._session: ClientSession | None = None
        self._proxy: str | None = None
        self._ending: set[asyncio.Task[None]] = set()

    async def look(self, url: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
        """Ask a route for JSON; return the status, and None where the answer isn't JSON.

        Raises `EngineUnavailable` for a refused key and for a server that can't be reached.
        """
        response = await self._send("GET" if body is None else "POST", url, body, LOOK_TIMEOUT_S)
        try:
            if response.status in (401, 403, 429) or 300 <= response.status < 400:
                raise await self._refused(response)
            content = await response.content.read(MAX_ANSWER_BYTES)
            while not response.content.at_eof() and len(content) < MAX_ANSWER_BYTES:
                content += await response.content.read(MAX_ANSWER_BYTES - len(content))
            return response.status, json.loads(content)
        except ValueError:
            return response.status, None
        except Exception as error:
            raise worded_for(self._spec, error) from None
        finally:
            response.close()

    async def post(self, path: str, body: dict[str, Any]) -> ClientResponse:
        """Ask for a stream. The caller must `end` the answer. Raises as `look` does."""
        spec = self._spec
        url = spec.api + path.removeprefix("/v1") if path.startswith("/v1/") else spec.root + path
        response = await self._send("POST", url, body, None)
        if response.status != 200:
            raise await self._refused(response)
        return response

    async def close(self) -> None:
        """Close all connections."""
        for task in self._ending:
            task.cancel()
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def end(self, response: ClientResponse, *, is_finished: bool) -> None:
        """Release an answer: a finished one has a moment to end, so that its connection can be used again.

        Any other is cut off at once, by which the server learns that nobody waits.
        """
        if not is_finished or response.connection is None:
            response.close()
            return
        task = asyncio.create_task(_let_end(response))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _send(self, method: str, url: str, body: dict[str, Any] | None, total_s: float | None) -> ClientResponse:
        """Send a request; once more if the server had closed the connection that was kept. Raises as `look` does."""
        try:
            session = await self._open()
            import aiohttp  # noqa: PLC0415 - `_open` imported it in a thread

            timeout = aiohttp.ClientTimeout(
                total=total_s, connect=CONNECT_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S, sock_read=SILENCE_TIMEOUT_S
            )
            ask = partial(
                session.request, method, url, json=body, allow_redirects=False, proxy=self._proxy, timeout=timeout
            )
            try:
                return await ask()
            except aiohttp.ClientConnectorError:
                raise
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                return await ask()
        except EngineFileError as error:
            raise EngineUnavailable(str(error), "refused") from None
        except RuntimeError as error:
            if self._session is None or self._session.closed:  # a refusal of the key closed it meanwhile
                raise EngineUnavailable(f"engine {self._spec.name}: the connection was closed", "lost") from None
            raise error from None
        except Exception as error:
            raise worded_for(self._spec, error) from None

    async def _open(self) -> ClientSession:
        async with self._opening:
            if self._session is None:
                aiohttp: Any = await asyncio.to_thread(importlib.import_module, "aiohttp")
                gc.freeze()  # as for our own engine's connection: else each garbage collection goes through it all
                spec = self._spec
                key, self._proxy, context = await asyncio.to_thread(_prepared, spec)
                self._session = aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(
                        limit=0, keepalive_timeout=KEEP_ALIVE_S, ssl=True if context is None else context
                    ),
                    headers={"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {key}"} if key else {}),
                    trust_env=False,  # it would read a .netrc file, too
                )
            return self._session

    async def _refused(self, response: ClientResponse) -> EngineUnavailable:
        """Return the error for an answer whose status is not 200, and close it."""
        status, retry_s = response.status, _retry_s(response.headers.get("Retry-After", ""))
        try:
            words = (await response.content.read(MAX_ERROR_BYTES)).decode("utf-8", "replace").lower()
        except Exception:
            words = ""
        response.close()
        if status == 401:
            await self.close()  # the key may have been changed; the next attempt reads it again
        code, reason = "failed" if status >= 500 else "refused", reason_for(self._spec, status, words)
        return EngineUnavailable(f"engine {self._spec.name}: {reason}", code, retry_s=retry_s)


async def _let_end(response: ClientResponse) -> None:
    try:
        async with asyncio.timeout(END_TIMEOUT_S):
            await response.content.read(MAX_ERROR_BYTES)
            await response.content.wait_eof()
    except Exception as error:
        logger.debug("an answer did not end: %s", type(error).__name__)
    finally:
        response.close()


def _prepared(spec: RemoteSpec) -> tuple[str, str | None, ssl.SSLContext | None]:
    """Read key, proxy and authorities. Raises `EngineFileError`."""
    context = None
    if spec.url.startswith("https:"):
        try:
            context = ssl.create_default_context(cafile=str(Path(spec.ca_file).expanduser()) if spec.ca_file else None)
        except (OSError, ssl.SSLError):
            raise EngineFileError(f"engine {spec.name}: {spec.ca_file} holds no certificate that can be read") from None
    if spec.is_loopback or proxy_bypass(spec.host):
        return spec.key(), None, context
    proxies = getproxies()
    return spec.key(), proxies.get(spec.url.partition(":")[0]) or proxies.get("all"), context


def _retry_s(text: str) -> float:
    return min(MAX_RETRY_S, float(text)) if text.isascii() and text.isdigit() else 0.0
