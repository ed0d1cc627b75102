"""Keeps count of what is on the shelves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass
class Item:
    """One kind of thing, and how many there are."""

    name: str
    price: float = 0.0
    count: int = 0


class Stock:
    """All items, by their names."""

    def __init__(self, items: list[Item] | None = None) -> None:
        """Take the items that are there."""
        self._items = {item.name: item for item in items or []}

    def add(self, name: str, count: int = 1) -> Item:
        """Put some of an item on the shelf."""
        if count < 1:
            raise ValueError(f"{count} of {name} can't be added")
        item = self._items.setdefault(name, Item(name))
        item.count += count
        return item

    def missing(self, names: list[str]) -> Iterator[str]:
        """Yield the names of which nothing is left."""
        for name in names:
            found = self._items.get(name)
            if found is None or not found.count:
                yield name

    def worth(self) -> float:
        """Return what all items cost."""
        return sum(item.price * item.count for item in self._items.values())
