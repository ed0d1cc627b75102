"""Holds the demo's results, as values and as JSON. Knows no terminal, editor or engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from decoding.protocol import CompletionStats, Health
from lsp_server.cli.demo.editor import Suggestion
from lsp_server.cli.demo.scenes import Scene


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """The editor's suggestion for one scene, how long it waited, and the language server's reason for it."""

    scene: Scene
    suggestion: Suggestion | None
    wait_ms: float
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Return the cursor as editors count, and the ghost text there."""
        prefix, _ = self.scene.prefix_and_suffix()
        return {
            "cursor": self.scene.title,
            "file": self.scene.file,
            "line": prefix.count("\n") + 1,
            "column": len(prefix) - prefix.rfind("\n"),
            "text": self.suggestion.ghost if self.suggestion else "",
            "ms": round(self.wait_ms, 1),
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One request, decoded with speculation and without."""

    scene: Scene
    plain: CompletionStats
    speculative: CompletionStats

    @property
    def is_identical(self) -> bool:
        """Return whether both gave the same tokens, which they must."""
        return self.plain.token_ids == self.speculative.token_ids

    def to_json(self) -> dict[str, Any]:
        """Return the figures of both ways as JSON."""
        return {
            "cursor": self.scene.title,
            "plain": _figures(self.plain),
            "speculative": _figures(self.speculative),
            "identical": self.is_identical,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """All results of the demo: the engine, the suggestions and the comparisons."""

    engine: Health
    shown: Sequence[Shown]
    comparisons: Sequence[Comparison]

    @property
    def is_good(self) -> bool:
        """Return whether something was suggested, and both ways of decoding agreed everywhere."""
        return any(shown.suggestion for shown in self.shown) and all(row.is_identical for row in self.comparisons)

    def to_json(self) -> dict[str, Any]:
        """Return the object that `tabcast demo --json` prints."""
        return {
            "model": self.engine.model,
            "device": self.engine.device,
            "suggestions": [shown.to_json() for shown in self.shown],
            "comparisons": [row.to_json() for row in self.comparisons],
            "ok": self.is_good,
        }


def _figures(stats: CompletionStats) -> dict[str, Any]:
    return {
        "tokens": stats.tokens,
        "steps": stats.steps,
        "tokens_per_step": round(stats.tokens_per_step, 3),
        "ms": round(stats.decode_ms, 1),
    }
