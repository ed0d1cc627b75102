"""A small pair for the suites."""

from __future__ import annotations

from pathlib import Path

import pytest

from decoding.config import EngineConfig
from decoding.models.loading.model_set import ModelSet, load_models
from tests.tiny_models import make_model


@pytest.fixture(scope="session")
def pair(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelSet:
    """A tiny Llama in float32 with a draft."""
    draft = make_model(tmp_path_factory.mktemp("bench") / "draft", "llama", seed=1, layers=1)
    return load_models(EngineConfig(model=str(tiny_model), draft=str(draft), dtype="float32", device="cpu"))[0]
