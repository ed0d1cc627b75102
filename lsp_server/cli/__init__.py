"""The `tabcast` command: reads the command line and hands over to one module for each subcommand.

It imports no subcommand before it is asked for, so that `tabcast lsp` pays for nothing else.
It must not know what a subcommand does.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from decoding.protocol import EXIT_INTERRUPTED
from lsp_server.cli.errors import CommandError
from lsp_server.cli.parser import ENGINE_SIDE, TEAM_ACTIONS, build_parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return the exit code. The entry point of the `tabcast` script."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if arguments[:1] == ["engine"] and arguments[1:2] and arguments[1] in TEAM_ACTIONS:
            arguments[:2] = [TEAM_ACTIONS[arguments[1]][0]]
        if arguments and arguments[0] in (*ENGINE_SIDE, *(name for name, _ in TEAM_ACTIONS.values())):
            engine_side = importlib.import_module("lsp_server.cli.engine_side")
            code: int = engine_side.run(arguments)
        else:
            options = build_parser().parse_args(arguments)
            code = importlib.import_module(f"lsp_server.cli.{options.module}").run(options)
    except CommandError as error:
        print(f"tabcast: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("tabcast: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our output, `head` say, has seen enough
        sys.stderr.close()
        return 0
    return code
