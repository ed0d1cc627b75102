"""Tabcast's engine: lossless speculative decoding of code models.

This module imports nothing, so that `decoding.protocol` stays cheap; `decoding.generate` is imported at first use.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from decoding.generation import generate as generate


def __getattr__(name: str) -> Any:
    if name == "generate":
        from decoding.generation import generate  # noqa: PLC0415 - brings torch and transformers

        return generate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
