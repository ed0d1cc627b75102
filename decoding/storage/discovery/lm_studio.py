"""Finds LM Studio's models, which lie in `models/PUBLISHER/REPOSITORY/` (https://lmstudio.ai/docs/app/advanced/import-model)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from decoding.storage.discovery.found import Found, found_file, gguf_files, unique_folders

PREFIX: Final = "lmstudio"
POINTER: Final = ".lmstudio-home-pointer"  # names LM Studio's folder where the user has moved it
MAX_POINTER_BYTES: Final = 4096


def find(_environ: Mapping[str, str], home: Path) -> Iterator[Found]:
    """Yield the GGUF files of LM Studio's folders, the older one last."""
    moved = _moved(home / POINTER)
    places = (moved and Path(moved) / "models", home / ".lmstudio" / "models", home / ".cache" / "lm-studio" / "models")
    for folder in unique_folders(*places):
        for path in gguf_files(folder, depth=3):
            yield found_file(f"{PREFIX}:{path.relative_to(folder).as_posix()}", path, "LM Studio")


def _moved(pointer: Path) -> str:
    try:
        with pointer.open(encoding="utf-8") as opened:
            return opened.read(MAX_POINTER_BYTES).strip()
    except (OSError, ValueError):
        return ""
