"""Implements what `tabcast train draft --kind heads` has beyond other drafts: the trial, and where texts come from."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from decoding.errors import TabcastError
from decoding.training import heads_run
from decoding.training.draft import DraftRecipe
from decoding.training.pretrain import Recipe

log = logging.getLogger(__name__)


def add_arguments(step: argparse.ArgumentParser) -> None:
    """Add the options that are for heads alone."""
    step.add_argument(
        "--trial",
        action="store_true",
        help=f"heads: learn from at most {heads_run.TRIAL_TOKENS:,} tokens and say whether it pays; so does a run "
        "without --steps and --minutes",
    )
    step.add_argument("--text-tokens", type=int, help="heads: the tokens of text to learn from")
    step.add_argument(
        "--own-share", type=float, default=0.5, help="heads: how much of each text the target writes itself, from 0"
    )
    step.add_argument("--json", action="store_true", help="heads: print the trial's figures as JSON")


def run(wanted: DraftRecipe, options: argparse.Namespace, recipe: Callable[[], Recipe], checkpoint: Path) -> bool:
    """Make a trial, or a run of the recipe; return whether it is finished. Raises `TabcastError`."""
    if wanted.device == "cpu":
        with suppress(AttributeError, OSError):  # everything else on the machine goes first; Windows has no nice
            os.nice(19)
    if options.trial or (options.minutes is None and options.steps is None):
        _run_trial(wanted, options)
        return True
    return heads_run.train(wanted, options.data, recipe(), checkpoint).is_finished


def _run_trial(wanted: DraftRecipe, options: argparse.Namespace) -> None:
    found = heads_run.trial(wanted, options.data)
    if options.json:
        sys.stdout.write(json.dumps(found.to_json()) + "\n")
        return
    sys.stdout.write(f"{found}\n")
    if found.pays:
        log.info("heads are in %s; with --minutes the same command goes on to a long run", wanted.out)


def check(options: argparse.Namespace) -> None:
    """Raise `TabcastError` for options that can't be."""
    if not 0 <= options.own_share < 1:
        raise TabcastError(f"--own-share is from 0 to below 1, not {options.own_share}")
    if options.text_tokens is not None and options.text_tokens < 1:
        raise TabcastError(f"--text-tokens must be at least 1, not {options.text_tokens}")
