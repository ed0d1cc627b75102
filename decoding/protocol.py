"""The boundary between a front end and the engine: what is said over HTTP, and how to find the other side.

Standard library only, because this is the one module of `decoding` that `lsp_server` may import.
It knows no tensor, no tokenizer, no socket: values, their JSON form, and the names of files and headers.

The engine speaks the OpenAI completions protocol; what that protocol lacks travels in one optional
object named `tabcast` (see `CompletionOptions` for the request and `CompletionStats` for the answer).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, cast

VERSION: Final = "0.1.0"
PROTOCOL_VERSION: Final = 1

ADDRESS_FILE: Final = "engine.json"
START_LOCK_FILE: Final = "start.lock"
ENGINE_LOCK_FILE: Final = "engine.lock"
LOG_FILE: Final = "engine.log"

MAX_REQUEST_BYTES: Final = 16 * 1024 * 1024
MAX_NEW_TOKENS: Final = 4096
MAX_CHOICES: Final = 16

EXIT_USAGE: Final = 2
EXIT_ALREADY_RUNNING: Final = 3
EXIT_PORT_IN_USE: Final = 4
EXIT_MODEL: Final = 5

LineMode = Literal["line", "block", "free"]
Method = Literal["auto", "plain", "lookup", "draft"]
Status = Literal["absent", "loading", "ready", "failed"]

LINE_MODES: Final[tuple[LineMode, ...]] = ("line", "block", "free")
METHODS: Final[tuple[Method, ...]] = ("auto", "plain", "lookup", "draft")


class ProtocolError(ValueError):
    """A message that does not follow the protocol; the text names the field and what was expected."""


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
    """

    path: str = ""
    language: str = ""
    repo: str = ""
    context: tuple[ContextFile, ...] = ()
    session: str = ""
    draft_texts: tuple[str, ...] = ()
    line_mode: LineMode = "free"
    method: Method = "auto"


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
        body = _Fields(value, "the request")
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
        body = _Fields(value, "tabcast")
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
                    drafted=_Fields(counts, name).integer("drafted"), accepted=_Fields(counts, name).integer("accepted")
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
        body = _Fields(value, "health")
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where an engine listens and the token that opens it: the content of `engine.json`, mode 0600."""

    port: int
    token: str
    pid: int
    host: str = "127.0.0.1"
    version: str = VERSION
    protocol: int = PROTOCOL_VERSION

    @property
    def url(self) -> str:
        """The address that an OpenAI client calls `base_url`, less the `/v1`."""
        return f"http://{self.host}:{self.port}"

    def write(self, directory: Path) -> None:
        """Write the file so that a reader sees all of it or nothing, and only this user can read it."""
        final = directory / ADDRESS_FILE
        partial = final.with_suffix(f".{os.getpid()}")
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(self), file)
        partial.replace(final)

    @classmethod
    def read(cls, directory: Path) -> Address | None:
        """The address of the engine of this directory, or None where none was written or it can't be read."""
        try:
            body = _Fields(json.loads((directory / ADDRESS_FILE).read_text(encoding="utf-8")), ADDRESS_FILE)
            return cls(
                port=body.integer("port", low=1, high=65535),
                token=body.text("token", required=True),
                pid=body.integer("pid"),
                version=body.text("version"),
                protocol=body.integer("protocol"),
            )
        except (OSError, ValueError):
            return None


def prove(token: str, nonce: str, port: int) -> str:
    """What an engine that knows `token` answers to `nonce`; the port is in it so that nobody can relay it."""
    return hmac.new(token.encode(), f"tabcast engine {port} {nonce}".encode(), hashlib.sha256).hexdigest()


def is_proven(address: Address, nonce: str, health: Health) -> bool:
    """Whether the other side of a connection is the engine that wrote the address file."""
    return hmac.compare_digest(prove(address.token, nonce, address.port).encode(), health.proof.encode())


def engine_directory(engine_arguments: Iterable[str], environ: Mapping[str, str], user_config: str = "") -> Path:
    """The runtime directory of the engine with this configuration; equal configurations share one engine.

    The name hashes protocol, version, interpreter, arguments, `TABCAST_*` variables and the user's configuration file,
    so that an upgrade or another model never talks to an engine that was started for something else.
    """
    variables = sorted(
        (key, value)
        for key, value in environ.items()
        if key.startswith("TABCAST_") and key not in ("TABCAST_RUNTIME_DIR", "TABCAST_LOG")
    )
    # The environment and not the executable: `python` and `python3` of one environment are the same interpreter.
    identity = [PROTOCOL_VERSION, VERSION, sys.prefix, list(engine_arguments), variables, user_config]
    digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:12]
    return runtime_base(environ) / digest


