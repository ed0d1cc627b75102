"""Spoils GGUF files in every way that their form allows: bits, lengths, types, settings, tokens and tensors.

Each mutation follows from a seed alone, so that one which does harm can be made again.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import numpy as np

from tests.gguf_files import NUMBERS, Gguf, Stored, text, value
from tests.gguf_whole_files import TOKENS

STRING, LIST = 8, 9
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
EXTREMES = (0, 1, 2, 7, 255, 2**15, 2**16, 2**21, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63, 2**64 - 1)
BAD_TEXT = (b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", b"\x00", b"\x1b[31m", b"\n", b"\xe2\x80\xae", b"\xf0\x9f\x99\x82")
Spoil = Callable[[Random, Gguf], bytes]


def mutated(seed: int, good: Gguf) -> tuple[str, bytes]:
    """The name of a way to spoil a file, and the spoiled file."""
    rng = Random(seed)
    spoil = rng.choice(SPOILS)
    return spoil.__name__, spoil(rng, good)


def flipped_bits(rng: Random, good: Gguf) -> bytes:
    data = bytearray(good.written())
    end = min(len(data), _header_length(good))
    for _ in range(rng.choice((1, 1, 1, 2, 8, 64))):
        data[rng.randrange(end)] ^= 1 << rng.randrange(8)
    return bytes(data)


def cut(rng: Random, good: Gguf) -> bytes:
    data = good.written()
    return data[: rng.randrange(rng.choice((32, _header_length(good), len(data))))]


def swapped_numbers(rng: Random, good: Gguf) -> bytes:
    """Lengths, counts, types, dimensions and offsets, each at its own place in the header."""
    data = bytearray(good.written())
    places = [(at, size) for at, size, is_text in places_in(bytes(data)) if not is_text]
    for at, size in rng.sample(places, rng.choice((1, 1, 1, 2, 4))):
        old = int.from_bytes(data[at : at + size], "little")
        near = (old + 1, old - 1, old * 2, len(data), len(data) - at, rng.randrange(20), rng.randrange(2**64))
        number = rng.choice((*EXTREMES, *near)) % 2 ** (8 * size)
        data[at : at + size] = number.to_bytes(size, "little")
    return bytes(data)


def bad_texts(rng: Random, good: Gguf) -> bytes:
    """Bytes that are no UTF-8, or that a terminal obeys, in names and texts."""
    data = bytearray(good.written())
    texts = [(at, length) for at, length, is_text in places_in(bytes(data)) if is_text and length]
    for at, length in rng.sample(texts, rng.choice((1, 1, 3))):
        bad = rng.choice(BAD_TEXT)[:length]
        start = at + rng.randrange(length - len(bad) + 1)
        data[start : start + len(bad)] = bad
    return bytes(data)


def doubled(rng: Random, good: Gguf) -> bytes:
    """A setting or a tensor that is there twice."""
    key = rng.choice([*good.metadata])
    told = rng.choice((good.metadata[key], *_values(rng)))
    extra = text(key) + value(told)
    count = len(good.metadata) + rng.choice((1, 1, 0, 2))
    return Gguf(metadata=good.metadata, tensors=good.tensors, num_keys=count, extra=extra).written()


def other_settings(rng: Random, good: Gguf) -> bytes:
    """A setting without a value, or with one of another kind or size."""
    metadata = dict(good.metadata)
    for key in rng.sample([*metadata], rng.choice((1, 1, 2, 5))):
        if rng.random() < 0.2:
            del metadata[key]
        else:
            metadata[key] = rng.choice(_values(rng))
    return Gguf(metadata=metadata, tensors=good.tensors).written()


def other_tokens(rng: Random, good: Gguf) -> bytes:
    """Lists of the tokenizer with items that are changed, doubled, moved or missing."""
    metadata = dict(good.metadata)
    lists = [key for key, item in metadata.items() if key.startswith(TOKENS) and isinstance(item, (list, np.ndarray))]
    for key in rng.sample(lists, rng.choice((1, 1, 2))):
        items = list(metadata[key])
        for _ in range(rng.choice((1, 1, 5, 50))):
            _change_item(rng, items)
        metadata[key] = items if isinstance(metadata[key], list) else np.array(items).astype(metadata[key].dtype)
    return Gguf(metadata=metadata, tensors=good.tensors).written()


def _change_item(rng: Random, items: list[Any]) -> None:
    if not items:
        return
    at = rng.randrange(len(items))
    texts = (
        "",
        " ",
        "a",
        "ab",
        "a b",
        "zz zz",
        "▁",
        "<0xZZ>",
        "<0x41>",
        "\0",
        "\x1b[2J",
        "中",
        "x" * 300,
        " ".join("ab" * 50),
    )
    numbers = (-1, 0, 1, 2, 3, 4, 5, 6, 7, 2**31 - 1, -(2**31))
    if not isinstance(items[at], str):
        floats = (float("nan"), float("inf"), -1e30) if isinstance(items[at], np.floating) else ()
        items[at] = rng.choice((*numbers, *floats))
    elif (way := rng.randrange(5)) == 0:
        items[at] = rng.choice(items)
    elif way == 1:
        del items[at]
    elif way == 2:
        items.insert(at, rng.choice(items))
    else:
        items[at] = rng.choice(texts)


def other_tensors(rng: Random, good: Gguf) -> bytes:
    """Tensors that are missing, renamed, of another shape or type, or that lie elsewhere."""
    tensors = dict(good.tensors)
    for name in rng.sample([*tensors], rng.choice((1, 1, 3))):
        way = rng.randrange(5)
        if way == 0:
            del tensors[name]
        elif way == 1:
            tensors[rng.choice(("x", "blk.9999.attn_q.weight", "model.norm.weight", "a" * 256, *tensors))] = tensors[
                name
            ]
        elif way == 2:
            sizes = tuple(rng.choice((0, 1, 31, 32, 64, 256, 2**20, 2**40, 2**63)) for _ in range(rng.randrange(6)))
            tensors[name] = Stored(kind=tensors[name].kind, dimensions=sizes, data=tensors[name].data)
        elif way == 3:
            kind = rng.choice((*NUMBERS.values(), 4, 16, 41, 999, 2**32 - 1))
            tensors[name] = Stored(kind=kind, dimensions=tensors[name].dimensions, data=tensors[name].data)
        else:
            tensors[name] = Stored(
                kind=tensors[name].kind, dimensions=tensors[name].dimensions[::-1], data=tensors[name].data[:-2]
            )
    offsets = None
    if rng.random() < 0.3:
        offsets = [rng.choice((0, 32, 7, 2**20, 2**62, 2**64 - 32)) for _ in tensors]
    return Gguf(metadata=good.metadata, tensors=tensors, offsets=offsets).written()


def _values(rng: Random) -> tuple[Any, ...]:
    numbers = np.array([rng.choice((-1, 0, 1, 2**31 - 1)) for _ in range(rng.choice((0, 1, 3, 300)))])
    return (
        *(struct.pack("<IQ", kind, number) for kind in (10, 11) for number in rng.sample(EXTREMES, 2)),
        *(struct.pack("<Id", 12, number) for number in (float("nan"), float("inf"), -1.0, 1e308)),
        *(
            True,
            False,
            0,
            1,
            3,
            -1,
            2**31,
            float("nan"),
            -0.5,
            1e30,
            "",
            "linear",
            "yarn",
            "a\nb",
            "llama",
            "bert",
            "clip",
        ),
        *(numbers.astype(np.int32), numbers.astype(np.float32), numbers.astype(np.uint8)),
        *([], ["a"], ["a"] * 40, ["", ""], ["a b", "b a"]),
    )


SPOILS: tuple[Spoil, ...] = (
    flipped_bits, flipped_bits, cut, swapped_numbers, swapped_numbers, bad_texts, doubled, other_settings,
    other_settings, other_tokens, other_tokens, other_tensors,
)  # fmt: skip


def _header_length(good: Gguf) -> int:
    return len(Gguf(metadata=good.metadata).written()) + sum(len(name) + 40 for name in good.tensors)


def places_in(data: bytes) -> Iterator[tuple[int, int, bool]]:
    """Begin and length of each text in a right header, and of each number that says how the rest is read."""
    at = 4

    def number(size: int) -> tuple[int, int, bool]:
        nonlocal at
        at += size
        return at - size, size, False

    def words() -> Iterator[tuple[int, int, bool]]:
        nonlocal at
        yield number(8)
        length = int.from_bytes(data[at - 8 : at], "little")
        yield at, length, True
        at += length

    def last(size: int) -> int:
        return int.from_bytes(data[at - size : at], "little")

    yield number(4)
    yield number(8)
    num_tensors = last(8)
    yield number(8)
    for _ in range(last(8)):
        yield from words()
        yield number(4)
        kind, count = last(4), 1
        if kind == LIST:
            yield number(4)
            kind = last(4)
            yield number(8)
            count = last(8)
        if kind == STRING:
            for _ in range(count):
                yield from words()
        else:
            at += count * SIZES[kind]
    for _ in range(num_tensors):
        yield from words()
        yield number(4)
        for _ in range(last(4)):
            yield number(8)
        yield number(4)
        yield number(8)
