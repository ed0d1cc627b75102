"""The books of a small library."""

from dataclasses import dataclass, field


@dataclass
class Book:
    """One title and how many copies the library owns."""

    title: str
    author: str
    copies: int = 1
    tags: list[str] = field(default_factory=list)

    def matches(self, words: str) -> bool:
        """Whether every word stands in the title, the author or the tags."""
        text = " ".join([self.title, self.author, *self.tags]).lower()
        return all(word in text for word in words.lower().split())


class Catalogue:
    """All books, found by title."""

    def __init__(self) -> None:
        self._books: dict[str, Book] = {}

    def __len__(self) -> int:
        return len(self._books)

    def __contains__(self, title: str) -> bool:
        return title in self._books

    def add(self, book: Book) -> None:
        """Add a book, or more copies of one that is there."""
        if book.title in self._books:
            self._books[book.title].copies += book.copies
        else:
            self._books[book.title] = book

    def get(self, title: str) -> Book:
        """Raises KeyError if the library does not own the book."""
        return self._books[title]

    def remove(self, title: str) -> None:
        """Raises KeyError if the library does not own the book."""
        if title not in self._books:
            raise KeyError(title)
        del self._books[title]

    def search(self, words: str) -> list[Book]:
        """The books that match all words, in alphabetical order."""
        found = [book for book in self._books.values() if book.matches(words)]
        return sorted(found, key=lambda book: book.title)
