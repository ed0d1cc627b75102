"""Defines names and numbers that both sides of the boundary must agree on."""

from __future__ import annotations

from typing import Final, Literal

VERSION: Final = "0.1.0"
PROTOCOL_VERSION: Final = 1

ADDRESS_FILE: Final = "engine.json"
START_LOCK_FILE: Final = "start.lock"
ENGINE_LOCK_FILE: Final = "engine.lock"
LOG_FILE: Final = "engine.log"

MIN_TOKEN_CHARS: Final = 32
MAX_REQUEST_BYTES: Final = 16 * 1024 * 1024
MAX_NEW_TOKENS: Final = 4096
MAX_CHOICES: Final = 16
MAX_LOGPROBS: Final = 5

EXIT_USAGE: Final = 2
EXIT_ALREADY_RUNNING: Final = 3
EXIT_PORT_IN_USE: Final = 4
EXIT_MODEL: Final = 5
EXIT_INTERRUPTED: Final = 130  # as of a program that signal 2 has ended

LineMode = Literal["line", "block", "free"]
Priority = Literal["normal", "idle"]
Prepare = Literal["", "place", "trunk"]
Status = Literal["absent", "loading", "ready", "failed"]

LINE_MODES: Final[tuple[LineMode, ...]] = ("line", "block", "free")
PRIORITIES: Final[tuple[Priority, ...]] = ("normal", "idle")
PREPARES: Final[tuple[Prepare, ...]] = ("", "place", "trunk")
MAX_LATENCY_MS: Final = 600_000
