"""A program in which torch isn't installed: decodes with models in several ways and prints the tokens as JSON.

Its argument is JSON: settings of the engine, a prompt, and the ways. The tests run `answers` themselves, with torch.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

HIDDEN = ("torch", "transformers")


def hide_torch() -> None:
    """Let this process find no torch and no transformers, as where they aren't installed."""
    for name in HIDDEN:
        assert name not in sys.modules
    from decoding.small_torch import find_small_torch

    paths = [finder for finder in sys.meta_path if getattr(finder, "__name__", "") == "PathFinder"]
    assert paths
    find_small_torch()
    sys.meta_path[:] = [finder if finder not in paths else _Without(finder) for finder in sys.meta_path]


class _Without:
    """The finder of what is installed, without two packages."""

    def __init__(self, finder: Any) -> None:
        self._finder = finder

    def find_spec(self, name: str, path: object = None, target: object = None) -> Any:
        return None if name.partition(".")[0] in HIDDEN else self._finder.find_spec(name, path, target)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._finder, name)


def answers(settings: Mapping[str, Any], prompt: Sequence[int], ways: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """Return the tokens that each way writes behind the prompt."""
    from decoding.completion.sessions import Session
    from decoding.config import EngineConfig
    from decoding.drafters.in_order import InOrder
    from decoding.models.loading.model_set import load_models
    from decoding.speculation.drafting import DraftRequest
    from decoding.speculation.sampling import Sampling
    from decoding.speculation.speculate import speculate

    models = load_models(EngineConfig(**settings, device="cpu"))[0]
    assert not models.notices, models.notices
    written = []
    for way in ways:
        sampling = Sampling(**way.get("sampling", {}))
        drafter = InOrder(Session(models).drafters(way["method"]))
        drafter.begin(DraftRequest(prompt_ids=prompt, max_tokens=32, sampling=sampling))
        emitted: list[int] = []
        for outcome in speculate(models.target, models.target.new_cache(), prompt, drafter, sampling):
            emitted += outcome.emitted_ids
            if len(emitted) >= 32:
                break
        written.append(emitted[:32])
    return written


if __name__ == "__main__":
    hide_torch()
    asked = json.loads(sys.argv[1])
    found = [answers(settings, asked["prompt"], asked["ways"]) for settings in asked["models"]]
    has = [name for name in HIDDEN if hasattr(sys.modules.get(name), "__file__")]
    sys.stdout.write(json.dumps({"answers": found, "has": has}))
