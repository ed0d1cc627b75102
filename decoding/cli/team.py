"""Implements `tabcast engine serve` and `tabcast engine key`: an engine for a team, and who may use it."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Final

from decoding.config import EngineConfig
from decoding.protocol import user_config_path
from decoding.service.limits import DEFAULT_LIMITS, Limits
from decoding.storage.team_keys import COMPLETIONS, MAX_LIMIT, METRICS, new_key, read_keys, revoke_key

SERVE: Final = "team-serve"
KEY: Final = "team-key"
DEFAULT_PORT: Final = 8765

SERVE_EPILOG: Final = """\
examples:
  tabcast engine key new anna > anna.key       # once for each person; the key is shown this once
  tabcast engine serve --host 0.0.0.0 --certificate team.pem --key team.key --model qwen2.5-coder-7b
  tabcast engine serve --host 0.0.0.0 --behind-proxy        # where nginx or Caddy speaks TLS

SIGTERM lets it finish its answers; a second one ends it at once.
"""


def add_parsers(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add both commands, and return the parser of `serve`, which takes the engine's options, too."""
    serve = commands.add_parser(
        SERVE,
        prog="tabcast engine serve",
        help="serve a team",
        description="Serve a team: people with keys, over TLS.",
        epilog=SERVE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    serve.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="where to listen (default: %(default)s)")
    serve.add_argument("--port", type=_port, default=DEFAULT_PORT, metavar="N", help="(default: %(default)s)")
    serve.add_argument("--certificate", type=Path, metavar="FILE", help="its certificate and the authorities', in PEM")
    serve.add_argument("--key", type=Path, metavar="FILE", help="the certificate's key, in PEM")
    serve.add_argument("--behind-proxy", action="store_true", help="speak plain HTTP to a proxy that speaks TLS")
    serve.add_argument("--threads", type=int, metavar="N", help="threads of the CPU")
    serve.add_argument("--sessions", type=int, metavar="N", help="requests that take turns, and caches that are kept")
    serve.add_argument("--cache-mb", type=int, metavar="N", help="memory for all caches; 0 is a share of the machine's")
    serve.add_argument("--context-tokens", type=int, metavar="N", help="bound of prompt and answer together")
    _add_keys(serve)
    _add_limits(serve, "for a key that has no limit of its own (default: %s); 0 is none", asdict(DEFAULT_LIMITS))
    _add_key(commands)
    return serve


def _add_key(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    key = commands.add_parser(
        KEY, prog="tabcast engine key", help="make, list and revoke a team's keys", description="Say who may use it."
    )
    actions = key.add_subparsers(dest="action", metavar="ACTION", required=True)
    new = actions.add_parser("new", help="make somebody's key, and show it this once")
    new.add_argument("name", metavar="NAME", help="whose it is: in the log and the figures")
    new.add_argument("--metrics", action="store_true", help="it opens /metrics, and nothing else")
    _add_limits(new, "of this key; 0 is none (default: as the engine has it)", {})
    revoke = actions.add_parser("revoke", help="take somebody's key away, at once")
    revoke.add_argument("name", metavar="NAME")
    listed = actions.add_parser("list", help="list who has a key")
    listed.add_argument("--json", action="store_true", help="print JSON")
    for action in (new, revoke, listed):
        _add_keys(action)


def _add_keys(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--keys", type=Path, metavar="FILE", help="the keys' file (default: beside your config.toml)")


def _add_limits(parser: argparse.ArgumentParser, text: str, defaults: dict[str, int]) -> None:
    for limit, what in (
        ("requests_per_minute", "requests in a minute"),
        ("tokens_per_minute", "tokens read and written in a minute"),
        ("concurrent", "requests at one time"),
    ):
        told = text % defaults[limit] if defaults else text
        parser.add_argument(f"--{limit.replace('_', '-')}", type=_limit, metavar="N", help=f"{what}, {told}")


def serve(options: argparse.Namespace, config: EngineConfig) -> int:
    """Run `tabcast engine serve`, and return the exit code. Raises `TabcastError`."""
    from decoding.service.team import TeamSettings, serve_team  # noqa: PLC0415 - brings aiohttp

    given = {name: value for name, value in _limits(options).items() if value is not None}
    settings = TeamSettings(
        host=options.host,
        port=options.port,
        keys=_keys(options),
        certificate=options.certificate,
        key=options.key,
        behind_proxy=options.behind_proxy,
        limits=Limits(**given),
    )
    return serve_team(config, settings)


def keys(options: argparse.Namespace) -> int:
    """Run `tabcast engine key`, and return the exit code. Raises `TabcastError`."""
    path = _keys(options)
    if options.action == "new":
        right = METRICS if options.metrics else COMPLETIONS
        key = new_key(path, options.name, right=right, **_limits(options))
        print(key, flush=True)
        told = f"this is the key of {options.name}; it is kept nowhere, so hand it over now. Its hash is in {path}."
        print(told, file=sys.stderr)
    elif options.action == "revoke":
        revoke_key(path, options.name)
        print(f"{options.name} has no key any more; an engine that runs lets nobody in with it from now on")
    elif options.json:
        print(json.dumps([{**asdict(key), "sha256": ""} for key in read_keys(path)]))
    else:
        for key_of in read_keys(path):
            own = [f"{name.replace('_', ' ')} {value}" for name, value in _own_limits(key_of).items()]
            print(", ".join([f"{key_of.name}: since {key_of.created or 'unknown'}, for {key_of.right}", *own]))
    return 0


def _own_limits(key: Any) -> dict[str, int]:
    return {field.name: getattr(key, field.name) for field in fields(Limits) if getattr(key, field.name) is not None}


def _limits(options: argparse.Namespace) -> dict[str, int | None]:
    return {field.name: getattr(options, field.name) for field in fields(Limits)}


def _keys(options: argparse.Namespace) -> Path:
    path: Path = options.keys or user_config_path(os.environ).with_name("keys.json")
    return path.expanduser()


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"a port is a number from 1 to 65535, not {text}")
    return port


def _limit(text: str) -> int:
    limit = int(text)
    if not 0 <= limit <= MAX_LIMIT:
        raise argparse.ArgumentTypeError(f"expected 0 to {MAX_LIMIT}, got {text}")
    return limit
