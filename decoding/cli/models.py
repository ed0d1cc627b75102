"""Implements `tabcast models`: list, fetch, choose, show and remove models.

Loads no weights. What takes time says so on standard error; `--json` prints one value on standard output.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from decoding.cli.choosing import values_for
from decoding.cli.fetching import ProgressLine, fetch, tell_another_source
from decoding.cli.provide_models import provide
from decoding.config import EngineConfig, models_directory
from decoding.datastore import command as datastores
from decoding.errors import Interrupted, ModelError, TabcastError
from decoding.models.listed import file_of, find_model
from decoding.protocol import user_config_path
from decoding.storage.kept_blocks import remove_kept
from decoding.storage.pulled import Pulled, as_size, pulled_models, remove
from decoding.storage.rounded_files import remove_rounded
from decoding.storage.user_config import set_engine_values

EPILOG: Final = """\
NAME is a model of the Hugging Face hub (owner/model) or of the catalogue that was pulled, a folder (./models/mine), a
GGUF file, bundled, or what another program keeps, by the name that the list gives it: ollama:MODEL:TAG,
lmstudio:PUBLISHER/REPOSITORY/FILE.gguf, llama.cpp:FILE.gguf, hf:OWNER/MODEL or hf:OWNER/MODEL/FILE.gguf.

examples:
  tabcast models                                          what there is, and what this machine can hold
  tabcast models pull Qwen/Qwen2.5-Coder-1.5B             fetch it; a second pull goes on where one was cut off
  tabcast models pull qwen2.5-coder-1.5b-q4               one GGUF file, with a known checksum
  tabcast models use Qwen/Qwen2.5-Coder-7B --draft Qwen/Qwen2.5-Coder-0.5B
  tabcast models use ollama:qwen2.5-coder:1.5b            what Ollama has already; nothing is copied
  tabcast models use bundled                              back to the shipped pair
  tabcast models index ~/src/library                      a datastore of code to draft from
