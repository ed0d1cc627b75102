"""Defines the engine's command line, which `python -P -m decoding` runs, and hands over to each subcommand."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from pathlib import Path
from typing import Final

from decoding import config as configuration
from decoding.cli import models as model_commands
from decoding.cli import team, uninstall
from decoding.cli.setup import command as setup_command
from decoding.errors import AlreadyRunning, Interrupted, ModelError, TabcastError
from decoding.models.listed import resolved
from decoding.protocol import (
    EXIT_ALREADY_RUNNING,
    EXIT_INTERRUPTED,
    EXIT_MODEL,
    EXIT_PORT_IN_USE,
    EXIT_USAGE,
    VERSION,
)
from decoding.small_torch import find_small_torch, require_torch

log = logging.getLogger(__name__)

EXIT_CODES: Final = {Interrupted: EXIT_INTERRUPTED, ModelError: EXIT_MODEL}


def run(arguments: list[str] | None = None) -> int:
    """Run a subcommand; return its exit code. `KeyboardInterrupt` comes through."""
    arguments = sys.argv[1:] if arguments is None else arguments
    find_small_torch()
    logging.basicConfig(
        level=os.environ.get("TABCAST_LOG", "INFO").upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("torch").setLevel(logging.WARNING)  # at the end it tells of its caches
    try:
        return _run(_parser(arguments[0] if arguments else "").parse_args(arguments))
    except BrokenPipeError:  # the reader of our output, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (TabcastError, OSError) as error:
        return _tell(error)
    return 0


def _tell(error: TabcastError | OSError) -> int:
    """Tell what went wrong in one line, and return the exit code. An `OSError` is of a disk that is full or closed."""
    text = str(error)
    if isinstance(error, OSError):
        log.debug("a file can't be used", exc_info=True)
        text = f"{f'{error.filename}: ' if error.filename else ''}{error.strerror or error}"
    print(f"tabcast: {text}", file=sys.stderr)  # noqa: T201
    return next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), EXIT_USAGE)


def _run(options: argparse.Namespace) -> int:
    if options.command == "train":
        options.run(options)
        return 0
    if options.command == team.KEY:
        return team.keys(options)
    if options.command == "uninstall":
        return uninstall.run(options)
    overrides = {name: getattr(options, name, None) for name in configuration.EngineConfig.__slots__}
    if options.command == "setup":  # undoes also what can't be read any more, and so reads it later
        return setup_command.run(options, lambda: resolved(configuration.load(overrides)))
    return _run_with(resolved(configuration.load(overrides)), options)


def _run_with(config: configuration.EngineConfig, options: argparse.Namespace) -> int:
    if options.command in ("serve", team.SERVE):
        return _serve(config, options)
    if options.command == "bench":
        from decoding.bench import commands as bench  # noqa: PLC0415 - brings torch and transformers

        return bench.run(options, config)
    if options.command == "models":
        return model_commands.run(options, config)
    from decoding.cli import inspect_models  # noqa: PLC0415 - brings torch

    report = inspect_models.doctor(config)
    print(json.dumps(report, indent=1) if options.json else inspect_models.as_text(report))  # noqa: T201
    return 0 if all(row.get("ok", True) for row in report) else 1


def _serve(config: configuration.EngineConfig, options: argparse.Namespace) -> int:
    from decoding.service import lifecycle  # noqa: PLC0415 - brings aiohttp

    try:
        if options.command == team.SERVE:
            return team.serve(options, config)
        return lifecycle.serve(config, options.runtime_dir, options.port)
    except lifecycle.PortInUse as error:
        print(f"tabcast: {error}", file=sys.stderr)  # noqa: T201
        return EXIT_PORT_IN_USE
    except AlreadyRunning as error:
        print(f"tabcast: {error}", file=sys.stderr)  # noqa: T201
        return EXIT_ALREADY_RUNNING
    except PermissionError as error:
        print(f"tabcast: {error}", file=sys.stderr)  # noqa: T201
        return EXIT_USAGE


def _parser(named: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tabcast", description="The engine's side of tabcast.")
    parser.add_argument("--version", action="version", version=VERSION)
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="run an engine")
    serve.add_argument("--runtime-dir", type=Path, required=True, help="where its address file, lock and log lie")
    serve.add_argument("--port", type=int, default=0, help="0, the default, is any free port")
    serve.add_argument("--idle-minutes", type=float, help="exit after that long without a request")
    serve.add_argument("--threads", type=int, help="threads of the CPU")
    serve.add_argument("--cache-mb", type=int, help="memory for all sessions' caches; 0 is a share of the machine's")
    serve.add_argument("--context-tokens", type=int, help="bound of prompt and answer together")
    serve_team = team.add_parsers(commands)
    doctor = commands.add_parser("doctor", help="check torch, device, models and row invariance")
    models = model_commands.add_parser(commands)
    setup_command.add_parser(commands)
    uninstall.add_parser(commands)
    if named in ("bench", "train"):
        require_torch(f"tabcast {named}")
    if named == "bench":
        from decoding.bench import commands as bench  # noqa: PLC0415 - brings torch and transformers

        suites = bench.add_parsers(commands)
    else:
        commands.add_parser("bench", help="measure quality, speed and losslessness")
        suites = []
    for command in (serve, serve_team, doctor, *models, *suites):
        default = argparse.SUPPRESS if command in models[1:] else None
        command.add_argument(
            "--model",
            help="the target model: a name that 'tabcast models' lists, a folder or a GGUF file",
            default=default,
        )
        command.add_argument("--draft", help="the draft model, or none", default=default)
        command.add_argument("--parallel", help="folder of a draft of several tokens at once, or none", default=default)
        command.add_argument("--heads", help="folder of heads on the target, or none", default=default)
        command.add_argument("--device", help="auto, cpu, cuda, cuda:1, …", default=default)
        command.add_argument("--devices", help="spread the target over cuda:0,cuda:1,… or all", default=default)
        command.add_argument("--dtype", help="auto, float32, bfloat16, float16", default=default)
        command.add_argument("--quantize", help="round weights: auto, none, int8, int4 or fp8", default=default)
        command.add_argument("--draft-quantize", help="the same of the draft's", default=default)
    doctor.add_argument("--json", action="store_true", help="print JSON")
    if named == "train":
        from decoding.training import commands as training  # noqa: PLC0415 - brings torch and transformers

        training.add_parsers(commands)
    else:
        commands.add_parser("train", help="make a small model and its draft")
    return parser
