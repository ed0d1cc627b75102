"""Holds the demo's results, as values and as JSON. Knows no terminal, editor or engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from decoding.protocol import AUTO, PLAIN, CompletionStats, DrafterStats, Health, Method
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One prompt, decoded by each method."""

    scene: Scene
    stats: Mapping[Method, CompletionStats]

    def is_identical(self, method: Method) -> bool:
        """Return whether a method gave the tokens of plain decoding, which it must."""
        return self.stats[method].token_ids == self.stats[PLAIN].token_ids


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodFigures:
    """What a method did with all prompts together."""

    method: Method
    tokens: int
    steps: int
    seconds: float
    drafters: Mapping[str, DrafterStats]
    is_identical: bool

    @property
    def tokens_per_second(self) -> float:
        """Return the speed of decoding, without the time for reading the prompt."""
        return self.tokens / self.seconds if self.seconds else 0.0

    @property
    def tokens_per_step(self) -> float:
        """Return the emitted tokens for each pass of the target."""
        return self.tokens / self.steps if self.steps else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        return {
            "method": self.method,
            "tokens": self.tokens,
            "steps": self.steps,
            "tokens_per_second": round(self.tokens_per_second, 2),
            "tokens_per_step": round(self.tokens_per_step, 3),
            "drafters": {name: asdict(counts) for name, counts in self.drafters.items()},
            "identical": self.is_identical,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RealOutcome:
    """All results of the demo with real models, and how many seconds its start and all of it took."""

    engine: Health
    start_seconds: float
    shown: Sequence[Shown]
    measured: Sequence[Measured]
    seconds: float

    def figures(self, method: Method) -> MethodFigures:
        """Return what a method did with all prompts together."""
        stats = [row.stats[method] for row in self.measured]
        drafted: Counter[str] = Counter()
        accepted: Counter[str] = Counter()
        for part in stats:
            for name, counts in part.drafters.items():
                drafted[name] += counts.drafted
                accepted[name] += counts.accepted
        return MethodFigures(
            method=method,
            # The token by which the model ends an answer takes a step, too.
            tokens=sum(part.tokens + (part.reason == "stop") for part in stats),
            steps=sum(part.steps for part in stats),
            seconds=sum(part.decode_ms for part in stats) / 1000,
            drafters={name: DrafterStats(drafted=drafted[name], accepted=accepted[name]) for name in drafted},
            is_identical=all(row.is_identical(method) for row in self.measured),
        )

    @property
    def notices(self) -> list[str]:
        """Return what the engine says of drafters that it hasn't got, each sentence once."""
        told = (stats.notice for row in self.measured for stats in row.stats.values())
        return list(dict.fromkeys(notice for notice in told if notice))

    @property
    def methods(self) -> list[Method]:
        """Return the measured methods: plain first, auto last."""
        found = self.measured[0].stats if self.measured else ()
        return sorted(found, key=lambda method: (method == AUTO, method != PLAIN))

    @property
    def is_good(self) -> bool:
        """Return whether something was suggested, and all methods gave the same text everywhere."""
        same = all(row.is_identical(method) for row in self.measured for method in row.stats)
        return any(shown.suggestion for shown in self.shown) and same

    def to_json(self) -> dict[str, Any]:
        """Return the object that `tabcast demo --real --json` prints."""
        return {
            "model": self.engine.held,
            "device": self.engine.device,
            "suggestions": [shown.to_json() for shown in self.shown],
            "methods": [self.figures(method).to_json() for method in self.methods],
            "notices": self.notices,
            "seconds": round(self.seconds, 1),
            "ok": self.is_good,
        }


def _figures(stats: CompletionStats) -> dict[str, Any]:
    return {
        "tokens": stats.tokens,
        "steps": stats.steps,
        "tokens_per_step": round(stats.tokens_per_step, 3),
        "ms": round(stats.decode_ms, 1),
    }
