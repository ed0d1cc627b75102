"""Defines the failure of a subcommand: one line for people and an exit code for scripts.

The engine's own exit codes (2 to 5, and 130) stand in `decoding.protocol` and mean the same here.
"""

from __future__ import annotations

from typing import Final

EXIT_FAILED: Final = 1


class CommandError(Exception):
    """A user's mistake or an expected failure; never shown with a traceback."""

    def __init__(self, message: str, exit_code: int = EXIT_FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code
