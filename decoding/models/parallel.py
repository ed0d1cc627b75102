"""Describes a small model that predicts several tokens in one pass, and the mask that it was trained with.

Its config.json declares `"tabcast": {"parallel": {"mask_id": …, "tokens": …}}`; published models of this kind have
`pard_token` or `ptd_token_id`. PARD: An et al. 2025 (https://arxiv.org/abs/2504.18583).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from decoding.errors import ModelError
from decoding.models.language_model import LanguageModel

FOLDER: Final = "parallel"  # beside a target's own files
PUBLISHED_NAMES: Final = ("pard_token", "ptd_token_id")
PUBLISHED_TOKENS: Final = 8
MAX_TOKENS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskForm:
    """The mask token's id, which stands for a token to come; `num_tokens` are predicted in one pass."""

    mask_id: int
    num_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelModel:
    """The model and its mask; ids from `num_real_ids` on are no tokens, the mask perhaps among them."""

    model: LanguageModel
    mask_id: int
    num_tokens: int
    num_real_ids: int


def mask_form(config: Mapping[str, Any], folder: Path) -> MaskForm:
    """Read what a config.json declares. Raises `ModelError` if it declares no mask, or no numbers."""
    own = config.get("tabcast")
    declared = own.get("parallel") if isinstance(own, dict) else None
    if declared is None:
        mask_id = next((config[name] for name in PUBLISHED_NAMES if name in config), None)
        if mask_id is None:
            raise ModelError(f"{folder} is no parallel draft: its config.json names no mask (tabcast.parallel.mask_id)")
        declared = {"mask_id": mask_id, "tokens": PUBLISHED_TOKENS}
    declared = declared if isinstance(declared, dict) else {}
    mask_id, num_tokens = _number(declared.get("mask_id")), _number(declared.get("tokens"))
    if not 0 <= mask_id < _number(config.get("vocab_size")):
        raise ModelError(f"{folder}: tabcast.parallel.mask_id must be an id of the model")
    if not 1 < num_tokens <= MAX_TOKENS:
        raise ModelError(f"{folder}: tabcast.parallel.tokens must be from 2 to {MAX_TOKENS}")
    return MaskForm(mask_id=mask_id, num_tokens=num_tokens)


def _number(value: object) -> int:
    """Return the value if it is a whole number, else -1."""
    return value if isinstance(value, int) and not isinstance(value, bool) else -1
