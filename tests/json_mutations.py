"""Spoils JSON files, by their bytes and by the values in them. Each mutation follows from a seed alone."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from random import Random
from typing import Any

NUMBERS = (
    0,
    1,
    -1,
    2,
    7,
    0.5,
    1e-300,
    2**16,
    2**31,
    2**32 - 1,
    2**53 + 1,
    2**64,
    10**400,
    1e308,
    float("nan"),
    float("inf"),
)
TEXTS = (
    "",
    "a",
    "\0",
    "\x1b[31m",
    "\ud800",
    "a\nb",
    "中",
    "x" * 5000,
    "default",
    "yarn",
    "(a+)+$",
    "ByteLevel",
    "../x",
)
OTHERS = (None, True, False, [], {}, [[]], [None] * 300, {"type": "x"}, {"": 0}, "[" * 9)

Place = tuple[Any, Any]
"""A table or a list, and a key in it."""


def mutated(seed: int, text: bytes) -> tuple[str, bytes]:
    """The name of a way to spoil a file, and the spoiled contents."""
    rng = Random(seed)
    spoil = rng.choice(SPOILS)
    if spoil in (other_bytes, cut, deeper):
        return spoil.__name__, spoil(rng, text)
    described = json.loads(text)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        spoil(rng, described)
    return spoil.__name__, json.dumps(described).encode()


def other_bytes(rng: Random, text: bytes) -> bytes:
    data = bytearray(text)
    for _ in range(rng.choice((1, 1, 4, 64))):
        data[rng.randrange(len(data))] = rng.choice((0, 0xFF, 0xC3, *b'"{}[],:\\0-9eE', rng.randrange(256)))
    return bytes(data)


def cut(rng: Random, text: bytes) -> bytes:
    return text[: rng.randrange(len(text))]


def deeper(rng: Random, text: bytes) -> bytes:
    depth = rng.choice((20, 200, 2000, 200_000))
    return b'{"a":' * depth + text + b"}" * depth


def other_values(rng: Random, described: Any) -> None:
    table, key = _place(rng, described)
    old = table[key]
    kinds = ((*NUMBERS, *(() if isinstance(old, (str, list, dict)) else (old + 1 if old else 3,))), TEXTS, OTHERS)
    table[key] = copy.deepcopy(rng.choice(rng.choice(kinds)))


def missing(rng: Random, described: Any) -> None:
    table, key = _place(rng, described)
    del table[key]


def doubled(rng: Random, described: Any) -> None:
    table, key = _place(rng, described)
    if isinstance(table, list):
        table.insert(rng.randrange(len(table) + 1), copy.deepcopy(table[key]))
    else:
        table[f"{key}x"] = copy.deepcopy(table[key])


def moved(rng: Random, described: Any) -> None:
    """A part stands in another's place."""
    (table, key), (other, there) = _place(rng, described), _place(rng, described)
    table[key] = copy.deepcopy(other[there])


SPOILS: tuple[Callable[[Random, Any], Any], ...] = (
    other_bytes, cut, deeper, other_values, other_values, other_values, missing, doubled, moved,
)  # fmt: skip


def _place(rng: Random, described: Any) -> Place:
    """A place at any depth: each level as likely as the next, so that a vocabulary doesn't take nearly all of them."""
    here: Any = described
    while True:
        keys = list(here) if isinstance(here, dict) else range(len(here))
        if not keys:
            return {"a": 1}, "a"
        key = rng.choice(keys)
        inner = here[key]
        if not isinstance(inner, (dict, list)) or not inner or rng.random() < 0.3:
            return here, key
        here = inner
