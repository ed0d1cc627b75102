"""Says what is known of a model that could complete code here. Plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from decoding.protocol import NO_MODEL

Source = Literal["disk", "pull", "bundled", "in use"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A model that could be used.

    `name` is what `tabcast models use` takes and `title` what people call it. `step_bytes` are the weights that a step
    reads, `num_parameters` counts those, and `in_blocks` tells whether they stay in the blocks of their file. `is_code`
    is true if its names say that it was trained on code. `draft` is what drafts for it, or "none".
    """

    name: str
    title: str
    kind: str
    source: Source
    num_parameters: int
    step_bytes: int
    memory_bytes: int
    in_blocks: bool
    is_code: bool
    download_bytes: int = 0
    draft: str = NO_MODEL
