"""Finds causal language models in the cache of Hugging Face's libraries: folders of safetensors, and GGUF files.

The layout: https://huggingface.co/docs/huggingface_hub/guides/manage-cache. Of each repository, the snapshot of the
main branch counts, or else the newest.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from decoding.storage.discovery.found import Found, entries_of, found_file, gguf_files, is_folder, unique_folders

PREFIX: Final = "hf"
REPOSITORY: Final = "models--"
MAX_CONFIG_BYTES: Final = 2**20
# What writes text says so in its class's name; models for embeddings, pictures and speech have others.
WRITERS: Final = ("ForCausalLM", "LMHeadModel")


def find(environ: Mapping[str, str], home: Path) -> Iterator[Found]:
    """Yield the models of the cache, wherever the variables of Hugging Face's libraries put it."""
    named = (environ.get("HF_HUB_CACHE"), environ.get("HUGGINGFACE_HUB_CACHE"))
    homes = [environ.get("HF_HOME"), *(cache and f"{cache}/huggingface" for cache in [environ.get("XDG_CACHE_HOME")])]
    below = [Path(place) / "hub" for place in (*homes, home / ".cache" / "huggingface") if place]
    for cache in unique_folders(*named, *below):
        yield from models_in(cache, PREFIX)


def models_in(cache: Path, prefix: str) -> Iterator[Found]:
    """Yield the models in a folder of this layout, with names that begin with `prefix`."""
    for repository in entries_of(cache):
        if not repository.name.startswith(REPOSITORY) or (snapshot := _snapshot(repository)) is None:
            continue
        name = f"{prefix}:{repository.name.removeprefix(REPOSITORY).replace('--', '/')}"
        if _writes_text(snapshot):
            weights = [path for path in entries_of(snapshot) if path.suffix == ".safetensors"]
            try:
                size = sum(path.stat().st_size for path in weights)
                yield Found(name=name, path=snapshot, num_bytes=size)
            except OSError:
                yield Found(name=name, path=snapshot, problem="the cache has not all of its files: fetch it again")
        for path in gguf_files(snapshot):
            yield found_file(f"{name}/{path.relative_to(snapshot).as_posix()}", path, "the cache")


def _snapshot(repository: Path) -> Path | None:
    snapshots = [path for path in entries_of(repository / "snapshots") if is_folder(path)]
    try:
        main = (repository / "refs" / "main").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        main = ""
    named = [path for path in snapshots if path.name == main]
    return named[0] if named else max(snapshots, key=_changed, default=None)


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _writes_text(snapshot: Path) -> bool:
    if not any(path.suffix == ".safetensors" for path in entries_of(snapshot)):
        return False
    try:
        with (snapshot / "config.json").open("rb") as opened:
            told = json.loads(opened.read(MAX_CONFIG_BYTES))
        names = told["architectures"]
        return any(str(name).endswith(WRITERS) for name in names)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False
