"""Names the formats in which models for next edits are asked, and chooses one by a model's name: a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from lsp_server.edits.formats.form import Asked, Format
from lsp_server.edits.formats.instruct import Instruct
from lsp_server.edits.formats.sweep import Sweep
from lsp_server.edits.formats.zeta import Zeta, Zeta2, Zeta21

__all__ = ["FORMATS", "Asked", "Format", "format_for"]

FORMATS: Final[Mapping[str, Format]] = {
    "sweep": Sweep(),
    "zeta": Zeta(),
    "zeta-2": Zeta2(),
    "zeta-2.1": Zeta21(),
    "instruct": Instruct(),
}
# What the names of models have in them, the more special first; all parts of an entry must be there.
_NAMES: Final[tuple[tuple[tuple[str, ...], str], ...]] = (
    (("sweep", "next-edit"), "sweep"),
    (("zeta-2-1",), "zeta-2.1"),
    (("zeta-2",), "zeta-2"),
    (("zeta2",), "zeta-2"),
    (("zeta",), "zeta"),
    (("qwen", "instruct"), "instruct"),
)


def format_for(model_name: str) -> Format | None:
    """Return the format of a model by its name; None for one that isn't known to be taught any."""
    name = model_name.lower().replace("_", "-").replace(".", "-")
    found = next((wanted for parts, wanted in _NAMES if all(part in name for part in parts)), "")
    return FORMATS.get(found)
