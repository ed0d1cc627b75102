"""Reads several answers for one place, and tells which of them say the same. Knows no document."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from lsp_server.engine.stream import Delta, Part


async def collect_choices(parts: AsyncGenerator[Part, None], finished: list[str]) -> None:
    """Append the choices that an engine generates as they end. A choice that was cut off loses its last line."""
    texts: dict[int, str] = {}
    async with aclosing(parts):
        async for part in parts:
            if isinstance(part, Delta):
                texts[part.choice] = texts.get(part.choice, "") + part.text
            elif texts:
                text = texts.pop(max(texts))
                text = text[: text.rfind("\n") + 1] if part.reason == "length" else text
                finished += [text] if text else []


def says_the_same(text: str, other: str) -> bool:
    """Return whether one of two texts begins with the other, blanks aside."""
    short, long = sorted(("".join(text.split()), "".join(other.split())), key=len)
    return long.startswith(short)
