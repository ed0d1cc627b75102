"""Defines answers and health: the values and their JSON form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from typing import Any, cast

from decoding.protocol.constants import PROTOCOL_VERSION, VERSION, Status
from decoding.protocol.fields import Fields, ProtocolError


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredToken:
    """A token of an answer: its text, its log-probability (natural), and those of the likeliest at its place.

    The probability is the model's at temperature 1, given what was typed of a healed token; top-k and top-p don't
    change it. A token that a stop text cuts has the text that is left of it; one that ends inside a character has none.
    """

    text: str
    logprob: float
    likeliest: tuple[tuple[str, float], ...] = ()


Confidence = tuple[tuple[int, float], ...]
"""(characters, log-probability) of each token of a piece, in order; the characters sum to those of the pieces' texts,
but a token comes with the piece that shows the last of its characters."""


def confidence_to_json(tokens: Sequence[ScoredToken]) -> list[list[float]]:
    """Return the `confidence` of a choice's `tabcast` object."""
    return [[len(token.text), round(token.logprob, 6)] for token in tokens]


def confidence_from_json(value: object) -> Confidence:
    """Read the `confidence` of a choice; () where there is none. Raises `ProtocolError`."""
    try:
        return tuple((int(size), float(logprob)) for size, logprob in cast(Any, value) or ())
    except (TypeError, ValueError):
        raise ProtocolError("tabcast.confidence: expected a list of pairs") from None


def logprobs_to_json(tokens: Sequence[ScoredToken], offset: int) -> dict[str, Any]:
    """Return the `logprobs` of a choice as in the OpenAI protocol; offsets count from the answer's beginning."""
    offsets = [*accumulate((len(token.text) for token in tokens), initial=offset)]
    return {
        "tokens": [token.text for token in tokens],
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": [dict(token.likeliest) for token in tokens] if any(t.likeliest for t in tokens) else None,
        "text_offset": offsets[: len(tokens)],
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class DrafterStats:
    """How many tokens one drafter proposed and how many of them the target accepted."""

    drafted: int = 0
    accepted: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionStats:
    """The `tabcast` object of an answer: what one choice cost.

    `steps` counts forward passes of the target that decoded, without prefill; `tokens` those that they emitted.
    `reason` says why it ended: "stop" (the model ended it), "stop_text", "line", "length", "repetition", "context" (the
    cache is full), "superseded" (by a newer request of its document) or "dropped" (idle work gave way). `seed`
    reproduces a sampled answer. `notice` says which of the requested drafters are missing, "" where none is.
    """

    tokens: int = 0
    steps: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    queue_ms: float = 0.0
    prefill_ms: float = 0.0
    decode_ms: float = 0.0
    reason: str = ""
    seed: int | None = None
    token_ids: tuple[int, ...] = ()
    notice: str = ""
    drafters: Mapping[str, DrafterStats] = field(default_factory=dict)

    @property
    def tokens_per_step(self) -> float:
        """The emitted tokens for each decoding pass of the target; 1.0 is plain decoding."""
        return self.tokens / self.steps if self.steps else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object, with the derived figure beside the counted ones."""
        return {**asdict(self), "tokens_per_step": round(self.tokens_per_step, 3)}

    @classmethod
    def from_json(cls, value: object) -> CompletionStats:
        """Read the `tabcast` object of an answer. Raises `ProtocolError`."""
        body = Fields(value, "tabcast")
        drafters = body.value.get("drafters") or {}
        if not isinstance(drafters, dict):
            raise ProtocolError("tabcast.drafters: expected an object")
        return cls(
            tokens=body.integer("tokens"),
            steps=body.integer("steps"),
            prompt_tokens=body.integer("prompt_tokens"),
            cached_tokens=body.integer("cached_tokens"),
            queue_ms=body.number("queue_ms"),
            prefill_ms=body.number("prefill_ms"),
            decode_ms=body.number("decode_ms"),
            reason=body.text("reason"),
            seed=body.optional_integer("seed", low=-(2**63), high=2**63),
            notice=body.text("notice"),
            token_ids=tuple(int(token_id) for token_id in body.value.get("token_ids") or ()),
            drafters={
                str(name): DrafterStats(
                    drafted=Fields(counts, name).integer("drafted"), accepted=Fields(counts, name).integer("accepted")
                )
                for name, counts in drafters.items()
            },
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The answer of `GET /health`, the one route that needs no token.

    `progress` is from 0 to 1 while loading; `detail` says what it is doing, or why it failed. `model` is the name that
    chose the model; `weights` and `draft` are what people call the weights that are held, with their kinds, and
    `better` is a line about a better model on this machine, "" where there is none. `context_tokens` is the
    length of the model's window, prompt and answer together; 0 where that isn't known. `searches_code` says that its
    drafts may come from datastores of code, so that one of the workspace is useful. `read_tokens_per_s` is how fast it
    reads prompts, about; 0 where that isn't known. `cache_on_disk_mb` is the size of the keys and values on disk, of
    other engines, too, when that was last looked at. `proof` is `prove(token, nonce,
    port)`: the engine shows that it knows the token before the client sends it.
    """

    status: Status
    progress: float = 0.0
    detail: str = ""
    model: str = ""
    weights: str = ""
    draft: str = ""
    better: str = ""
    device: str = ""
    languages: tuple[str, ...] = ()
    context_tokens: int = 0
    searches_code: bool = False
    read_tokens_per_s: float = 0.0
    cache_on_disk_mb: float = 0.0
    version: str = VERSION
    protocol: int = PROTOCOL_VERSION
    pid: int = 0
    proof: str = ""

    @property
    def held(self) -> str:
        """What the engine holds, for people."""
        weights = self.weights or self.model
        return f"{weights} with the draft {self.draft}" if self.draft else weights

    def to_json(self) -> dict[str, Any]:
        """Return the body of the answer."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: object) -> Health:
        """Read the answer. Raises `ProtocolError`."""
        body = Fields(value, "health")
        status = body.text("status", required=True)
        if status not in ("absent", "loading", "ready", "failed"):
            raise ProtocolError(f"health.status: unknown value {status!r}")
        return cls(
            status=cast(Status, status),
            progress=body.number("progress"),
            detail=body.text("detail"),
            model=body.text("model"),
            weights=body.text("weights"),
            draft=body.text("draft"),
            better=body.text("better"),
            device=body.text("device"),
            languages=body.texts("languages"),
            context_tokens=body.integer("context_tokens"),
            searches_code=body.flag("searches_code"),
            read_tokens_per_s=body.number("read_tokens_per_s"),
            cache_on_disk_mb=body.number("cache_on_disk_mb"),
            version=body.text("version"),
            protocol=body.integer("protocol"),
            pid=body.integer("pid"),
            proof=body.text("proof"),
        )
