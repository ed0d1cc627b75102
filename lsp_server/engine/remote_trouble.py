"""Words what goes wrong with a server that the user's file names, with what to do about it.

A server's own words are never passed on: they may hold what was sent. It must not know connections.
"""

from __future__ import annotations

import ssl
from typing import Final

from lsp_server.engine.engines_file import RemoteSpec
from lsp_server.engine.stream import EngineUnavailable

NOT_IMPLEMENTED: Final = 501
# What a refusal has in it, and what that means for the user's file; the first that is found counts.
_HINTS: Final = {
    "infill is not supported": "its model doesn't fill in the middle; with fim = 'none' it gets the text before alone",
    "suffix": "it takes no suffix with this model; name the model's tokens by fim",
    "support insert": "it takes no suffix with this model; name the model's tokens by fim",
    "context length": "the prompt is too long for it; set context_tokens",
    "context size": "the prompt is too long for it; set context_tokens",
    "too long": "the prompt is too long for it; set context_tokens",
}


def worded_for(spec: RemoteSpec, error: Exception) -> EngineUnavailable:
    """Turn an error of a connection into one worded for people; raise bugs as they are."""
    import aiohttp  # noqa: PLC0415 - the connection imported it in a thread

    if isinstance(error, EngineUnavailable):
        return error
    doubt = f"is it really of the kind {spec.kind}?" if spec.kind else "name its kind"
    certificate = "doesn't fit ca_file" if spec.ca_file else "is not trusted; name its authority by ca_file"
    # The first entry counts that fits: the later ones are more general.
    for kinds, code, reason in (
        (
            (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError, ssl.SSLError),
            "refused",
            f"the certificate of {spec.host} {certificate}",
        ),
        (
            (aiohttp.ClientProxyConnectionError, aiohttp.ClientHttpProxyError, aiohttp.InvalidURL),
            "absent",
            "the proxy that the environment names can't be used",
        ),
        ((aiohttp.ClientConnectorDNSError,), "absent", f"there is no host {spec.host}"),
        ((aiohttp.ClientConnectorError, TimeoutError), "absent", f"nothing answers at {spec.url}"),
        ((aiohttp.ClientError, OSError), "lost", "the connection broke off"),
        ((ValueError,), "protocol", f"its answer can't be understood; {doubt}"),
    ):
        if isinstance(error, kinds):
            return EngineUnavailable(f"engine {spec.name}: {reason}", code)
    raise error


def reason_for(spec: RemoteSpec, status: int, words: str) -> str:
    """Return what a refusal means; `words` are looked at for known hints only."""
    where = spec.api_key_env or spec.api_key_file
    no_route = f"it has no model {spec.model!r}, or is of another kind" if spec.model else "it is of another kind"
    known = {
        401: f"the key in {where} is refused" if where else "it wants a key; name it by api_key_env or api_key_file",
        403: f"the key in {where} may not do this" if where else "it lets nobody in without a key",
        404: no_route,
        405: no_route,
        429: "it has too much to do, or the key's limit is reached (HTTP 429)",
    }
    if status in known:
        return known[status]
    if 300 <= status < 400:
        return f"the server at {spec.url} sends us elsewhere (HTTP {status}), which isn't followed; correct url"
    hint = next((hint for word, hint in _HINTS.items() if word in words), "")
    if status >= 500:
        # llama.cpp says by HTTP 501 what its model can't do.
        return hint if hint and status == NOT_IMPLEMENTED else f"the server failed (HTTP {status})"
    return hint or f"it refuses the request (HTTP {status}); is its kind right?"