"""

Value = dict[str, Any] | list[dict[str, Any]]


def add_parser(commands: Any) -> list[argparse.ArgumentParser]:
    """Add the parsers; return those that take an engine's options."""
    models = commands.add_parser(
        "models",
        help="the models at hand",
        description="List, fetch, choose, look at and remove models; index code to draft from.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = models.add_subparsers(dest="action", metavar="ACTION")
    models.set_defaults(action="list", json=False, model=None, draft=None, device=None, dtype=None)
    listed = actions.add_parser("list", help="the models at hand and those that are recommended; the default")
    pull = actions.add_parser("pull", help="fetch a model of the Hugging Face hub or of the catalogue")
    pull.add_argument("name", metavar="NAME", help="owner/model, or a name that the list gives")
    pull.add_argument("--revision", help="branch, tag or commit instead of the main branch")
    use = actions.add_parser("use", help="write a model into the user's config.toml")
    use.add_argument("name", metavar="NAME")
    use.add_argument("--draft", metavar="NAME", help="its draft model, or none; the recommended one if it was pulled")
    show = actions.add_parser("show", help="say what a model is, what it needs and how it would be run")
    show.add_argument("name", metavar="NAME", nargs="?", help="the one that the settings choose if left out")
    provide = actions.add_parser("provide")  # for `tabcast demo`
    provide.add_argument("names", metavar="NAME", nargs="+")
    remove = actions.add_parser("remove", help="delete what pull made")
    remove.add_argument("name", metavar="NAME")
    remove.add_argument("--yes", "-y", action="store_true", help="do not ask")
    export = actions.add_parser("export", help="write the target as a GGUF file, for llama.cpp")
    export.add_argument("--gguf", type=Path, metavar="FILE", help="what to write")
    export.add_argument("--type", choices=["bf16", "q8_0", "f32"], default="bf16", help="of the matrices")
    index = datastores.add_parser(actions)
    for action in (models, listed, pull, use, show, provide, remove, index):
        # An option before the action's name must not be undone by the action's own default.
        default = False if action is models else argparse.SUPPRESS
        action.add_argument("--json", action="store_true", help="print JSON", default=default)
    return [models, listed, show, export, index]


def run(options: argparse.Namespace, config: EngineConfig) -> int:
    """Run one action and return its exit code. Raises `TabcastError`."""
    actions: Mapping[str, Callable[[argparse.Namespace, EngineConfig], Value]] = {
        "list": _list,
        "pull": _pull,
        "use": _use,
        "show": _show,
        "provide": _provide,
        "remove": _remove,
        "index": _index,
    }
    if options.action == "export":
        return _export(options, config)
    try:
        value = actions[options.action](options, config)
    except KeyboardInterrupt:
        hint = f": 'tabcast models pull {options.name}' goes on from here" if options.action == "pull" else ""
        raise Interrupted(f"interrupted{hint}") from None
    except OSError as error:  # of a disk that is full or closed
        raise TabcastError(f"{error.filename or models_directory()}: {error.strerror or error}") from None
    if options.json:
        print(json.dumps(value, indent=1))
    elif isinstance(value, list):
        print(_table(value))
        for row in value:
            if row.get("better"):
                print(f"{row['name']} is better than the one in use: '{row['better']}' chooses it.", file=sys.stderr)
    else:
        print(
            "\n".join(
                f"{name.replace('_', ' '):<12} {_plain(item)}"
                for name, item in value.items()
                if item != "" and not isinstance(item, bool)
            )
        )
    rows = value if isinstance(value, list) else [value]
    return 0 if all(row.get("ok", True) or not row.get("selected", True) for row in rows) else 1


def _list(_options: argparse.Namespace, config: EngineConfig) -> Value:
    from decoding.cli.list_models import list_models  # noqa: PLC0415 - brings torch

    return list_models(config)


def _show(options: argparse.Namespace, config: EngineConfig) -> Value:
    from decoding.cli import inspect_models  # noqa: PLC0415 - brings torch

    return inspect_models.show_model(find_model(options.name or config.model), config)


def _provide(options: argparse.Namespace, config: EngineConfig) -> Value:
    return provide(options.names, config)


def _pull(options: argparse.Namespace, _config: EngineConfig) -> Value:
    pulled = fetch(options.name, options.revision, ProgressLine(), tell_another_source)
    if not options.json:
        print(f"'tabcast models use {pulled.name}' makes it the model that completes.", file=sys.stderr)
    return _describe(pulled)


def _use(options: argparse.Namespace, config: EngineConfig) -> Value:
    path = user_config_path(os.environ)
    values = values_for(options.name, options.draft)
    set_engine_values(path, values)
    if not options.json:
        # The engine's directory follows from the configuration, so after the change no command finds the last engine.
        print(
            "Editors that start from now on use it. An engine that runs serves its editors as before,"
            f" and ends after {config.idle_minutes:g} minutes without a request.",
            file=sys.stderr,
        )
    return {**values, "file": str(path)}


def _remove(options: argparse.Namespace, config: EngineConfig) -> Value:
    pulled = next((pulled for pulled in pulled_models() if pulled.name == options.name), None)
    if pulled is None:
        raise ModelError(f"{options.name} was not pulled, so nothing is removed")
    if not options.yes:
        print(
            f"Remove {pulled.name} ({pulled.num_bytes / 1e6:.1f} MB) from {pulled.folder}? [y/N] ",
            end="",
            file=sys.stderr,
        )
        sys.stderr.flush()
        if sys.stdin is None or sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise TabcastError("nothing was removed (--yes does without the question)")
    if file_of(pulled) in (config.model_path, config.draft_path) and not options.json:
        print("It was the chosen one; 'tabcast models use' chooses another.", file=sys.stderr)
    remove_rounded(file_of(pulled))
    remove_kept(file_of(pulled))
    remove(pulled)
    return _describe(pulled)


def _index(options: argparse.Namespace, config: EngineConfig) -> Value:
    from decoding.models.folder.tokenizer_files import load_tokenizer  # noqa: PLC0415 - brings torch

    return datastores.run(options, lambda: load_tokenizer(config.model_path))


def _export(options: argparse.Namespace, config: EngineConfig) -> int:
    from decoding.models import gguf_export  # noqa: PLC0415 - brings torch

    if options.gguf is None:
        raise TabcastError("models export needs --gguf FILE")
    try:
        gguf_export.export(config.model_path, options.gguf, options.type)
    except OSError as error:
        raise TabcastError(f"{options.gguf} can't be written: {error.strerror}") from None
    print(f"{options.gguf}: {options.gguf.stat().st_size / 1e6:.1f} MB, {options.type}")
    return 0


def _describe(pulled: Pulled) -> dict[str, Any]:
    return {
        "name": pulled.name,
        "path": str(file_of(pulled)),
        "revision": pulled.revision,
        "files": len(pulled.files),
        "megabytes": round(pulled.num_bytes / 1e6, 1),
    }


def _table(rows: list[dict[str, Any]]) -> str:
    """Format columns for people: mark, name, role, size, remarks."""
    cells = [
        (
            "*" if row["selected"] else " ",
            row["name"],
            row["role"],
            _size(row),
            row.get("error") or row["note"],
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in cells) for column in range(4)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[4]]).rstrip()
        for line in cells
    )


def _size(row: dict[str, Any]) -> str:
    """Format the size of the files, at hand or to be fetched."""
    megabytes = row.get("megabytes", row.get("download_megabytes"))
    return "-" if megabytes is None else as_size(int(megabytes * 1e6))


def _plain(item: object) -> str:
    return ", ".join(map(str, item)) if isinstance(item, (list, tuple)) else str(item)
