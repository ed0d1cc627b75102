"""`tabcast lsp`: hands over to the language server. Imports nothing else, because the editor waits."""

from __future__ import annotations

import argparse
import errno
import json

from decoding.protocol import EXIT_PORT_IN_USE
from lsp_server.cli.errors import CommandError
from lsp_server.cli.parser import engine_arguments
from lsp_server.server import own_engine, run_stdio, run_tcp
from lsp_server.settings import schema


def run(options: argparse.Namespace) -> int:
    """Serve one editor until it ends, or print the schema of its settings."""
    if options.settings_schema:
        print(json.dumps(schema(), indent=2))
        return 0
    client = own_engine(engine_arguments(options))
    if options.tcp is None:
        run_stdio(client)
        return 0
    host, port = options.tcp
    try:
        run_tcp(host, port, client)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CommandError(f"port {port} is in use", EXIT_PORT_IN_USE) from None
        raise CommandError(f"can't listen on {host}:{port}: {error.strerror}") from None
    return 0
