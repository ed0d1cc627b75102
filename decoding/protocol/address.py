"""Says where an engine is to be found, and how it proves its identity: files, directories, a shared secret."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from decoding.protocol.answers import Health
from decoding.protocol.constants import ADDRESS_FILE, MIN_TOKEN_CHARS, PROTOCOL_VERSION, VERSION
from decoding.protocol.fields import Fields
from decoding.protocol.private_files import ADVICE, read_private, write_private

MAX_ADDRESS_BYTES: Final = 65536


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
        """The base URL of an OpenAI client (`base_url`), without the `/v1`."""
        return f"http://{self.host}:{self.port}"

    def __post_init__(self) -> None:
        """Refuse a token that could be guessed, or that is empty because its file was cut short."""
        if not is_token(self.token):
            raise ValueError(f"a token has at least {MIN_TOKEN_CHARS} characters of ASCII that a header may hold")

    def write(self, directory: Path) -> None:
        """Write the file so that a reader sees all of it or nothing, and only this user can read it."""
        write_private(directory / ADDRESS_FILE, json.dumps(asdict(self)).encode())

    @classmethod
    def read(cls, directory: Path) -> Address | None:
        """Return the address of this directory's engine, or None where there is none that can be read and trusted."""
        try:
            return cls._read(directory)
        except (OSError, ValueError, RecursionError):
            return None

    @classmethod
    def problem(cls, directory: Path) -> str:
        """Return a sentence on why a written address can't be used; "" if it can, or if none was written."""
        try:
            cls._read(directory)
        except FileNotFoundError:
            return ""
        except PermissionError as error:
            return str(error) if error.errno is None else f"{directory / ADDRESS_FILE} can't be read; {ADVICE}"
        except (OSError, ValueError, RecursionError):
            return f"{directory / ADDRESS_FILE} is damaged; {ADVICE}"
        return ""

    @classmethod
    def _read(cls, directory: Path) -> Address:
        body = Fields(json.loads(read_private(directory / ADDRESS_FILE, MAX_ADDRESS_BYTES)), ADDRESS_FILE)
        return cls(
            port=body.integer("port", low=1, high=65535),
            token=body.text("token", required=True),
            pid=body.integer("pid"),
            version=body.text("version"),
            protocol=body.integer("protocol"),
        )


def is_token(text: str) -> bool:
    """Whether a text can be a token; a file that a crash left full of zeros holds none."""
    return len(text) >= MIN_TOKEN_CHARS and all("!" <= character <= "~" for character in text)


def prove(token: str, nonce: str, port: int) -> str:
    """Return the answer to `nonce` of an engine that knows `token`; the port is in it so that nobody can relay it."""
    return hmac.new(token.encode(), f"tabcast engine {port} {nonce}".encode(), hashlib.sha256).hexdigest()


def is_proven(address: Address, nonce: str, health: Health) -> bool:
    """Return whether the other side of a connection is the engine that wrote the address file."""
    return hmac.compare_digest(prove(address.token, nonce, address.port).encode(), health.proof.encode())


def engine_directory(engine_arguments: Iterable[str], environ: Mapping[str, str], user_config: str = "") -> Path:
    """Return the runtime directory of the engine with this configuration; equal configurations share one engine.

    The name hashes protocol, version, interpreter, arguments, `TABCAST_*` variables and the user's configuration file,
    so that an upgrade or another model never talks to an engine that was started for something else.
    """
    variables = sorted(
        (key, value)
        for key, value in environ.items()
        if key.startswith("TABCAST_") and key not in ("TABCAST_RUNTIME_DIR", "TABCAST_LOG")
    )
    # `sys.prefix` and not the executable: `python` and `python3` of one environment are one interpreter.
    identity = [PROTOCOL_VERSION, VERSION, sys.prefix, list(engine_arguments), variables, user_config]
    digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:12]
    return runtime_base(environ) / digest


def runtime_base(environ: Mapping[str, str]) -> Path:
    """Return the folder that holds the runtime directories of this user's engines."""
    if chosen := environ.get("TABCAST_RUNTIME_DIR"):
        return Path(chosen)
    if session := environ.get("XDG_RUNTIME_DIR"):
        return Path(session) / "tabcast"
    user = str(os.getuid()) if hasattr(os, "getuid") else "user"
    return Path(tempfile.gettempdir()) / f"tabcast-{user}"


def user_config_path(environ: Mapping[str, str]) -> Path:
    """Return the path of the user's configuration file, which need not exist; `TABCAST_CONFIG` names another place."""
    if named := environ.get("TABCAST_CONFIG"):
        return Path(named)
    try:
        import platformdirs  # noqa: PLC0415 - absent on some GPU machines, and slow for a server that is starting
    except ImportError:
        return Path.home() / ".config" / "tabcast" / "config.toml"
    return platformdirs.user_config_path("tabcast") / "config.toml"


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine by its name or address alone; no name is looked up."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
