"""Runs `tabcast setup`: look, measure, recommend, ask, fetch, write, check; or undo.

Until the check has succeeded nothing is changed for good but what was fetched, and that goes on where it was cut off.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from decoding.config import EngineConfig, models_directory
from decoding.errors import ConfigError, ModelError, TabcastError
from decoding.protocol import EXIT_INTERRUPTED, EXIT_MODEL, EXIT_USAGE, user_config_path

if TYPE_CHECKING:
    from decoding.cli.setup.recommend import Recommendation
    from decoding.cli.setup.report import Report

EPILOG: Final = """\
It looks at the processor, the memory, the GPU and the models on the disk, measures for a few seconds, says what it
recommends and why, and asks. Nothing is fetched before. It can be interrupted, run again and undone.

examples:
  tabcast setup                                  recommend, ask, fetch, write config.toml, complete a line
  tabcast setup --dry-run                        only recommend
  tabcast setup --yes --model qwen2.5-coder-0.5b-q4
  tabcast setup --undo                           put config.toml back as it was before

exit codes: 0 done, 1 not done (no, or nobody to ask), 2 wrong setting, 5 model or network, 130 interrupted
"""
EXIT_NOT_DONE: Final = 1


def add_parser(commands: Any) -> None:
    """Add the parser."""
    setup = commands.add_parser(
        "setup",
        help="choose, fetch and check a model for this machine",
        description="Choose, fetch and check a model for this machine, and write it into the user's config.toml.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    setup.add_argument("--yes", "-y", action="store_true", help="do not ask")
    setup.add_argument("--model", metavar="NAME", dest="name", help="this one, by any name that 'tabcast models' lists")
    setup.add_argument("--dry-run", action="store_true", help="only say what would be done")
    setup.add_argument("--undo", action="store_true", help="put config.toml back as it was before setup")
    setup.add_argument("--json", action="store_true", help="print one JSON object a line")
    setup.add_argument("--front-end", type=shlex.split, default=[], help=argparse.SUPPRESS)


def run(options: argparse.Namespace, load: Callable[[], EngineConfig]) -> int:
    """Run it and return the exit code; `load` reads the settings.

    Whatever goes wrong is one line, or the last of the JSON objects.
    """
    from decoding.cli.setup.report import JsonReport, TextReport  # noqa: PLC0415 - as all below: only setup needs it

    report: Report = JsonReport() if options.json else TextReport()
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # Ctrl-C also where whoever started us ignores it, as shells do with &
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.default_int_handler)
    try:
        return _undo(report) if options.undo else _set_up(options, load(), report)
    except KeyboardInterrupt:
        report.tell("error", message="interrupted: config.toml is unchanged, and 'tabcast setup' goes on from here")
        return EXIT_INTERRUPTED
    except TabcastError as error:
        report.tell("error", message=str(error))
        return EXIT_MODEL if isinstance(error, ModelError) else EXIT_USAGE
    except BrokenPipeError:  # the reader of our output, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_NOT_DONE
    except OSError as error:  # of a disk that is full or closed
        report.tell("error", message=f"{error.filename or models_directory()}: {error.strerror or error}")
        return EXIT_USAGE


def _undo(report: Report) -> int:
    from decoding.cli.setup.writing import undo  # noqa: PLC0415

    path = user_config_path(os.environ)
    report.tell("done", undone=True, config=str(path), message=undo(path))
    return 0


def _set_up(options: argparse.Namespace, config: EngineConfig, report: Report) -> int:
    from decoding.cli.setup.alone import alone  # noqa: PLC0415
    from decoding.cli.setup.looking import recommended  # noqa: PLC0415 - brings torch

    path = user_config_path(os.environ)
    _check_settings(path)
    chosen = recommended(options.name, config, report)
    if options.dry_run:
        return 0
    if chosen.candidate.source != "in use" and not options.yes:
        if options.json or not (sys.stdin and sys.stdin.isatty() and sys.stdout.isatty()):
            report.tell("error", message="nothing was changed: 'tabcast setup --yes' does what is recommended")
            return EXIT_NOT_DONE
        if not _agrees(chosen):
            report.tell("error", message="nothing was changed; 'tabcast setup --model NAME' takes another model")
            return EXIT_NOT_DONE
    with alone(models_directory()):
        return _use(chosen, path, options.front_end, report)


def _check_settings(path: Path) -> None:
    """Find out before anything is measured or fetched whether what will be written can be, and will count."""
    from decoding.storage.user_config import with_engine_values  # noqa: PLC0415

    with_engine_values(path, {"model": "", "draft": ""})
    for variable in ("TABCAST_MODEL", "TABCAST_DRAFT"):
        if os.environ.get(variable):
            raise ConfigError(f"the variable {variable} is set, and counts before {path}: unset it")


def _agrees(chosen: Recommendation) -> bool:
    from decoding.storage.pulled import as_size  # noqa: PLC0415

    size = chosen.candidate.download_bytes
    sys.stdout.write(f"Fetch {as_size(size)} and use it? [Y/n] " if size else "Use it? [Y/n] ")
    sys.stdout.flush()
    answer = sys.stdin.readline()
    return answer.endswith("\n") and answer.strip().lower() in ("", "y", "yes")


def _use(chosen: Recommendation, path: Path, front_end: list[str], report: Report) -> int:
    from decoding.cli.choosing import values_for  # noqa: PLC0415
    from decoding.cli.setup import check  # noqa: PLC0415
    from decoding.cli.setup.looking import fetch_all  # noqa: PLC0415
    from decoding.cli.setup.writing import written  # noqa: PLC0415

    model = chosen.candidate
    is_new = model.source != "in use"
    fetch_all(model, report)
    values = values_for(model.name, model.draft) if is_new else {}
    with written(path, values) if is_new else nullcontext():
        if is_new:
            report.tell("progress", stage="write", done=1, total=1, message=f"written: {path}")
        report.tell("progress", stage="check", done=0, total=1, message="loading the model, and completing a line")
        try:
            found = check.complete_a_line(front_end)
        except BaseException:
            if is_new:
                check.stop_engine(front_end)
            raise
        report.tell("progress", stage="check", done=1, total=1, message="")
    report.tell(
        "done",
        model=model.name,
        completion=found.completion,
        config=str(path),
        prompt=check.PROMPT,
        message=found.reason,
        changed=is_new,
        undone=False,
    )
    return 0
