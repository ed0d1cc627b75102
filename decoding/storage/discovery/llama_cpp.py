"""Finds what llama.cpp has fetched: flat folders of GGUF files, and in newer versions folders like the hub's cache."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from decoding.storage.discovery import hugging_face
from decoding.storage.discovery.found import Found, found_file, gguf_files, unique_folders

PREFIX: Final = "llama.cpp"


def find(environ: Mapping[str, str], home: Path) -> Iterator[Found]:
    """Yield the GGUF files of llama.cpp's caches, `LLAMA_CACHE` first."""
    caches = (environ.get("XDG_CACHE_HOME"), home / ".cache", home / "Library" / "Caches", environ.get("LOCALAPPDATA"))
    usual = [Path(cache) / PREFIX for cache in caches if cache]
    for folder in unique_folders(environ.get("LLAMA_CACHE"), *usual):
        for path in gguf_files(folder, depth=0):
            yield found_file(f"{PREFIX}:{path.name}", path, PREFIX)
        yield from hugging_face.models_in(folder, PREFIX)