def runtime_base(environ: Mapping[str, str]) -> Path:
    """The folder that holds the runtime directories of this user's engines."""
    if chosen := environ.get("TABCAST_RUNTIME_DIR"):
        return Path(chosen)
    if session := environ.get("XDG_RUNTIME_DIR"):
        return Path(session) / "tabcast"
    user = str(os.getuid()) if hasattr(os, "getuid") else "user"
    return Path(tempfile.gettempdir()) / f"tabcast-{user}"


def make_private(directory: Path) -> None:
    """Create a runtime directory that only this user can enter.

    Raises `PermissionError` if it, or the folder above it, belongs to someone else.
    """
    for folder in (directory.parent, directory):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
            raise PermissionError(f"{folder} belongs to another user")
    directory.chmod(0o700)


def _options_from_json(value: object) -> CompletionOptions:
    body = _Fields(value, "tabcast")
    line_mode, method = body.text("line_mode") or "free", body.text("method") or "auto"
    if line_mode not in LINE_MODES:
        raise ProtocolError(f"tabcast.line_mode: expected one of {', '.join(LINE_MODES)}, got {line_mode!r}")
    if method not in METHODS:
        raise ProtocolError(f"tabcast.method: expected one of {', '.join(METHODS)}, got {method!r}")
    files = body.value.get("context") or []
    if not isinstance(files, list | tuple):
        raise ProtocolError("tabcast.context: expected a list")
    parsed = [_Fields(file, f"tabcast.context[{i}]") for i, file in enumerate(files)]
    return CompletionOptions(
        path=body.text("path"),
        language=body.text("language"),
        repo=body.text("repo"),
        context=tuple(ContextFile(path=f.text("path"), text=f.text("text", required=True)) for f in parsed),
        session=body.text("session"),
        draft_texts=body.texts("draft_texts"),
        line_mode=line_mode,
        method=method,
    )


class _Fields:
    """A JSON object that is read field by field, with errors that name the field."""

    def __init__(self, value: object, name: str) -> None:
        if not isinstance(value, dict):
            raise ProtocolError(f"{name}: expected an object, got {type(value).__name__}")
        self.value: dict[str, Any] = value
        self.name = name

    def text(self, key: str, *, required: bool = False) -> str:
        found = self.value.get(key)
        if found is None and not required:
            return ""
        if not isinstance(found, str):
            raise ProtocolError(f"{self.name}.{key}: expected a string, got {_kind(found)}")
        return found

    def texts(self, key: str) -> tuple[str, ...]:
        found = self.value.get(key)
        if found is None:
            return ()
        if not isinstance(found, list | tuple) or not all(isinstance(item, str) for item in found):
            raise ProtocolError(f"{self.name}.{key}: expected a list of strings")
        return tuple(found)

    def flag(self, key: str) -> bool:
        found = self.value.get(key)
        if not isinstance(found, bool | None):
            raise ProtocolError(f"{self.name}.{key}: expected true or false, got {_kind(found)}")
        return bool(found)

    def integer(self, key: str, *, default: int = 0, low: int = 0, high: int = 2**53) -> int:
        found = self.value.get(key)
        if found is None:
            return default
        if not isinstance(found, int) or isinstance(found, bool):
            raise ProtocolError(f"{self.name}.{key}: expected an integer, got {_kind(found)}")
        if not low <= found <= high:
            raise ProtocolError(f"{self.name}.{key}: expected {low} to {high}, got {found}")
        return found

    def number(self, key: str, *, default: float = 0.0, low: float = 0.0, high: float = float("inf")) -> float:
        found = self.value.get(key)
        if found is None:
            return default
        if not isinstance(found, int | float) or isinstance(found, bool):
            raise ProtocolError(f"{self.name}.{key}: expected a number, got {_kind(found)}")
        if not low <= found <= high:
            raise ProtocolError(f"{self.name}.{key}: expected {low} to {high}, got {found}")
        return float(found)


def _kind(value: object) -> str:
    return "nothing" if value is None else type(value).__name__
