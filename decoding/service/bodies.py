"""Reads the bodies of requests. Knows no route."""

from __future__ import annotations

import json

from aiohttp import web

from decoding.protocol import ProtocolError


async def body_of(request: web.Request) -> object:
    """Return the JSON of a request. Raises `ProtocolError` where it is none."""
    try:
        return json.loads(await request.read())
    except web.RequestPayloadError:
        raise ProtocolError("the body is not in the encoding that its head names") from None
    except RecursionError:
        raise ProtocolError("the body holds lists within lists, nested too deeply to be read") from None
    except ValueError as error:
        raise ProtocolError(f"the body is not JSON: {error}") from None
