"""Defines the command line: subcommands, options and their help. Imports nothing that takes time."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Final

from decoding.protocol import MAX_NEW_TOKENS, METHODS, VERSION, ProtocolError, check_method, is_model_name

# Subcommands that the engine's own program reads and runs: nothing after the name is parsed here.
ENGINE_SIDE: Final = {
    "setup": "choose, fetch and check a model for this machine, and write it into config.toml",
    "models": "list, fetch, choose, show and remove models; index code to draft from",
    "train": "train a tokenizer, a target and a draft model",
    "bench": "measure quality, speed and losslessness",
}

EPILOG: Final = """\
examples:
  tabcast demo                                    see it work, on a sample project
  tabcast demo --real                             the same with a real code model, which is fetched once
  tabcast setup                                   a model that suits this machine
  tabcast complete app.py --line 12 --column 9    the suggestion at a cursor
  tabcast lsp                                     what an editor starts
  tabcast doctor                                  what works here, and what to do about the rest

exit codes:
  0  done                                  3  an engine is already running
  1  it failed, or a check did             4  the port is in use
  2  the command line is wrong             5  the model can't be loaded
130  somebody pressed Ctrl-C
"""

COMPLETE_EPILOG: Final = """\
Line and column count from 1, in characters, as editors show them.

examples:
  tabcast complete app.py --line 12 --column 9
  tabcast complete app.py --line 12 --column 9 --plain --json
  tabcast complete app.go --line 3 --column 1 --model ~/models/Qwen2.5-Coder-7B
"""

ENGINE_EPILOG: Final = """\
examples:
  tabcast engine start --port 8765
  eval "$(tabcast engine env)"        # for OpenAI clients; then, for curl:
  curl -H @"$OPENAI_HEADER_FILE" "$OPENAI_BASE_URL/completions" \\
       -H 'Content-Type: application/json' -d '{"prompt": "def fib(n):", "max_tokens": 32}'
  tabcast engine stop

a server elsewhere:
  tabcast engine add team --url https://code.example.org/v1 --api-key-env TEAM_KEY
  tabcast engine test team
  tabcast engine use team             # and back: tabcast engine use local

an engine for a team, on this machine:
  tabcast engine key new anna
  tabcast engine serve --host 0.0.0.0 --certificate team.pem --key team.key
