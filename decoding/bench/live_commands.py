"""Implements the commands that drive the whole product: `tabcast bench trace`, `jump`, `edits`, `startup` and more."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from rich.progress import Progress

from decoding.bench.harness import edit_cases, jump_places, recorded_session
from decoding.bench.harness.time_limit import TimeLimit
from decoding.bench.report import report
from decoding.bench.suites import (
    edits,
    endurance,
    endurance_sessions,
    hybrid,
    jump,
    jump_llama_cpp,
    load,
    startup,
    trace,
    trace_workload,
)
from decoding.errors import TabcastError
from decoding.models.loading.model_set import ModelSet


def add_trace_options(suite: argparse.ArgumentParser) -> None:
    """Add the options of `trace` to its parser."""
    suite.add_argument("--data", type=Path, required=True, metavar="RECORDING", help="a workspace recording of VS Code")
    suite.add_argument(
        "--speed", type=_positive, default=1.0, metavar="X", help="so many times as fast as it was recorded"
    )
    suite.add_argument("--minutes", type=_positive, metavar="M", help="only the recording's first M minutes")
    suite.add_argument("--lines", type=_count, default=0, metavar="N", help="so many lines more in each file worked in")
    suite.add_argument("--open-files", type=_count, default=0, metavar="N", help="so many files more that are open")


def run_trace(options: argparse.Namespace, _models: ModelSet | None, progress: Progress) -> Iterable[report.Row]:
    """Play a recording to a real language server, and return the rows."""
    command = _language_server(options)
    events = recorded_session.read_recording(options.data)
    if options.minutes:
        events = [event for event in events if event.at_ms <= options.minutes * 60_000]
        if not any(isinstance(event, recorded_session.Requested) for event in events):
            raise TabcastError(f"{options.data}: no completion request in the first {options.minutes:g} minutes")
    events = trace_workload.enlarge(events, num_lines=options.lines, num_open=options.open_files)
    task = progress.add_task("playing", total=len(events))
    rows: list[report.Row] = []
    try:
        trace.run(command, events, options.speed, rows, lambda: progress.advance(task))
    finally:
        yield from rows


def _add_code_folders(suite: argparse.ArgumentParser) -> None:
    suite.add_argument(
        "--folder",
        type=Path,
        nargs="+",
        metavar="DIR",
        help="where to find files of code (default: Python's library, and Go's and npm's where they are installed)",
    )


def add_jump_options(suite: argparse.ArgumentParser) -> None:
    """Add the options of `jump` to its parser."""
    _add_code_folders(suite)
    suite.add_argument(
        "--lines", type=_count, nargs="+", default=[300, 2000], metavar="N", help="sizes of the files, about"
    )
    suite.add_argument(
        "--think",
        type=_positive,
        nargs="+",
        default=[0.3, 1.0],
        metavar="S",
        help="seconds from a jump to the first key",
    )
    suite.add_argument(
        "--stay", type=_positive, default=2.0, metavar="S", help="seconds at a place once a suggestion is there"
    )
    suite.add_argument("--places", type=_count, default=20, metavar="N", help="places of each size and think time")
    suite.add_argument("--per-file", type=_count, default=5, metavar="N", help="places in one file")
    suite.add_argument(
        "--minutes", type=_positive, metavar="M", help="end after about so many minutes, with fewer places in each row"
    )
    suite.add_argument(
        "--without",
        choices=tuple(jump.PARTS),
        nargs="+",
        default=[],
        metavar="PART",
        help="measure again without a part: documents and places read ahead (reading), the cursor's rest told"
        " (resting), prompts cut to the time (cutting)",
    )
    suite.add_argument(
        "--llama-server",
        type=Path,
        metavar="PATH",
        help="go to the same places with llama.cpp's llama-server, too, and the same GGUF file",
    )


def run_jump(options: argparse.Namespace, _models: ModelSet | None, progress: Progress) -> Iterable[report.Row]:
    """Jump to places in real files and type there, and yield the rows."""
    if not options.places or not options.per_file:
        raise TabcastError("--places and --per-file must be at least 1")
    folders = options.folder or jump_places.default_folders()
    sizes = [
        (
            f"{lines} lines",
            jump_places.choose_files(folders, num_lines=lines, num_places=options.places, per_file=options.per_file),
        )
        for lines in options.lines
    ]
    paces = [jump.Pace(think_s=think_s, stay_s=options.stay) for think_s in options.think]
    config, program = options.selected, options.llama_server
    if program is not None and not config.model_path.is_file():
        raise TabcastError("llama.cpp reads GGUF files: name one by --model")
    left_out = ["", *options.without]
    num_rows = len(sizes) * len(paces) * (len(left_out) + (program is not None))
    task = progress.add_task("jumping", total=num_rows * options.places)
    limit = TimeLimit(options.minutes, num_rows)
    on_place = partial(progress.advance, task)
    yield from jump.run(_language_server(options), sizes, paces, on_place, left_out=left_out, limit=limit)
    if program is not None:
        threads = config.threads or os.cpu_count() or 1
        yield from jump_llama_cpp.run(program, config.model_path, threads, sizes, paces, on_place, limit)


def add_edits_options(suite: argparse.ArgumentParser) -> None:
    """Add the options of `edits` to its parser."""
    _add_code_folders(suite)
    suite.add_argument(
        "--language", choices=[*edit_cases.ENDINGS], nargs="+", default=[*edit_cases.ENDINGS], help="languages to try"
    )
    suite.add_argument("--renames", type=_count, default=200, metavar="N", help="renames in each language")
    suite.add_argument("--quiet", type=_count, default=200, metavar="N", help="quiet changes in all")


def run_edits(options: argparse.Namespace, _models: ModelSet | None, progress: Progress) -> Iterable[report.Row]:
    """Play renames and quiet changes to a language server, and yield the rows."""
    folders = options.folder or jump_places.default_folders()
    share = -(-options.quiet // len(options.language))
    groups = [
        (f"renames, {language}", edit_cases.rename_cases(folders, language, options.renames))
        for language in options.language
        if options.renames
    ]
    quiet = [edit_cases.quiet_cases(folders, language, share) for language in options.language if share]
    groups += [("quiet", [case for cases in quiet for case in cases][: options.quiet])] if quiet else []
    task = progress.add_task("editing", total=sum(len(cases) for _, cases in groups))
    yield from edits.run(_language_server(options), groups, lambda: progress.advance(task))


def add_hybrid_options(suite: argparse.ArgumentParser) -> None:
    """Add the options of `hybrid` to its parser."""
    suite.add_argument(
        "--local", default="", metavar="MODEL", help="the model on this machine (default: the shipped pair)"
    )
    suite.add_argument(
        "--round-trip",
        type=_positive,
        nargs="+",
        default=[20.0, 80.0, 200.0],
        metavar="MS",
        help="milliseconds to the model elsewhere and back",
    )
    suite.add_argument("--folder", type=Path, nargs="+", metavar="DIR", help="where to find files of code")
    suite.add_argument("--lines", type=_count, default=300, metavar="N", help="size of the files, about")
    suite.add_argument("--places", type=_count, default=20, metavar="N", help="places in files")


def run_hybrid(options: argparse.Namespace, _models: ModelSet | None, progress: Progress) -> Iterable[report.Row]:
    """Type with a large model elsewhere and a small one here, and yield the rows."""
    if not options.front_end:
        raise TabcastError("this suite drives the language server: run it by the command `tabcast bench`")
    if not options.places:
        raise TabcastError("--places must be at least 1")
    files = jump_places.choose_files(
        options.folder or jump_places.default_folders(), num_lines=options.lines, num_places=options.places, per_file=2
    )
    local = _path(options.local) if options.local else ""
    here = ["--model", local, "--draft", "none"] if local else ["--model", ""]
    engines = hybrid.Engines(elsewhere=_engine_arguments(options), here=here)
    task = progress.add_task("typing", total=options.places * (1 + 2 * len(options.round_trip)))
    yield from hybrid.run(options.front_end, engines, files, options.round_trip, lambda: progress.advance(task))


def run_startup(options: argparse.Namespace, _models: ModelSet | None, progress: Progress) -> Iterable[report.Row]:
    """Start the language server several times, and yield the rows."""
    task = progress.add_task("starting", total=2 * startup.REPEATS)
    yield from startup.run(_language_server(options), startup.REPEATS, lambda: progress.advance(task))


def run_endurance(options: argparse.Namespace, _models: ModelSet | None, progress: Progress) -> Iterable[report.Row]:
    """Send many requests to an engine of its own, or have editors type for hours, and yield the rows."""
    if options.hours is not None:
        task = progress.add_task("typing", total=None)
        texts = [text for _, text in endurance.texts()]
        yield from endurance_sessions.run(
            _language_server(options), options.hours, texts, lambda: progress.advance(task)
        )
        return
    task = progress.add_task("asking", total=options.requests)
    yield from endurance.run(_engine_arguments(options), options.requests, lambda: progress.advance(task))


def add_load_options(suite: argparse.ArgumentParser) -> None:
    """Add the options of `load` to its parser."""
    suite.add_argument("--data", type=Path, required=True, metavar="RECORDING", help="a workspace recording of VS Code")
    suite.add_argument("--users", type=_count, default=10, metavar="N", help="people at work at one time")
    suite.add_argument("--requests", type=_count, default=0, metavar="N", help="only the recording's first N requests")
    suite.add_argument("--speed", type=_positive, default=1.0, metavar="X", help="so many times as fast as recorded")
    suite.add_argument("--url", metavar="URL", help="a team's engine that runs; without it, one of its own is started")
    suite.add_argument("--key-file", type=Path, metavar="FILE", help="keys for that engine, one a line")
    suite.add_argument("--ca-file", type=Path, metavar="FILE", help="the authority of its certificate, in PEM")


def run_load(options: argparse.Namespace, _models: ModelSet | None, progress: Progress) -> Iterable[report.Row]:
    """Let many users play a recording to one engine, and yield the rows."""
    if not options.users:
        raise TabcastError("--users must be at least 1")
    if options.url and not options.key_file:
        raise TabcastError("--url takes --key-file: a team's engine lets in who has a key")
    asked = load.requests_of(recorded_session.read_recording(options.data))
    asked = asked[: options.requests or None]
    task = progress.add_task("asking", total=options.users * len(asked))
    play = partial(load.run, asked=asked, num_users=options.users, speed=options.speed)
    if options.url:
        keys = load.keys_of(options.key_file)
        yield from play(options.url, keys, options.ca_file, on_request=lambda: progress.advance(task))
        return
    with load.own_engine(_engine_arguments(options), options.users) as (url, keys):
        yield from play(url, keys, None, on_request=lambda: progress.advance(task))


def _language_server(options: argparse.Namespace) -> list[str]:
    """Return the command that starts the language server with this engine; its paths are absolute."""
    if not options.front_end:
        raise TabcastError("this suite drives the language server: run it by the command `tabcast bench`")
    return [*options.front_end, "lsp", *_engine_arguments(options)]


def _engine_arguments(options: argparse.Namespace) -> list[str]:
    arguments: list[str] = []
    for name in ("model", "draft", "device", "dtype", "quantize"):
        value = getattr(options, name, None)
        if value is not None:
            arguments += [f"--{name}", _path(value) if name in ("model", "draft") and value else value]
    return arguments


def _path(model: str) -> str:
    """Return a model's absolute path where its name is one: programs are started in other folders."""
    path = Path(model).expanduser()
    return str(path.absolute()) if path.exists() else model


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"expected 0 or more, got {text}")
    return value
