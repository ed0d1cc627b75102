"""Finds Ollama's models: a manifest for each tag names the blob with the weights, which is a GGUF file without ending.

The layout: https://github.com/ollama/ollama/blob/main/docs/faq.md ("Where are models stored?") and
https://github.com/ollama/ollama/tree/main/manifest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from decoding.storage.discovery.found import Found, entries_of, unique_folders, why_closed

PREFIX: Final = "ollama"
HOST: Final = "registry.ollama.ai"
NAMESPACE: Final = "library"
MAX_MANIFEST_BYTES: Final = 2**20
KIND: Final = "application/vnd.ollama.image."
DIGEST: Final = re.compile(r"sha256:([0-9a-f]{64})")
# The services of Linux packages keep models for all users.
SHARED: Final = ("/usr/share/ollama/.ollama/models", "/var/lib/ollama/models", "/var/snap/ollama/common/models")


def find(environ: Mapping[str, str], home: Path) -> Iterator[Found]:
    """Yield a model for each manifest in Ollama's places."""
    for store in unique_folders(environ.get("OLLAMA_MODELS"), home / ".ollama" / "models", *SHARED):
        manifests = store / "manifests"
        closed = [why for folder in (store, manifests, store / "blobs") if (why := why_closed(folder))]
        if closed:
            yield Found(name=f"{PREFIX}:{store}", path=store, problem=closed[0])
            continue
        for host in entries_of(manifests):
            for namespace in entries_of(host):
                for model in entries_of(namespace):
                    yield from (_read(manifest, store) for manifest in entries_of(model))


def _read(manifest: Path, store: Path) -> Found:
    host, namespace, model, tag = manifest.parts[-4:]
    owner = f"{host}/{namespace}/" if host != HOST else "" if namespace == NAMESPACE else f"{namespace}/"
    name = f"{PREFIX}:{owner}{model}:{tag}"
    again = f"'ollama pull {name.removeprefix(PREFIX + ':')}' fetches it again"
    try:
        with manifest.open("rb") as opened:
            told = json.loads(opened.read(MAX_MANIFEST_BYTES))
        layers = {str(layer["mediaType"]).removeprefix(KIND): str(layer["digest"]) for layer in told["layers"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return Found(name=name, path=manifest, problem=f"its manifest {manifest} is damaged: {again}")
    if "projector" in layers:
        return Found(name=name, path=manifest, problem="looks at pictures, and does not complete code")
    if "adapter" in layers:
        return Found(name=name, path=manifest, problem="is an adapter for another model, which is not applied")
    digest = DIGEST.fullmatch(layers.get("model", ""))
    if digest is None:
        return Found(name=name, path=manifest, problem="holds no weights in one GGUF file")
    blob = store / "blobs" / f"sha256-{digest[1]}"
    try:
        return Found(name=name, path=blob, num_bytes=blob.stat().st_size)
    except OSError:
        return Found(name=name, path=blob, problem=f"its weights are gone from {store}: {again}")
