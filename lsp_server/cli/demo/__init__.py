"""Implements `tabcast demo`: the whole product at work on a sample project, with the shipped pair or with real models.

A real language server starts a real engine in a runtime directory of its own; both are gone when it ends.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import tempfile
from pathlib import Path

from lsp_server.cli.demo import real, report, shipped
from lsp_server.cli.demo.outcome import Outcome, RealOutcome
from lsp_server.cli.errors import EXIT_FAILED, CommandError


def run(options: argparse.Namespace) -> int:
    """Run the demo and print it. Return 1 unless it went well."""
    folder = tempfile.TemporaryDirectory(prefix="tabcast-demo-", ignore_cleanup_errors=True)
    with folder as directory:
        # The language server and our own client find the engine through this variable.
        os.environ["TABCAST_RUNTIME_DIR"] = directory
        try:
            outcome = asyncio.run(_play(options, Path(directory)))
        except asyncio.CancelledError:
            raise CommandError("terminated", 128 + signal.SIGTERM) from None
    if options.svg:
        report.save_picture(outcome, options.svg)
    return 0 if outcome.is_good else EXIT_FAILED


async def _play(options: argparse.Namespace, directory: Path) -> Outcome | RealOutcome:
    return await (real.play if options.real else shipped.play)(options, directory)
