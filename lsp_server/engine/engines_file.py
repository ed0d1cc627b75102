"""Reads the engines that the user's own configuration file names besides the one that Tabcast starts itself.

    [engines]
    use = "team"

    [engines.team]
    kind = "vllm"
    url = "https://code.example.org/v1"
    model = "qwen2.5-coder-7b"
    api_key_env = "TEAM_KEY"

No workspace and no message of an editor can name one. It must not know HTTP, processes or settings.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from decoding.protocol import FIM_TEMPLATES, is_loopback

LOCAL: Final = "local"
KINDS: Final = ("tabcast", "vllm", "sglang", "llama.cpp", "ollama", "openai", "mistral")
# "server": the server lays out the prompt itself; "none": the text before the cursor is all that is sent.
FIM_FORMS: Final = ("auto", "server", "none", *FIM_TEMPLATES)
MAX_KEY_BYTES: Final = 4096
MAX_CONTEXT_TOKENS: Final = 10_000_000
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,40}")
_TEXTS: Final = ("kind", "url", "model", "api_key_env", "api_key_file", "ca_file", "fallback", "fim")
_KNOWN: Final = (*_TEXTS, "plain_http", "context_tokens", "hybrid")


class EngineFileError(ValueError):
    """An engine of the user's file can't be used; the text is one sentence for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteSpec:
    """One table `[engines.NAME]`. It names where the key is and never holds it.

    `kind` "" is found out. `fim` chooses the form of the prompt, `context_tokens` 0 is asked for. `plain_http` allows
    an address without TLS that isn't this machine's. With `hybrid` the engine on this machine writes a first text while
    the server is asked, and answers alone while it is away.
    """

    name: str
    url: str
    kind: str = ""
    model: str = ""
    api_key_env: str = ""
    api_key_file: str = ""
    ca_file: str = ""
    fallback: str = ""
    fim: str = "auto"
    plain_http: bool = False
    context_tokens: int = 0
    hybrid: bool = False

    @property
    def host(self) -> str:
        """The host to which text goes."""
        return urlsplit(self.url).hostname or ""

    @property
    def is_loopback(self) -> bool:
        """Return whether text stays on this machine."""
        return is_loopback(self.host)

    @property
    def root(self) -> str:
        """The URL below which a server's own routes are."""
        url = self.url.rstrip("/")
        return url.removesuffix("/v1")

    @property
    def api(self) -> str:
        """The URL below which the routes of the OpenAI protocol are; some services have them elsewhere than in /v1."""
        url = self.url.rstrip("/")
        return url if urlsplit(url).path.strip("/") else url + "/v1"

    def key(self, environ: Mapping[str, str] | None = None) -> str:
        """Read the key, "" where none is named. Raises `EngineFileError`."""
        if self.api_key_env:
            if not (key := (os.environ if environ is None else environ).get(self.api_key_env, "").strip()):
                raise EngineFileError(f"engine {self.name}: the variable {self.api_key_env}, its key, is not set")
        elif self.api_key_file:
            key = _read_key(self.name, Path(self.api_key_file).expanduser())
        else:
            return ""
        if not all("!" <= character <= "~" for character in key):
            raise EngineFileError(f"engine {self.name}: its key has characters that no key has; store it anew")
        return key


@dataclass(frozen=True, slots=True, kw_only=True)
class EnginesFile:
    """What the file says: the engines that can be used, why others can't, and which one is in use ("" is our own)."""

    engines: Mapping[str, RemoteSpec]
    problems: Mapping[str, str]
    use: str = ""

    def chosen(self) -> RemoteSpec | None:
        """Return the engine in use, None for our own. Raises `EngineFileError`."""
        return self.named(self.use) if self.use else None

    def named(self, name: str) -> RemoteSpec:
        """Return an engine by its name. Raises `EngineFileError`."""
        if name in self.engines:
            return self.engines[name]
        known = ", ".join([LOCAL, *self.engines])
        raise EngineFileError(self.problems.get(name) or f"config.toml has no engine {name!r} (known: {known})")


