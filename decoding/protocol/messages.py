"""Defines requests: the values and their JSON form."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from decoding.protocol.constants import (
    LINE_MODES,
    MAX_CHOICES,
    MAX_LATENCY_MS,
    MAX_LOGPROBS,
    MAX_NEW_TOKENS,
    MAX_REQUEST_BYTES,
    PREPARES,
    PRIORITIES,
    LineMode,
    Prepare,
    Priority,
)
from decoding.protocol.fields import Fields, ProtocolError
from decoding.protocol.methods import Method, check_method


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextFile:
    """Another file whose text may help: `path` as the repository names it, `text` in full or cut."""

    path: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionOptions:
    """The part of a request for which the OpenAI protocol has no field.

    `session` names the document: a newer request of the same session supersedes the older one. `draft_texts` are texts
    likely to be copied (the last suggestion, recent edits), and `proposal` is what another model wrote for this very
    place, which is verified before anything else: they never change the output. `line_mode`: "line" ends at the end of
    the line, "free" at nothing but stop tokens and `max_tokens`; "block" is for the front end, which ends
    the stream when the block is complete: the engine treats it as "free". `method` names the drafters (see
    `methods.py`), "" leaves that to the engine; every method gives the same text. `heal` asks for token healing: a
    token that the cursor cuts is generated again; the answer has only its new part. `confidence` asks for the
    probability of each token of a piece (see `Confidence`). `priority` "idle" is for prefetches: such a request waits
    while any other runs, and is dropped first. `prepare` asks for no text: the prompt is only read, at idle priority,
    for a request at this "place", or as the "trunk": the file or a window of it, from which requests branch off.
    `choice` asks for another answer than the first: the one that begins with the second likeliest token is 1.
    Where the prompt can't be read in `latency_ms`, it may be cut, down to the `least_prefix` last characters of the
    prefix without context, and the `least_suffix` first ones of the suffix; with 0 milliseconds it is never cut.
    Headers of the blocks around, which begin and end so many characters before the prefix's end (`headers`), are read
    where they stand before a cut; a very slow model does with `nearest_prefix` characters and them.
    `keep` allows what is read of a trunk to be kept on this machine's disk, for another start of the engine.
    `laid_out` is the whole prompt in the caller's own layout, in place of `prompt` and `suffix`: texts and names of
    special tokens in turn, a text first. A name that is no token of the model is text. Such a prompt is never cut.
    """

    path: str = ""
    language: str = ""
    repo: str = ""
    context: tuple[ContextFile, ...] = ()
    session: str = ""
    draft_texts: tuple[str, ...] = ()
    proposal: str = ""
    line_mode: LineMode = "free"
    method: Method = ""
    heal: bool = True
    confidence: bool = False
    priority: Priority = "normal"
    prepare: Prepare = ""
    choice: int = 0
    latency_ms: int = 0
    least_prefix: int = 0
    least_suffix: int = 0
    nearest_prefix: int = 0
    headers: tuple[tuple[int, int], ...] = ()
    keep: bool = False
    laid_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionRequest:
    """One call of `POST /v1/completions`. `temperature` 0 is greedy, and the default; `top_k` 0 keeps all tokens.

    `seed` None draws one, which the answer's statistics name. The `n` answers differ; where the model finds fewer,
    fewer are given: sampled ones have noise of their own, greedy ones begin with the first, second, … likeliest token.
    `logprobs` asks for each token's log-probability and those of as many of the likeliest at its place.
    """

    prompt: str
    suffix: str = ""
    model: str = ""
    max_tokens: int = 64
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int | None = None
    n: int = 1
    logprobs: int | None = None
    stop: tuple[str, ...] = ()
    stream: bool = False
    tabcast: CompletionOptions = field(default_factory=CompletionOptions)

    def to_json(self) -> dict[str, Any]:
        """Return the body of the HTTP request."""
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
            top_k=max(0, body.integer("top_k", low=-1)),  # some servers write "all" as -1
            top_p=body.number("top_p", default=1.0, low=0.0, high=1.0),
            seed=body.optional_integer("seed", low=-(2**63), high=2**63),
            n=body.integer("n", default=1, low=1, high=MAX_CHOICES),
            logprobs=body.optional_integer("logprobs", low=0, high=MAX_LOGPROBS),
            stop=(stop,) if isinstance(stop, str) else body.texts("stop"),
            stream=body.flag("stream"),
            tabcast=CompletionOptions() if extra is None else _options_from_json(extra),
        )


def _options_from_json(value: object) -> CompletionOptions:
    body = Fields(value, "tabcast")
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
        proposal=body.text("proposal"),
        line_mode=body.one_of("line_mode", LINE_MODES, "free"),
        method=_method(body),
        heal=body.value.get("heal") is None or body.flag("heal"),
        confidence=body.flag("confidence"),
        priority=body.one_of("priority", PRIORITIES, "normal"),
        prepare=body.one_of("prepare", PREPARES, ""),
        choice=body.integer("choice", low=0, high=MAX_CHOICES),
        latency_ms=body.integer("latency_ms", low=0, high=MAX_LATENCY_MS),
        least_prefix=body.integer("least_prefix", low=0, high=MAX_REQUEST_BYTES),
        least_suffix=body.integer("least_suffix", low=0, high=MAX_REQUEST_BYTES),
        nearest_prefix=body.integer("nearest_prefix", low=0, high=MAX_REQUEST_BYTES),
        headers=body.ranges("headers"),
        keep=body.flag("keep"),
        laid_out=body.texts("laid_out"),
    )


def _method(body: Fields) -> Method:
    found = body.text("method")
    try:
        return check_method(found) if found else ""
    except ProtocolError as error:
        raise ProtocolError(f"{body.name}.{error}") from None
