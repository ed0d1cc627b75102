"""Reads a JSON object field by field, with errors that name the field."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

WordT = TypeVar("WordT", bound=str)


MAX_RANGES = 64


class ProtocolError(ValueError):
    """A message doesn't follow the protocol; the text names the field and what was expected."""


class Fields:
    """A JSON object; each method reads one field, or gives its default where it is absent. Raises `ProtocolError`."""

    def __init__(self, value: object, name: str) -> None:
        if not isinstance(value, dict):
            raise ProtocolError(f"{name}: expected an object, got {type(value).__name__}")
        self.value: dict[str, Any] = value
        self.name = name

    def text(self, key: str, *, required: bool = False) -> str:
        """Read a string; "" where it is absent."""
        found = self.value.get(key)
        if found is None and not required:
            return ""
        if not isinstance(found, str):
            raise ProtocolError(f"{self.name}.{key}: expected a string, got {_kind(found)}")
        return found

    def texts(self, key: str) -> tuple[str, ...]:
        """Read a list of strings; () where it is absent."""
        found = self.value.get(key)
        if found is None:
            return ()
        if not isinstance(found, list | tuple) or not all(isinstance(item, str) for item in found):
            raise ProtocolError(f"{self.name}.{key}: expected a list of strings")
        return tuple(found)

    def flag(self, key: str) -> bool:
        """Read a truth value; False where it is absent."""
        found = self.value.get(key)
        if not isinstance(found, bool | None):
            raise ProtocolError(f"{self.name}.{key}: expected true or false, got {_kind(found)}")
        return bool(found)

    def integer(self, key: str, *, default: int = 0, low: int = 0, high: int = 2**53) -> int:
        """Read a whole number within bounds."""
        found = self.value.get(key)
        if found is None:
            return default
        if not isinstance(found, int) or isinstance(found, bool):
            raise ProtocolError(f"{self.name}.{key}: expected an integer, got {_kind(found)}")
        if not low <= found <= high:
            raise ProtocolError(f"{self.name}.{key}: expected {low} to {high}, got {found}")
        return found

    def ranges(self, key: str) -> tuple[tuple[int, int], ...]:
        """Read a short list of pairs of whole numbers; () where it is absent."""
        found = self.value.get(key)
        pairs: Sequence[Any] = () if found is None else found
        if not isinstance(pairs, list | tuple) or len(pairs) > MAX_RANGES or not all(map(_is_range, pairs)):
            raise ProtocolError(f"{self.name}.{key}: expected a list of at most {MAX_RANGES} pairs of integers")
        return tuple((pair[0], pair[1]) for pair in pairs)

    def optional_integer(self, key: str, *, low: int, high: int) -> int | None:
        """Read a whole number within bounds; None where it is absent."""
        return None if self.value.get(key) is None else self.integer(key, low=low, high=high)

    def one_of(self, key: str, allowed: Sequence[WordT], default: WordT) -> WordT:
        """Read one of a few words."""
        found = self.text(key) or default
        for word in allowed:
            if found == word:
                return word
        raise ProtocolError(f"{self.name}.{key}: expected one of {', '.join(allowed)}, got {found[:40]!r}")

    def number(self, key: str, *, default: float = 0.0, low: float = 0.0, high: float = float("inf")) -> float:
        """Read a number within bounds."""
        found = self.value.get(key)
        if found is None:
            return default
        if not isinstance(found, int | float) or isinstance(found, bool):
            raise ProtocolError(f"{self.name}.{key}: expected a number, got {_kind(found)}")
        if not low <= found <= high:
            raise ProtocolError(f"{self.name}.{key}: expected {low} to {high}, got {found}")
        return float(found)


def _is_range(value: Any) -> bool:
    is_pair = isinstance(value, list | tuple) and len(value) == 2
    return is_pair and all(type(number) is int and 0 <= number <= 2**53 for number in value)


def _kind(value: object) -> str:
    return "nothing" if value is None else type(value).__name__
