"""Keeps the keys of a team's engine: who has one, and what each may use. Of a key itself it keeps a hash alone.

A key is a long random word, so that a plain hash of it tells nobody what it is. It must not know HTTP.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from filelock import FileLock

from decoding.errors import ConfigError
from decoding.protocol import ProtocolError, write_private
from decoding.protocol.fields import Fields

COMPLETIONS: Final = "completions"
METRICS: Final = "metrics"
RIGHTS: Final = (COMPLETIONS, METRICS)
MAX_FILE_BYTES: Final = 4 << 20
MAX_LIMIT: Final = 10**9
_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._@-]{0,62}[A-Za-z0-9])?")
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_BEGINNING: Final = "tabcast-"


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamKey:
    """One person's key, by its hash. A limit that is None is the engine's own, and 0 is none.

    `right` "metrics" opens the engine's figures, and nothing else.
    """

    name: str
    sha256: str
    created: str = ""
    right: str = COMPLETIONS
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent: int | None = None


def hash_of(key: str) -> str:
    """Return the hash by which a key is kept."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def find_key(keys: Iterable[TeamKey], given: str) -> TeamKey | None:
    """Return whose key this is, in a time that doesn't depend on which."""
    wanted, found = hash_of(given), None
    for key in keys:
        if hmac.compare_digest(key.sha256, wanted):
            found = key
    return found


def read_keys(path: Path) -> tuple[TeamKey, ...]:
    """Return the keys of a file that nobody else can read or write. Raises `ConfigError`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError:
        raise ConfigError(f"there is no keys file {path}: 'tabcast engine key new NAME' makes a key") from None
    except OSError as error:
        raise ConfigError(f"the keys file {path} can't be read ({error.strerror})") from None
    try:
        _check_mode(path, os.fstat(descriptor))
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(MAX_FILE_BYTES + 1)
    finally:
        os.close(descriptor)
    try:
        if len(content) > MAX_FILE_BYTES:
            raise ValueError("too long")
        listed = Fields(json.loads(content), "keys file").value.get("keys")
        if not isinstance(listed, list):
            raise ProtocolError("keys: expected a list")
        keys = tuple(_read(entry) for entry in listed)
    except ProtocolError as error:
        raise ConfigError(f"the keys file {path}: {error}") from None
    except (ValueError, RecursionError):
        raise ConfigError(f"the keys file {path} is damaged: it is no JSON that 'tabcast engine key' wrote") from None
    if len({key.name for key in keys}) < len(keys):
        raise ConfigError(f"the keys file {path} has two keys of one name")
    return keys


def new_key(path: Path, name: str, **fields: Any) -> str:
    """Make a key for somebody and return it; it can't be read anywhere later. Raises `ConfigError`."""
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r} can't be a name: 1 to 64 letters, digits and . _ @ - between them")
    key = _BEGINNING + secrets.token_urlsafe(32)
    with _changing(path) as keys:
        if any(known.name == name for known in keys):
            raise ConfigError(f"{name} has a key already: 'tabcast engine key revoke {name}' takes it away")
        created = datetime.now(UTC).strftime("%Y-%m-%d")
        keys.append(TeamKey(name=name, sha256=hash_of(key), created=created, **fields))
    return key


def revoke_key(path: Path, name: str) -> None:
    """Take somebody's key away. Raises `ConfigError`."""
    read_keys(path)  # so that a file that isn't there is told
    with _changing(path) as keys:
        left = [key for key in keys if key.name != name]
        if len(left) == len(keys):
            raise ConfigError(f"nobody of the name {name} has a key in {path}")
        keys[:] = left


@contextmanager
def _changing(path: Path) -> Iterator[list[TeamKey]]:
    """Yield the keys to be changed, and write them; two commands at a time wait for each other."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with FileLock(path.with_name(path.name + ".lock")):
            keys = list(read_keys(path)) if path.exists() else []
            yield keys
            entries = [{name: value for name, value in asdict(key).items() if value is not None} for key in keys]
            write_private(path.resolve(), (json.dumps({"keys": entries}, indent=1) + "\n").encode(), is_kept=True)
    except OSError as error:
        raise ConfigError(f"the keys file {path} can't be written ({error.strerror or error})") from None


def _check_mode(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError(f"the keys file {path} is no plain file")
    if not hasattr(os, "getuid"):
        return
    if found.st_uid not in (0, os.getuid()):
        raise ConfigError(f"the keys file {path} belongs to another user, who could let anybody in")
    if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"others may read {path}: 'chmod 600 {path}' keeps them out")


def _read(value: object) -> TeamKey:
    body = Fields(value, "a key")
    limits = {
        name: body.optional_integer(name, low=0, high=MAX_LIMIT)
        for name in ("requests_per_minute", "tokens_per_minute", "concurrent")
    }
    key = TeamKey(
        name=body.text("name", required=True),
        sha256=body.text("sha256", required=True),
        created=body.text("created"),
        right=body.one_of("right", RIGHTS, COMPLETIONS),
        **limits,
    )
    if not _NAME.fullmatch(key.name):
        raise ProtocolError("name: expected letters, digits and . _ @ -")
    if not _HASH.fullmatch(key.sha256):
        raise ProtocolError(f"sha256 of {key.name}: expected the hash that 'tabcast engine key new' wrote")
    return key
