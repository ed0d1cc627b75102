"""Implements `tabcast train online`: the process in which a draft adapts to its user; reports and undoes it too."""

from __future__ import annotations

import argparse
import json
import logging
import os
import time
from contextlib import suppress
from typing import Any

import torch

from decoding import config as configuration
from decoding.errors import TabcastError
from decoding.models.listed import resolved
from decoding.service.learner import IDLE_S, MIN_NEW_ANSWERS
from decoding.storage.adaptation import AdaptationFolder
from decoding.training import online

log = logging.getLogger(__name__)

LOOK_EVERY_S = 15.0


def add_parser(steps: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parser of `online` below `train`."""
    text = "let the draft learn from what the target wrote for you (with the setting online = true)"
    step = steps.add_parser("online", help=text, description=text[0].upper() + text[1:] + ".")
    step.set_defaults(run=run)
    what = step.add_mutually_exclusive_group()
    what.add_argument("--once", action="store_true", help="learn now and end; else whenever enough is new")
    what.add_argument("--status", action="store_true", help="say what was kept and learnt")
    what.add_argument("--reset", action="store_true", help="remove the adapted draft and all that was kept")
    for name in ("model", "draft", "device"):
        step.add_argument(f"--{name}", help="as for an engine; the user's settings otherwise")
    step.add_argument("--minutes", type=float, default=online.MINUTES, help="the longest that a run may take")
    step.add_argument("--steps", type=int, default=online.NUM_STEPS, help="and its number of steps")
    step.add_argument("--rate-scale", type=float, default=online.RATE_SCALE, help="multiplies the learning rates")
    step.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> None:
    """Run the requested action. Raises `TabcastError`."""
    config = resolved(configuration.load({name: getattr(options, name) for name in ("model", "draft", "device")}))
    target, draft = config.model_path, config.draft_path
    if draft is None:
        raise TabcastError("there is no draft that could learn: name one with --draft")
    home = AdaptationFolder.of(target, draft)
    if options.reset:
        _print(options, {"removed": online.reset(home)})
    elif options.status:
        _print(options, _status(home, is_on=config.online))
    else:
        # Everything else on the machine has priority over learning.
        with suppress(AttributeError, OSError):  # Windows has no nice
            os.nice(19)
        device = ("cuda" if torch.cuda.is_available() else "cpu") if config.device == "auto" else config.device
        effort = online.Effort(
            steps=options.steps, minutes=options.minutes, rate_scale=options.rate_scale, device=device
        )
        while True:
            if options.once or _is_due(home):
                _print(options, online.adapt(home, target, draft, effort).to_json())
            if options.once:
                return
            time.sleep(LOOK_EVERY_S)


def _is_due(home: AdaptationFolder) -> bool:
    """Return whether there are enough new answers, and none came for a while."""
    try:
        idle_s = time.time() - home.answers.stat().st_mtime
    except OSError:
        return False
    return idle_s >= IDLE_S and home.num_written() - home.num_learnt() >= MIN_NEW_ANSWERS


def _status(home: AdaptationFolder, *, is_on: bool) -> dict[str, Any]:
    try:
        last = json.loads(home.report.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        last = None
    size = sum(path.stat().st_size for path in home.folder.rglob("*") if path.is_file()) if home.folder.exists() else 0
    return {
        "online": is_on,
        "folder": str(home.folder),
        "bytes": size,
        "answers": len(home.read_answers()),
        "adapted": home.draft.is_dir(),
        "last": last,
    }


def _print(options: argparse.Namespace, found: dict[str, Any]) -> None:
    if options.json:
        print(json.dumps(found), flush=True)  # noqa: T201
        return
    last = found.get("last")
    for name, value in {**found, **(last if isinstance(last, dict) else {})}.items():
        if name == "last" and value is not None:
            continue
        text = f"{value['share']:.1%}, {value['tokens_per_step']:.2f} tokens a step" if _is_agreement(value) else value
        print(f"{name.replace('_', ' ')}: {text}", flush=True)  # noqa: T201


def _is_agreement(value: object) -> bool:
    return isinstance(value, dict) and "tokens_per_step" in value
