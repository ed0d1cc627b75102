"""Names the ways to draft, which a request, a setting or a command asks for by `method`. Knows no drafter.

A method is "plain", "auto" (what is best on the engine's device), "combine" (every drafter that the engine has), or the
name of a drafter or several joined by "+". All of them give the same text.
"""

from __future__ import annotations

from typing import Final

from decoding.protocol.fields import ProtocolError

Method = str

PLAIN: Final = "plain"
AUTO: Final = "auto"
COMBINE: Final = "combine"
DRAFTERS: Final = ("lookup", "suffix", "draft", "parallel", "heads", "lookahead", "self")
METHODS: Final = (PLAIN, AUTO, *DRAFTERS, COMBINE)


def drafter_names(method: Method) -> tuple[str, ...]:
    """Return the drafters that a method names, each once; () where it names none itself. Raises `ProtocolError`."""
    if method in (PLAIN, AUTO, COMBINE):
        return ()
    names = method.split("+")
    for name in names:
        if name not in DRAFTERS:
            known = f"{', '.join(METHODS)}, or drafters joined by +"
            raise ProtocolError(f"method: expected {known}; got {name[:40]!r}")
    return tuple(dict.fromkeys(names))


def check_method(method: str) -> Method:
    """Return the method, if it is one. Raises `ProtocolError` naming the valid ones."""
    drafter_names(method)
    return method
