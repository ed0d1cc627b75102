"""Plays the demo with real models: suggestions in several languages, then all ways of drafting side by side.

Suggestions are printed as they come. The language server is asked first, so that it meets every file as an editor
does that has just opened it. Then some of the prompts are decoded by each method, by an engine that has read the prompt
and does not remember an answer to it: a remembered answer would be an easy draft of itself.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from decoding.protocol import AUTO, PLAIN, CompletionOptions, CompletionRequest, CompletionStats, Method
from lsp_server.cli.demo.live_report import LiveReport
from lsp_server.cli.demo.outcome import Measured, RealOutcome
from lsp_server.cli.demo.provision import provided_arguments
from lsp_server.cli.demo.real_scenes import MEASURED, REAL_SCENES, STATIONS
from lsp_server.cli.demo.scenes import Scene
from lsp_server.cli.demo.stage import Stage, cancel_on_sigterm, stage
from lsp_server.cli.parser import engine_arguments
from lsp_server.completion.build_request import build_request
from lsp_server.settings import Settings

# `auto` goes first: on a GPU it has a drafter that remembers what the others wrote.
METHODS: Final[tuple[Method, ...]] = (AUTO, PLAIN, "lookup", "draft")
MEASURED_TOKENS: Final = 40
# So few tokens make the models read the prompt, and are all that is remembered of the answer before.
SETTLING_TOKENS: Final = 2


# The demo asks the moment that it has opened a file, when nothing is read ahead. All of it is read all the same, and on
# a slow machine for as long as that takes: what is suggested must not depend on the machine, and the time is told.
SETTINGS: Final = {"deadlineMs": 300_000, "latencyMs": 0}


async def play(options: argparse.Namespace, directory: Path) -> RealOutcome:
    """Provide the models, show all suggestions as they come, then the figures."""
    cancel_on_sigterm()
    arguments = engine_arguments(options)
    if options.model is None:
        arguments = (*arguments, *await provided_arguments())
    with LiveReport(as_json=options.json) as report:
        started = time.perf_counter()
        report.tell_progress("starting the language server and the engine")
        async with stage(STATIONS, arguments, directory, SETTINGS) as here:
            start_seconds = time.perf_counter() - started
            report.write_head(here.health, start_seconds)
            shown = []
            for scene in REAL_SCENES:
                report.tell_progress(f"asking at a cursor in {scene.file}")
                shown.append(await here.show(scene))
                report.write_scene(shown[-1])
            report.tell_progress("decoding by each method")
            measured = [await _measure(here, scene) for scene in MEASURED]
        outcome = RealOutcome(
            engine=here.health,
            start_seconds=start_seconds,
            shown=shown,
            measured=measured,
            seconds=time.perf_counter() - started,
        )
        report.write_end(outcome)
    return outcome


async def _measure(here: Stage, scene: Scene) -> Measured:
    request = _request(scene)
    found: dict[Method, CompletionStats] = {}
    for method in METHODS:
        await here.decode(_by(request, "draft", SETTLING_TOKENS))
        found[method] = await here.decode(_by(request, method, MEASURED_TOKENS))
    return Measured(scene=scene, stats=found)


def _request(scene: Scene) -> CompletionRequest:
    snapshot, cursor = scene.snapshot()
    options = CompletionOptions(session=f"measured:{scene.file}")
    return build_request(snapshot, cursor, "block", Settings(), [scene.project.as_uri()], options=options)


def _by(request: CompletionRequest, method: Method, num_tokens: int) -> CompletionRequest:
    options = replace(request.tabcast, method=method, line_mode="free", confidence=False)
    return replace(request, max_tokens=num_tokens, tabcast=options)