def read_engines(text: str) -> EnginesFile:
    """Read the tables of the file's text. An engine that can't be used is a problem, and no error."""
    try:
        table = tomllib.loads(text).get("engines", {})
    except tomllib.TOMLDecodeError as error:
        return EnginesFile(engines={}, problems={"": f"config.toml can't be read: {error}"})
    engines, problems = {}, {}
    for name, values in table.items() if isinstance(table, dict) else ():
        if name == "use":
            continue
        try:
            engines[name] = check_engine(name, values)
        except EngineFileError as error:
            problems[name] = str(error)
    use = table.get("use", "") if isinstance(table, dict) else ""
    return EnginesFile(engines=engines, problems=problems, use="" if use == LOCAL else str(use))


def check_engine(name: str, values: object) -> RemoteSpec:
    """Return the engine of one table. Raises `EngineFileError` with a sentence on what is wrong."""
    if not _NAME.fullmatch(name) or name in (LOCAL, "use"):
        raise EngineFileError(f"{name!r} can't be an engine's name: letters, digits, - and _; not 'local' or 'use'")
    if not isinstance(values, dict):
        raise EngineFileError(f"engine {name}: expected a table [engines.{name}]")
    if "api_key" in values:
        raise EngineFileError(
            f"engine {name}: no key may stand in config.toml; put it into a file of its own (api_key_file), or name"
            " the variable that holds it (api_key_env)"
        )
    for key, value in values.items():
        _check_value(name, key, value)
    spec = RemoteSpec(name=name, **{"url": "", **values})
    _check_url(spec)
    for key, value, allowed in (
        ("kind", spec.kind, ("", *KINDS)),
        ("fim", spec.fim, FIM_FORMS),
        ("fallback", spec.fallback, ("", LOCAL)),
    ):
        if value not in allowed:
            known = ", ".join(word for word in allowed if word)
            raise EngineFileError(f"engine {name}: {key} must be one of {known}, not {value!r}")
    if spec.api_key_env and spec.api_key_file:
        raise EngineFileError(f"engine {name}: name either api_key_env or api_key_file")
    return spec


def _check_value(name: str, key: str, value: Any) -> None:
    if key not in _KNOWN:
        raise EngineFileError(f"engine {name}: unknown setting {key!r} (known: {', '.join(_KNOWN)})")
    wanted = {"plain_http": bool, "context_tokens": int, "hybrid": bool}.get(key, str)
    is_out = isinstance(value, int) and not 0 <= value <= MAX_CONTEXT_TOKENS
    if type(value) is not wanted or is_out:
        raise EngineFileError(f"engine {name}: {key} can't be {value!r}")


def _check_url(spec: RemoteSpec) -> None:
    try:
        url = urlsplit(spec.url)
        is_whole = url.scheme in ("http", "https") and bool(url.hostname) and (url.port or 1) > 0
    except ValueError:
        is_whole = False
    if not is_whole:
        raise EngineFileError(f"engine {spec.name}: url must be like https://code.example.org/v1")
    if url.username or url.password or url.query or url.fragment:
        raise EngineFileError(f"engine {spec.name}: url may hold no user, password, query or fragment")
    if url.scheme == "http" and not spec.is_loopback and not spec.plain_http:
        raise EngineFileError(
            f"engine {spec.name}: http:// would send your code in the clear; use https://, or say plain_http = true for"
            f" {spec.host}"
        )


def _read_key(name: str, path: Path) -> str:
    """Read a key that nobody else could have read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except OSError as error:
        raise EngineFileError(f"engine {name}: its key file {path} can't be read ({error.strerror})") from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise EngineFileError(f"engine {name}: its key file {path} is no plain file")
        if hasattr(os, "getuid") and found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise EngineFileError(f"engine {name}: others may read {path}: 'chmod 600 {path}' keeps them out")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            key = file.read(MAX_KEY_BYTES).strip()
    finally:
        os.close(descriptor)
    if not key:
        raise EngineFileError(f"engine {name}: its key file {path} is empty")
    return key.decode("utf-8", "replace")
