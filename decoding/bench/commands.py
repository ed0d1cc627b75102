"""Implements the command line of `tabcast bench`: one parser a suite, and how a suite's rows become a report."""

from __future__ import annotations

import argparse
import shlex
import signal
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from decoding.bench import live_commands
from decoding.bench.gpu_checks import command as gpu_checks
from decoding.bench.harness import data, recorded_session
from decoding.bench.harness.told_progress import ToldProgress
from decoding.bench.metrics.other_programs import MUCH_PERCENT, OtherPrograms
from decoding.bench.report import report
from decoding.bench.suites import (
    decode_command,
    decode_options,
    infilling,
    lookup,
    passes,
    precision,
    replay,
    same_file,
    soundness,
)
from decoding.bench.suites.suggestions import CONTEXTS, MAX_BLOCK_TOKENS, FrontEnd, Suggester
from decoding.config import EngineConfig
from decoding.errors import Interrupted, TabcastError
from decoding.models.loading.model_set import ModelSet, load_models
from decoding.protocol import EXIT_INTERRUPTED
from decoding.text.detokenize import special_names

Suite = Callable[[argparse.Namespace, ModelSet, ToldProgress], Iterable[report.Row]]
OwnEngineSuite = Callable[[argparse.Namespace, None, ToldProgress], Iterable[report.Row]]


