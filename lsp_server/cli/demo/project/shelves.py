"""Where the books stand."""

from dataclasses import dataclass, field


class ShelfFull(Exception):
    """No room is left on the shelf."""


@dataclass
class Shelf:
    """A shelf with room for some books."""

    name: str
    room: int
    titles: list[str] = field(default_factory=list)

    @property
    def free(self) -> int:
        return self.room - len(self.titles)

    @property
    def is_full(self) -> bool:
        return self.free == 0

    def put(self, title: str) -> None:
        if self.is_full:
            raise ShelfFull(self.name)
        self.titles.append(title)

    def take(self, title: str) -> None:
        if title not in self.titles:
            raise KeyError(title)
        self.titles.remove(title)


def find_shelf(shelves: list[Shelf], title: str) -> Shelf | None:
    for shelf in shelves:
        if title in shelf.titles:
            return shelf
    return None


def first_free(shelves: list[Shelf]) -> Shelf | None:
    for shelf in shelves:
        if not shelf.is_full:
            return shelf
    return None


def count_titles(shelves: list[Shelf]) -> int:
    return sum(len(shelf.titles) for shelf in shelves)
