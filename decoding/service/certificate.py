"""Reads the certificate of a team's engine, and takes a renewed one while it runs. Knows no socket."""

from __future__ import annotations

import logging
import os
import ssl
import stat
from contextlib import suppress
from pathlib import Path

from decoding.errors import ConfigError

log = logging.getLogger(__name__)


class Certificate:
    """A certificate with its key; a renewed one is taken without a restart."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Read both. Raises `ConfigError`."""
        self._files = (certificate, key)
        self._seen = self._look()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_alpn_protocols(["http/1.1"])
        _load(self.context, certificate, key)

    @classmethod
    def of(cls, certificate: Path | None, key: Path | None) -> Certificate | None:
        """Return one of these files, None where none is named. Raises `ConfigError`."""
        if certificate is None and key is None:
            return None
        if certificate is None or key is None:
            raise ConfigError("TLS takes both --certificate and --key")
        return cls(certificate, key)

    def look(self, _idle_s: float) -> None:
        """Take a certificate that was renewed."""
        if (seen := self._look()) == self._seen:
            return
        self._seen = seen
        try:
            # Into another context first: two files that don't belong together must not replace what serves.
            _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), *self._files)
            _load(self.context, *self._files)
        except ConfigError as error:
            log.error("the old certificate stays: %s", error)
        else:
            log.info("the certificate was renewed")

    def _look(self) -> tuple[int, ...]:
        with suppress(OSError):
            return tuple(path.stat().st_mtime_ns for path in self._files)
        return ()


def _load(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    for path, what in ((certificate, "certificate"), (key, "certificate's key")):
        try:
            found = path.stat()
            path.open("rb").close()
        except OSError as error:
            raise ConfigError(f"the {what} {path} can't be read ({error.strerror})") from None
        if path == key and os.name == "posix" and found.st_mode & (stat.S_IRWXO | stat.S_IWGRP):
            raise ConfigError(f"others may read {path}: 'chmod 600 {path}' keeps them out")
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except _Encrypted:
        raise ConfigError(f"the key {key} is encrypted: give one that opens without a password") from None
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "reason", "") or ""
        fit = "don't belong together" if "MISMATCH" in reason else "are no PEM files of a certificate and its key"
        raise ConfigError(f"{certificate} and {key} {fit}") from None


class _Encrypted(Exception):  # noqa: N818 - it is what was found
    """A key asks for a password."""


def _no_password() -> str:
    raise _Encrypted