def add_parsers(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> list[argparse.ArgumentParser]:
    """Add the suites below `bench`, and return their parsers."""
    suites = commands.add_parser("bench", help="measure quality, speed and losslessness").add_subparsers(
        dest="suite", metavar="SUITE", required=True
    )
    suite = _add(suites, "infilling", _infilling, "holes in files: what the model writes against what stood there")
    suite.add_argument("--data", type=Path, required=True, help="rows of HumanEval-Infilling's form, .jsonl or .gz")
    suite.add_argument("--max-tokens", type=int, default=64, metavar="N")
    suite.add_argument(
        "--layout", choices=["anchored", "classic"], default="anchored", help="where the typed head of the line stands"
    )
    suite.add_argument("--healing", choices=["on", "off"], default="on", help="write a token that is cut again whole")
    decode_options.add_options(
        _add(suites, "decode", decode_command.run, "the same greedy continuations by every method and by others")
    )
    passes.add_options(_add(suites, "passes", passes.run, "each kind of pass beside the time that its bytes take"))
    same_file.add_options(
        _add(suites, "llama-cpp", same_file.run, "our text and perplexity beside llama.cpp's, from one file")
    )
    precision.add_options(
        _add(suites, "precision", precision.run, "what the kernels' arithmetic changes, beside float32")
    )
    gpu_checks.add_options(_add(suites, "gpu-check", gpu_checks.run, "whether a GPU computes what it should"))
    suite = _add(suites, "replay", _replay, "what commits inserted, typed again: the keys that suggestions save")
    suite.add_argument("--data", type=Path, nargs="+", required=True, metavar="FILE", help="rows of eval/replay's form")
    suite.add_argument("--max-tokens", type=int, default=MAX_BLOCK_TOKENS, metavar="N")
    suite.add_argument(
        "--min-confidence",
        type=float,
        metavar="P",
        help="cut what is less probable; 0 shows all (default: as the editor)",
    )
    suite.add_argument(
        "--context",
        choices=[*CONTEXTS, "auto", "all", "none"],
        nargs="+",
        default=["auto"],
        help="where the front end takes context from, whatever the model's window; auto: what an editor gets",
    )
    suite.add_argument(
        "--recording", type=Path, metavar="FILE", help="an editing session to draw the clock's gaps from"
    )
    soundness.add_options(
        _add(suites, "soundness", soundness.run, "holes in files of fourteen languages: what suggestions break")
    )
    lookup.add_options(_add_own_engine(suites, "lookup", lookup.run, "what finding drafts in code costs the host"))
    suite = _add_own_engine(suites, "trace", live_commands.run_trace, "a recorded editing session, played again")
    live_commands.add_trace_options(suite)
    live_commands.add_jump_options(
        _add_own_engine(
            suites, "jump", live_commands.run_jump, "the time to a first suggestion wherever the cursor goes"
        )
    )
    live_commands.add_edits_options(
        _add_own_engine(suites, "edits", live_commands.run_edits, "what is offered after renames and quiet changes")
    )
    live_commands.add_hybrid_options(
        _add_own_engine(
            suites, "hybrid", live_commands.run_hybrid, "a large model elsewhere, with first texts of a small one here"
        )
    )
    _add_own_engine(suites, "startup", live_commands.run_startup, "the time to a first suggestion, cold and warm")
    suite = _add_own_engine(
        suites, "endurance", live_commands.run_endurance, "thousands of requests, and the memory they leave behind"
    )
    suite.add_argument("--requests", type=int, default=10_000, metavar="N")
    suite.add_argument(
        "--hours", type=float, metavar="N", help="instead: editors, one after another, with kills, pauses, other models"
    )
    live_commands.add_load_options(
        _add_own_engine(suites, "load", live_commands.run_load, "many people at work on one team's engine")
    )
    return list(suites.choices.values())


def run(options: argparse.Namespace, config: EngineConfig) -> int:
    """Run a suite; Ctrl-C ends it with the rows that are finished. Raises `TabcastError`."""
    console = Console()
    if options.run is gpu_checks.run:
        gpu_checks.refuse_without_gpu(config)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # shells set this for background jobs
        signal.signal(signal.SIGINT, signal.default_int_handler)
    rows: list[report.Row] = []
    is_complete = False
    models, others = None, OtherPrograms() if options.needs_models else None
    with suppress(KeyboardInterrupt), ToldProgress(Console(stderr=True)) as progress:
        if options.needs_models:
            progress.say("loading the models")
            models = _load(options, config)
        options.selected = config
        # Extended row by row, so that rows from before an interruption stay.
        rows.extend(options.run(options, models, progress))
        is_complete = True
    if not rows:
        raise Interrupted("interrupted before anything was measured")
    made = report.Report(
        suite=options.suite,
        rows=rows,
        model=_describe(models)
        if models
        else options.writer or f"{config.model or 'the shipped pair'}, in an engine of its own",
        machine=report.machine(models) | _busy(others),
        versions=report.versions(),
        is_complete=is_complete,
    )
    made.show(console)
    if options.json:
        made.write_json(options.json)
    if options.html:
        made.write_html(options.html)
    if any(row.get("passed") is False for row in rows):
        return 1
    return 0 if is_complete else EXIT_INTERRUPTED


def _load(options: argparse.Namespace, config: EngineConfig) -> ModelSet:
    return decode_command.load(options, config) if hasattr(options, "shape") else load_models(config)[0]


def _add(
    suites: argparse._SubParsersAction[argparse.ArgumentParser], name: str, run_suite: Suite, text: str
) -> argparse.ArgumentParser:
    suite = suites.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    suite.set_defaults(run=run_suite, needs_models=True, writer="")
    suite.add_argument("--limit", type=int, metavar="N", help="only the first N rows")
    _add_outputs(suite)
    return suite


def _add_own_engine(
    suites: argparse._SubParsersAction[argparse.ArgumentParser], name: str, run_suite: OwnEngineSuite, text: str
) -> argparse.ArgumentParser:
    """Add a suite that drives the whole product, whose engine loads the models itself."""
    suite = suites.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    suite.set_defaults(run=run_suite, needs_models=False, writer="")
    _add_outputs(suite)
    return suite


def _add_outputs(suite: argparse.ArgumentParser) -> None:
    suite.add_argument("--json", type=Path, metavar="FILE", help="write the figures as one JSON object")
    suite.add_argument("--html", type=Path, metavar="FILE", help="write them as a page")
    # The `tabcast` command passes this: how to start the front end's own programs.
    suite.add_argument("--front-end", type=shlex.split, default=[], help=argparse.SUPPRESS)


def _infilling(options: argparse.Namespace, models: ModelSet, progress: ToldProgress) -> Iterable[report.Row]:
    rows = data.read_infilling(options.data, options.limit)
    models = replace(models, layout=replace(models.layout, is_anchored=options.layout == "anchored"))
    answers: list[infilling.Answer] = []
    task = progress.add_task("completing", total=len(rows))

    def keep(answer: infilling.Answer) -> None:
        answers.append(answer)
        progress.advance(task)

    with suppress(KeyboardInterrupt):
        infilling.answer(models, rows, options.max_tokens, keep, heal=options.healing == "on")
    shown = infilling.post_process([*options.front_end, "filter"], answers) if options.front_end else None
    settings = f"{infilling.describe_layout(models)}; healing {options.healing}"
    yield from infilling.summarise(answers, shown, settings, special_names(models.tokenizer))
    if len(answers) < len(rows):
        raise KeyboardInterrupt


def _replay(options: argparse.Namespace, models: ModelSet, progress: ToldProgress) -> Iterable[report.Row]:
    gaps_ms: Sequence[float] = replay.KEY_GAPS_MS
    if options.recording:
        gaps_ms = recorded_session.key_gaps_ms(recorded_session.read_recording(options.recording))
    rows = [row for path in options.data for row in data.read_replay(path, options.limit) if row.gold.strip()]
    if not rows:
        raise TabcastError("no row inserts anything")
    if not options.front_end:
        raise TabcastError("this suite asks the front end what to ask: run it by the command `tabcast bench`")
    sources = {"all": CONTEXTS, "none": ()}.get(options.context[0], options.context)
    done: list[replay.Replayed] = []
    task = progress.add_task("typing", total=len(rows))
    with (
        closing(FrontEnd(options.front_end, options.min_confidence, sources)) as front_end,
        suppress(KeyboardInterrupt),
    ):
        suggest = Suggester(models, front_end, options.max_tokens)
        for of_row in replay.replay(rows, suggest, gaps_ms, special_names(models.tokenizer)):
            done.append(of_row)
            progress.advance(task)
    clock = f"key gaps of {options.recording.name}" if options.recording else "key gaps of a built-in list"
    used = f"context: {' '.join(options.context)}"
    yield from replay.summarise(done, f"suggestions as an editor shows them; {used}; {clock}")
    if len(done) < len(rows):
        raise KeyboardInterrupt


def _busy(others: OtherPrograms | None) -> dict[str, str]:
    """Return what to tell of other programs that took much of the processor; an engine of its own is one, too."""
    percent = others.percent() if others else None
    if percent is None or percent < MUCH_PERCENT:
        return {}
    return {"busy": f"other programs took {percent:g} % of the processor, so times mean little"}


def _describe(models: ModelSet) -> str:
    draft = f", draft {models.draft.num_parameters / 1e6:.1f} M" if models.draft else ""
    dtype = str(models.target.dtype).removeprefix("torch.")
    return f"{models.name}: target {models.target.num_parameters / 1e6:.1f} M{draft}, {dtype}"
