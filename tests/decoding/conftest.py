"""Loaded models and drafters for the engine's own tests."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from decoding.config import EngineConfig
from decoding.models.heads import DESCRIPTION_FILE, WEIGHTS_FILE, identity
from decoding.models.loading.model_set import ModelSet, load_models
from decoding.models.weights.int8_files import FACTORS, round_rows
from decoding.speculation.drafting import PER_PROPOSAL, Chain, Draft, DraftRequest, Outcome
from tests.conftest import MadeOnDemand
from tests.decoding.other_programs import gguf_file, home
from tests.tiny_models import FAMILIES, SETTINGS, make_model, make_tokenizer

__all__ = ["gguf_file", "home"]

# How a model's weights are kept and what computes them; all but our own architectures are computed by torch anyway.
FORMS: dict[str, dict[str, str]] = {
    "float32": {"dtype": "float32"},
    "bfloat16": {"dtype": "bfloat16"},
    "int8": {"dtype": "float32", "quantize": "int8"},
    "int4": {"dtype": "float32", "quantize": "int4"},
    "fp8": {"dtype": "bfloat16", "quantize": "fp8"},
    "float32, torch": {"dtype": "float32", "kernels": "torch"},
    "bfloat16, torch": {"dtype": "bfloat16", "kernels": "torch"},
    "float32, rehearsed": {"dtype": "float32", "kernels": "rehearsed"},  # a GPU's way
}
ONLY_OURS = ("int8", "int4", "float32, torch", "bfloat16, torch", "float32, rehearsed")
SLOW = ("fp8",)  # for one family alone


def is_tried(family: str, form: str) -> bool:
    """Whether a family is computed in that form in tests of all families."""
    return family == "llama" if form in SLOW else FAMILIES[family].is_ours or form not in ONLY_OURS


class ScriptedDrafter:
    """Proposes what a function of (tokens so far, budget) says."""

    name = "scripted"
    cost = PER_PROPOSAL
    num_unread = 0
    needs = frozenset[str]()

    def __init__(self, propose: Callable[[list[int], int], list[int]]) -> None:
        self._propose = propose
        self._ids: list[int] = []

    def begin(self, request: DraftRequest) -> None:
        self._ids = list(request.prompt_ids)

    def observe(self, outcome: Outcome) -> None:
        self._ids += outcome.emitted_ids

    def propose(self, budget: int) -> Draft:
        return Draft((Chain(tuple(self._propose(self._ids, budget)), self.name),))

    def close(self) -> None:
        pass


@pytest.fixture(scope="session")
def pairs(tiny_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], ModelSet]:
    """Each family in each of `FORMS`, with a smaller draft."""
    draft = make_model(tmp_path_factory.mktemp("drafts") / "draft", "llama", seed=1, layers=1)

    def load(key: tuple[str, str]) -> ModelSet:
        family, form = key
        folders = {"model": str(tiny_models[family]), "draft": str(draft)}
        return load_models(EngineConfig(**folders, **FORMS[form], device="cpu"))[0]

    return MadeOnDemand(load)


@pytest.fixture(scope="session")
def torch_llama(pairs: dict[tuple[str, str], ModelSet]) -> ModelSet:
    """The Llama in bfloat16, computed by torch alone."""
    return pairs["llama", "bfloat16, torch"]


@pytest.fixture(scope="session")
def llama(pairs: dict[tuple[str, str], ModelSet]) -> ModelSet:
    """The Llama in bfloat16."""
    return pairs["llama", "bfloat16"]


@pytest.fixture
def rng() -> random.Random:
    """The same numbers in each run."""
    torch.manual_seed(0)
    return random.Random(0)


def decode(models: ModelSet, prompt_ids: list[int], drafter: object, num_tokens: int, **keywords: object) -> list[int]:
    """Greedy tokens of a cold run."""
    from decoding.speculation.sampling import Sampling
    from decoding.speculation.speculate import speculate

    cache = keywords.pop("cache", None) or models.target.new_cache()
    sampling = keywords.pop("sampling", None) or Sampling()
    drafter.begin(DraftRequest(prompt_ids=prompt_ids, max_tokens=num_tokens, sampling=sampling))  # type: ignore[attr-defined]
    emitted: list[int] = []
    for outcome in speculate(models.target, cache, prompt_ids, drafter, sampling):  # type: ignore[arg-type]
        emitted += outcome.emitted_ids
        if len(emitted) >= num_tokens:
            break
    return emitted[:num_tokens]


def make_heads(
    folder: Path, target: Path, *, num_heads: int = 3, width: int = 0, is_rounded: bool = False, **changes: object
) -> Path:
    """Save random heads of width 16, with the embedding in int8 if `is_rounded`; `width` is the target's."""
    torch.manual_seed(7)
    width = width or int(SETTINGS["hidden_size"])  # type: ignore[call-overload]
    vocabulary = make_tokenizer().get_vocab_size()
    sizes = {"embedding": (vocabulary, 16), "down": (16, width), "norm": (16,)}
    sizes |= {f"block.{i}": (16, 32) for i in range(num_heads)}
    folder.mkdir(parents=True)
    stored = {name: torch.randn(size) for name, size in sizes.items()}
    if is_rounded:
        stored["embedding"], stored["embedding" + FACTORS] = round_rows(stored["embedding"])
    save_file(stored, folder / WEIGHTS_FILE)
    described = {
        "format": 1,
        "target": identity(target),
        "heads": num_heads,
        "norm_eps": 1e-6,
        "kept_ids": list(range(8, vocabulary, 2)),
    }
    (folder / DESCRIPTION_FILE).write_text(json.dumps({**described, **changes}), encoding="utf-8")
    return folder


@pytest.fixture
def copy_of(tiny_models: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """Copies the folder of a family's tiny model, to be changed."""
    return lambda family: Path(shutil.copytree(tiny_models[family], tmp_path / family))


@pytest.fixture(scope="session")
def ahead_folders(tiny_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A target, a parallel draft whose mask is no token, and heads, all random."""
    folder = tmp_path_factory.mktemp("ahead")
    mask_id = make_tokenizer().get_vocab_size()
    own = {"parallel": {"mask_id": mask_id, "tokens": 5}}
    parallel = make_model(folder / "parallel", "llama", seed=3, layers=1, vocab_size=mask_id + 1, tabcast=own)
    heads = make_heads(folder / "heads", tiny_models["llama"])
    return {"model": str(tiny_models["llama"]), "parallel": str(parallel), "heads": str(heads), "draft": "none"}
