"""Made-up stores of other programs' models, in a new home."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from decoding.storage import discovery
from tests.gguf_models import tiny_gguf
from tests.tiny_models import make_model

VARIABLES = ("OLLAMA_MODELS", "LLAMA_CACHE", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME")
MEDIA_TYPE = "application/vnd.ollama.image."


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's home without anything in it, and nothing else in sight."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    monkeypatch.setenv("TABCAST_MODELS", str(folder / "pulled"))
    monkeypatch.setattr(discovery.ollama, "SHARED", ())
    return folder


@pytest.fixture(scope="module")
def gguf_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model in one file, which calls its mixture of types Q4_K_M."""
    folder = tmp_path_factory.mktemp("gguf")
    return tiny_gguf(folder / "tiny.gguf", make_model(folder / "llama", "llama"), general__file_type=15)


def add_to_ollama(store: Path, name: str, content: bytes | None, *kinds: str) -> Path:
    """Put a model into a store as Ollama does, and return its blob's path; without content the blob is missing."""
    digest = hashlib.sha256(content or b"gone").hexdigest()
    model, _, tag = name.rpartition(":")
    layers = [{"mediaType": f"{MEDIA_TYPE}{kind}", "digest": f"sha256:{digest}"} for kind in kinds or ("model",)]
    manifest = store / "manifests" / model / tag
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_text(json.dumps({"schemaVersion": 2, "layers": layers}))
    blob = store / "blobs" / f"sha256-{digest}"
    blob.parent.mkdir(exist_ok=True)
    if content is not None:
        blob.write_bytes(content)
    return blob
