"""Plays the demo with the shipped pair, or whatever models the command line names.

At several cursors the engine is asked for text, once with speculative and once with plain decoding, which must give the
same tokens; then the language server is asked for suggestions there. Speculative decoding goes first, before plain
decoding and before the editor's requests: an engine remembers its answers, and a remembered answer would be an easy
draft of itself.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Final

from decoding.protocol import CompletionOptions, CompletionRequest, CompletionStats, Method
from lsp_server.cli.demo import report
from lsp_server.cli.demo.outcome import Comparison, Outcome
from lsp_server.cli.demo.scenes import PROJECT, SCENES, Scene
from lsp_server.cli.demo.stage import Stage, cancel_on_sigterm, stage
from lsp_server.cli.parser import engine_arguments

COMPARED_TOKENS: Final = 48
WARM_UP: Final = CompletionRequest(
    prompt="def width(size):\n    return size[0]\n\n\ndef height(size):\n    return size[1]\n\n\ndef area(",
    tabcast=CompletionOptions(path="shapes.py", language="python"),
)


async def play(options: argparse.Namespace, directory: Path) -> Outcome:
    """Ask at all cursors, then print the results."""
    cancel_on_sigterm()
    with report.progress(as_json=options.json):
        async with stage(PROJECT, engine_arguments(options), directory) as here:
            await _decode(here, WARM_UP, "auto")  # the first rounds of a process are slower than all others
            comparisons = [await _compare(here, scene) for scene in SCENES]
            shown = [await here.show(scene) for scene in SCENES]
    outcome = Outcome(engine=here.health, shown=shown, comparisons=comparisons)
    report.write(outcome, as_json=options.json)
    return outcome


async def _compare(here: Stage, scene: Scene) -> Comparison:
    prefix, suffix = scene.prefix_and_suffix()
    # The path has the project's name, which the editor leaves out: so its prompts can't reuse the beginning of these.
    options = CompletionOptions(path=f"{PROJECT.name}/{scene.file}", language=scene.language)
    request = CompletionRequest(prompt=prefix, suffix=suffix, tabcast=options)
    speculative = await _decode(here, request, "auto")
    return Comparison(scene=scene, plain=await _decode(here, request, "plain"), speculative=speculative)


async def _decode(here: Stage, wanted: CompletionRequest, method: Method) -> CompletionStats:
    options = replace(wanted.tabcast, session=f"{method}:{wanted.tabcast.path}", line_mode="free", method=method)
    return await here.decode(replace(wanted, max_tokens=COMPARED_TOKENS, tabcast=options))
