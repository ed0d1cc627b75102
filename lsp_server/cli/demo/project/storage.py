"""Keeps a catalogue in a JSON file."""

import json
from pathlib import Path

from books import Book, Catalogue


def load(path: Path) -> Catalogue:
    """Read a catalogue; an absent file is an empty one."""
    catalogue = Catalogue()
    if not path.exists():
        return catalogue
    with path.open(encoding="utf-8") as file:
        for entry in json.load(file):
            catalogue.add(Book(**entry))
    return catalogue


def save(catalogue: Catalogue, path: Path) -> None:
    """Write a catalogue, sorted by title."""
    books = catalogue.search("")
    entries = [
        {
            "title": book.title,
            "author": book.author,
            "copies": book.copies,
            "tags": book.tags,
        }
        for book in books
    ]
    with path.open("w", encoding="utf-8") as file:
        json.dump(entries, file, indent=4)
