"""Requests, answers and health: the values and their JSON form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, cast

from decoding.protocol.constants import (
    LINE_MODES,
    MAX_CHOICES,
    MAX_NEW_TOKENS,
    METHODS,
    PROTOCOL_VERSION,
    VERSION,
    LineMode,
    Method,
    Status,
)
from decoding.protocol.fields import Fields, ProtocolError


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextFile:
    """Another file whose text may help: `path` as the repository names it, `text` in full or cut."""

    path: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionOptions:
    """What the OpenAI protocol has no field for.

    `session` names the document: a newer request of the same session supersedes the older one.
    `draft_texts` are texts likely to be copied (the last suggestion, recent edits); they never change the output.
    `line_mode`: "line" ends at the end of the line, "free" at nothing but stop tokens and `max_tokens`;
    "block" is for the front end, which ends the stream when the block is complete: the engine treats it as "free".
    `method` names the drafters; every method gives the same text.
    `heal`: a token that the cursor cuts is taken back and written again whole; the answer has only what is new of it.
    """

    path: str = ""
    language: str = ""
    repo: str = ""
    context: tuple[ContextFile, ...] = ()
    session: str = ""
    draft_texts: tuple[str, ...] = ()
    line_mode: LineMode = "free"
    method: Method = "auto"
    heal: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionRequest:
    """One call of `POST /v1/completions`. `temperature` 0 is greedy, and the default."""

    prompt: str
    suffix: str = ""
    model: str = ""
    max_tokens: int = 64
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    n: int = 1
    stop: tuple[str, ...] = ()
    stream: bool = False
    tabcast: CompletionOptions = field(default_factory=CompletionOptions)

    def to_json(self) -> dict[str, Any]:
        """The body of the HTTP request."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: object) -> CompletionRequest:
        """Read a request body; unknown fields of other OpenAI clients are ignored.

        Raises `ProtocolError` naming the first field that is missing or of another form.
        """
        body = Fields(value, "the request")
        stop = body.value.get("stop")
        extra = body.value.get("tabcast")
        return cls(
            prompt=body.text("prompt", required=True),
            suffix=body.text("suffix"),
            model=body.text("model"),
            max_tokens=body.integer("max_tokens", default=64, low=1, high=MAX_NEW_TOKENS),
            temperature=body.number("temperature", default=0.0, low=0.0, high=2.0),
            top_p=body.number("top_p", default=1.0, low=0.0, high=1.0),
            seed=None if body.value.get("seed") is None else body.integer("seed", default=0, low=-(2**63), high=2**63),
            n=body.integer("n", default=1, low=1, high=MAX_CHOICES),
            stop=(stop,) if isinstance(stop, str) else body.texts("stop"),
            stream=body.flag("stream"),
            tabcast=CompletionOptions() if extra is None else _options_from_json(extra),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DrafterStats:
    """How many tokens one drafter proposed and how many of them the target accepted."""

    drafted: int = 0
    accepted: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionStats:
    """The `tabcast` object of an answer: what one choice cost.

    `steps` counts forward passes of the target that decoded (prefill is apart); `tokens` what they emitted.
    `reason` says why it ended: "stop" (the model ended it), "stop_text", "line", "length", "repetition",
    "context" (the cache is full) or "superseded".
    """

    tokens: int = 0
    steps: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    queue_ms: float = 0.0
    prefill_ms: float = 0.0
    decode_ms: float = 0.0
    reason: str = ""
    token_ids: tuple[int, ...] = ()
    drafters: Mapping[str, DrafterStats] = field(default_factory=dict)

    @property
    def tokens_per_step(self) -> float:
        """Emitted tokens for each decoding pass of the target; 1.0 is plain decoding."""
        return self.tokens / self.steps if self.steps else 0.0

    def to_json(self) -> dict[str, Any]:
        """The JSON object, with the derived figure beside the counted ones."""
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

    `progress` is from 0 to 1 while loading; `detail` is what it does, or why it failed.
    `proof` is `prove(token, nonce, port)`: the engine shows that it knows the token before the client sends it.
    """

    status: Status
    progress: float = 0.0
    detail: str = ""
    model: str = ""
    device: str = ""
    languages: tuple[str, ...] = ()
    version: str = VERSION
    protocol: int = PROTOCOL_VERSION
    pid: int = 0
    proof: str = ""

    def to_json(self) -> dict[str, Any]:
        """The body of the answer."""
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
            device=body.text("device"),
            languages=body.texts("languages"),
            version=body.text("version"),
            protocol=body.integer("protocol"),
            pid=body.integer("pid"),
            proof=body.text("proof"),
        )


def _options_from_json(value: object) -> CompletionOptions:
    body = Fields(value, "tabcast")
    line_mode, method = body.text("line_mode") or "free", body.text("method") or "auto"
    if line_mode not in LINE_MODES:
        raise ProtocolError(f"tabcast.line_mode: expected one of {', '.join(LINE_MODES)}, got {line_mode!r}")
    if method not in METHODS:
        raise ProtocolError(f"tabcast.method: expected one of {', '.join(METHODS)}, got {method!r}")
    files = body.value.get("context") or []
    if not isinstance(files, list | tuple):
        raise ProtocolError("tabcast.context: expected a list")
    parsed = [Fields(file, f"tabcast.context[{i}]") for i, file in enumerate(files)]
    return CompletionOptions(
        path=body.text("path"),
        language=body.text("language"),
        repo=body.text("repo"),
        context=tuple(ContextFile(path=f.text("path"), text=f.text("text", required=True)) for f in parsed),
        session=body.text("session"),
        draft_texts=body.texts("draft_texts"),
        line_mode=line_mode,
        method=method,
        heal=body.value.get("heal") is None or body.flag("heal"),
    )
