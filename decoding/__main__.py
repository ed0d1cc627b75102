"""`python -P -m decoding serve|doctor|models|…`: starts the engine's command line; people use `tabcast`.

It imports nothing at its head, so that Ctrl-C ends it in one line also while libraries are being imported.
"""

from __future__ import annotations

import sys


def main(arguments: list[str] | None = None) -> int:
    """Run a subcommand; return its exit code."""
    try:
        from decoding.command_line import run  # noqa: PLC0415 - see above

        return run(arguments)
    except KeyboardInterrupt:
        print("tabcast: interrupted", file=sys.stderr)  # noqa: T201
        return 130


if __name__ == "__main__":
    sys.exit(main())