"""

ENGINE_ACTIONS: Final = {
    "start": "start the engine and wait until its models are loaded",
    "status": "say whether an engine runs (exit code 1 if none does)",
    "stop": "stop the running engine",
    "env": "print shell exports for OpenAI clients and curl",
}
# The same of an engine for a team: what the action is called there, and its help here.
TEAM_ACTIONS: Final = {
    "serve": ("team-serve", "serve a team over the network: people with keys"),
    "key": ("team-key", "make, list and revoke the keys of a team's engine"),
}
SERVER_ACTIONS: Final = {
    "list": "list the engines of your configuration file and those that run here; * marks the one in use",
    "add": "write a server into your configuration file",
    "test": "complete a line with a server, and tell what it is and what is missing",
    "use": "choose the engine that editors use",
}


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the whole command line; `module` of its result names the module that runs it."""
    parser = argparse.ArgumentParser(
        prog="tabcast",
        description="Code completion on your own machine, with lossless speculative decoding.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"tabcast {VERSION}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_lsp(commands)
    _add_complete(commands)
    _add_demo(commands)
    _add_engine(commands)
    doctor = _add(commands, "doctor", "check Python, torch, device, models, engine and editors")
    _add_engine_options(doctor)
    _add_json(doctor)
    _add_uninstall(commands)
    for name, text in ENGINE_SIDE.items():
        commands.add_parser(name, help=text, add_help=False)
    for name in ("filter", "context", "request"):  # helper processes of `tabcast bench`, not for people
        commands.add_parser(name).set_defaults(module=name)
    files = commands.add_parser("files")  # a helper process of `tabcast models index`
    files.add_argument("folder", type=Path)
    files.set_defaults(module="files")
    return parser


def _add(
    commands: Any, name: str, text: str, *, module: str = "", epilog: str | None = None
) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(module=module or name)
    return command


def _add_lsp(commands: Any) -> None:
    command = _add(commands, "lsp", "run the language server, on standard input and output unless --tcp is given")
    transport = command.add_mutually_exclusive_group()
    transport.add_argument("--stdio", action="store_true", help="use standard input and output, as without this option")
    transport.add_argument("--tcp", metavar="HOST:PORT", type=_host_and_port, help="listen on this address instead")
    # Transports that editors' libraries may ask for. They are parsed so that the error can name those that we have.
    transport.add_argument("--node-ipc", action="store_true", help=argparse.SUPPRESS)
    transport.add_argument("--socket", help=argparse.SUPPRESS)
    transport.add_argument("--pipe", help=argparse.SUPPRESS)
    command.add_argument(
        "--clientProcessId", metavar="N", type=int, dest="client_process_id", help="end when this process has ended"
    )
    command.add_argument("--settings-schema", action="store_true", help="print the JSON schema of the settings")
    _add_engine_options(command)


def _add_complete(commands: Any) -> None:
    command = _add(
        commands, "complete", "print the suggestion at a cursor, as an editor would show it", epilog=COMPLETE_EPILOG
    )
    command.add_argument("file", metavar="FILE", type=Path)
    command.add_argument("--line", "-l", metavar="L", type=int, required=True, help="line of the cursor, from 1")
    command.add_argument("--column", "-c", metavar="C", type=int, required=True, help="column of the cursor, from 1")
    command.add_argument(
        "--max-tokens", metavar="N", type=_tokens, help="at most so many, instead of the editor's limit"
    )
    drafting = command.add_mutually_exclusive_group()
    drafting.add_argument("--plain", action="store_true", help="decode without drafters; the text is the same")
    drafting.add_argument(
        "--method",
        metavar="NAME",
        type=_method,
        help=f"what drafts, instead of the engine's setting: {', '.join(METHODS)}; drafters are joined by +",
    )
    _add_engine_options(command)
    _add_json(command)


def _add_demo(commands: Any) -> None:
    command = _add(commands, "demo", "complete code in a sample project, with a language server and engine of its own")
    command.add_argument(
        "--real",
        action="store_true",
        help="with a real code model, in four languages; fetches Qwen2.5-Coder 1.5B and 0.5B (1.6 GB) if they are not"
        " on this machine and --model names no other",
    )
    command.add_argument("--svg", metavar="FILE", type=Path, help="save the output as a picture, too")
    _add_engine_options(command)
    _add_json(command)


def _add_engine(commands: Any) -> None:
    command = _add(commands, "engine", "start, stop and look at the shared engine", epilog=ENGINE_EPILOG)
    actions = command.add_subparsers(metavar="ACTION", required=True)
    for name, text in ENGINE_ACTIONS.items():
        action = _add(actions, name, text, module="engine")
        action.set_defaults(action=name)
        if name == "start":
            action.add_argument("--port", metavar="N", type=_port, help="listen on this port, and keep its token")
        if name == "stop":
            action.add_argument("--all", action="store_true", help="stop every engine of yours, of any configuration")
        _add_engine_options(action)
        _add_json(action)
    for name, (_, text) in TEAM_ACTIONS.items():
        actions.add_parser(name, help=text, add_help=False)
    for name, text in SERVER_ACTIONS.items():
        action = _add(actions, name, text, module="engines")
        action.set_defaults(action=name)
        if name != "list":
            known = {"use": "a name of your file, or local for the engine on this machine"}
            action.add_argument("name", metavar="NAME", help=known.get(name, "its name in your file"))
        if name == "add":
            _add_server_options(action)
        _add_json(action)


def _add_uninstall(commands: Any) -> None:
    command = _add(
        commands, "uninstall", "stop all engines, remove what Tabcast has written, and say how the program goes"
    )
    command.add_argument("--purge", action="store_true", help="also pulled models, configuration and what was learnt")
    command.add_argument("--dry-run", action="store_true", help="only list what would be removed")
    command.add_argument("--yes", action="store_true", help="do not ask")


def _add_server_options(action: argparse.ArgumentParser) -> None:
    action.add_argument("--url", metavar="URL", required=True, help="where it listens: https://code.example.org/v1")
    action.add_argument(
        "--kind",
        metavar="KIND",
        help="tabcast, vllm, sglang, llama.cpp, ollama, openai or mistral; else it is found out",
    )
    action.add_argument("--model", metavar="NAME", help="one of its models; not needed where it has one")
    key = action.add_mutually_exclusive_group()
    key.add_argument("--api-key-env", metavar="VARIABLE", help="the variable that holds the key")
    key.add_argument("--api-key-file", metavar="FILE", help="the file that holds the key; only you may read it")
    action.add_argument("--ca-file", metavar="FILE", help="the authority of its certificate, if it is your own")
    action.add_argument("--fallback", choices=["local"], help="let the engine on this machine answer while it is away")
    action.add_argument(
        "--fim", metavar="FORM", help="the model's family (qwen), server or none; else its name tells the form"
    )
    action.add_argument("--context-tokens", metavar="N", type=int, help="its window, where it doesn't tell it")
    action.add_argument(
        "--hybrid", action="store_true", help="this machine writes a first text while the server is asked"
    )
    action.add_argument("--plain-http", action="store_true", help="allow http:// for a host that isn't this machine")


def _add_json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print JSON")


def _add_engine_options(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("engine", "Which engine; equal choices share one. Defaults: the user's file.")
    group.add_argument(
        "--model", metavar="NAME", help="the target model: a name that 'tabcast models' lists, a folder or a GGUF file"
    )
    group.add_argument("--draft", metavar="NAME", help="the draft model, or none")
    group.add_argument("--device", metavar="NAME", help="auto, cpu, cuda, cuda:1, mps")
    group.add_argument("--dtype", metavar="NAME", help="auto, float32, bfloat16, float16")
    group.add_argument("--quantize", metavar="NAME", help="round weights: auto, none, int8, int4 or fp8")


def engine_arguments(options: argparse.Namespace) -> tuple[str, ...]:
    """Return the engine's command-line arguments. Folders become absolute, because the engine runs in one of its own.

    A name (`owner/model`, `ollama:codellama:7b`) stays as it is: a folder in the working directory must not stand in
    for it.
    """
    arguments: list[str] = []
    for name in ("model", "draft", "device", "dtype", "quantize"):
        value = getattr(options, name)
        if value is None:
            continue
        if name in ("model", "draft") and not is_model_name(value):
            value = str(Path(value).expanduser().absolute())
        arguments += [f"--{name}", value]
    return tuple(arguments)


def _port(text: str) -> int:
    port = int(text)
    if not 1 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"a port is a number from 1 to 65535, not {text}")
    return port


def _tokens(text: str) -> int:
    tokens = int(text)
    if not 1 <= tokens <= MAX_NEW_TOKENS:
        raise argparse.ArgumentTypeError(f"expected 1 to {MAX_NEW_TOKENS}, got {text}")
    return tokens


def _method(text: str) -> str:
    try:
        return check_method(text)
    except ProtocolError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _host_and_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host:
        raise argparse.ArgumentTypeError(f"expected HOST:PORT, got {text}")
    return host, _port(port)
