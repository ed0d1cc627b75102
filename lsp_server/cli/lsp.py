"""Implements `tabcast lsp`: runs the language server. Imports nothing else, because the editor waits."""

from __future__ import annotations

import argparse
import errno
import json
from typing import Final

from decoding.protocol import EXIT_PORT_IN_USE, EXIT_USAGE
from lsp_server.cli.errors import CommandError
from lsp_server.cli.parser import engine_arguments
from lsp_server.server import own_engine, run_stdio, run_tcp
from lsp_server.settings import schema

NOT_SERVED: Final = ("node_ipc", "socket", "pipe")


def run(options: argparse.Namespace) -> int:
    """Serve one editor until it ends, or print the schema of its settings."""
    if options.settings_schema:
        print(json.dumps(schema(), indent=2))
        return 0
    for name in NOT_SERVED:
        if getattr(options, name):
            raise CommandError(
                f"--{name.replace('_', '-')} is not supported: use --stdio, or --tcp HOST:PORT, which listens there",
                EXIT_USAGE,
            )
    client = own_engine(engine_arguments(options))
    if options.tcp is None:
        run_stdio(client, options.client_process_id)
        return 0
    host, port = options.tcp
    try:
        run_tcp(host, port, client, options.client_process_id)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CommandError(f"port {port} is in use", EXIT_PORT_IN_USE) from None
        raise CommandError(f"can't listen on {host}:{port}: {error.strerror}") from None
    return 0
