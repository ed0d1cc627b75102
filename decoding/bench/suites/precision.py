"""Runs `tabcast bench precision`: what our kernels' arithmetic changes, beside the same weights in float32.

The kernels round activations to eight bits and multiply with a file's blocks as they are, or with blocks that a model
was rounded to. Spans of files are taken out, and both computations read the same prompts: the bits a character of the
spans are compared, and the likeliest token at each place.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import torch

from decoding.bench.harness.told_progress import ToldProgress
from decoding.bench.report import report
from decoding.bench.suites.infilling import LN2
from decoding.bench.suites.soundness import LANGUAGES, SAMPLES
from decoding.completion.completion import prompt_tokens
from decoding.config import NO_ROUNDING
from decoding.errors import TabcastError
from decoding.models.folder.model_folder import ModelFolder
from decoding.models.language_model import LanguageModel
from decoding.models.loading.model_set import ModelSet, load_model
from decoding.protocol import CompletionOptions, CompletionRequest

NUM_SPANS: Final = 42
SPAN_CHARACTERS: Final = (20, 160)
FLOAT32_ROWS: Final = 64  # chosen: a step reads all weights, which are large in float32
MAX_CHARACTERS: Final = 1600  # of a file, around a span: float32 is slow


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A text that was taken out of a file: the tokens of the prompt without it, its own, and its length."""

    prompt_ids: list[int]
    missing_ids: list[int]
    num_characters: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A model's view of a span: nats of the missing text, and of each place the choice and its lead over the next."""

    nats: float
    choices: list[int]
    leads: list[float]


def add_options(suite: argparse.ArgumentParser) -> None:
    """Add the options of this suite alone."""
    suite.add_argument("--data", type=Path, default=SAMPLES, metavar="FOLDER", help="files to take spans out of")
    suite.add_argument("--spans", type=int, default=NUM_SPANS, metavar="N", help="in all files together")


def run(options: argparse.Namespace, models: ModelSet, progress: ToldProgress) -> Iterable[report.Row]:
    """Yield a row for each computation, of the spans that both have read. Raises `TabcastError`."""
    spans = list(draw_spans(models, options.data, options.spans))
    if not spans:
        raise TabcastError(f"{options.data} holds no file in a known language: {', '.join(sorted(LANGUAGES))}")
    ours, theirs = list[Reading](), list[Reading]()
    _read_all(models.target, spans, "reading spans", progress, ours)
    progress.say("loading the same weights in float32")
    config = replace(options.selected, kernels="torch", dtype="float32", quantize=NO_ROUNDING, draft="none")
    folder = ModelFolder.read(config.model_path)
    exact = load_model(folder, config, models.target.device, torch.float32).model
    exact.capabilities = exact.capabilities.at_width(FLOAT32_ROWS)
    with suppress(KeyboardInterrupt):
        _read_all(exact, spans, "reading spans in float32", progress, theirs)
    if num_read := len(theirs):
        yield from compare(spans[:num_read], ours[:num_read], theirs)
    if num_read < len(spans):
        raise KeyboardInterrupt


def draw_spans(models: ModelSet, folder: Path, num_spans: int) -> Iterator[Span]:
    """Yield spans at random places, the same in every run, spread over the files."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in LANGUAGES and path.is_file())
    drawn = random.Random(0)  # noqa: S311 - no secret
    for number in range(num_spans if files else 0):
        path = files[number % len(files)]
        text = path.read_text(encoding="utf-8", errors="replace")
        start = drawn.randrange(max(1, len(text) - SPAN_CHARACTERS[0]))
        missing = text[start : start + drawn.randint(*SPAN_CHARACTERS)]
        missing_ids = models.encode(missing)
        end, half = start + len(missing), MAX_CHARACTERS // 2
        request = CompletionRequest(
            prompt=text[max(0, start - half) : start],
            suffix=text[end : end + half],
            max_tokens=len(missing_ids),
            tabcast=CompletionOptions(path=path.name, language=LANGUAGES[path.suffix], heal=False),
        )
        prompt_ids = prompt_tokens(models, request).ids
        yield Span(prompt_ids=prompt_ids, missing_ids=missing_ids, num_characters=len(missing))


@torch.inference_mode()
def read(model: LanguageModel, span: Span) -> Reading:
    """Compute the logits at all places of a span's prompt and text, step by step."""
    token_ids = [*span.prompt_ids, *span.missing_ids]
    cache, width = model.new_cache(), model.capabilities.step_width
    nats, choices, leads = 0.0, list[int](), list[float]()
    for start in range(0, len(token_ids) - 1, width):
        piece = token_ids[start : min(start + width, len(token_ids) - 1)]
        chances = model.step(piece, cache).float().log_softmax(-1)
        cache.commit(piece)
        most = chances.topk(2)
        choices += most.indices[:, 0].tolist()
        leads += (most.values[:, 0] - most.values[:, 1]).tolist()
        for row in range(len(piece)):
            if start + row + 1 >= len(span.prompt_ids):
                nats -= float(chances[row, token_ids[start + row + 1]])
    return Reading(nats=nats, choices=choices, leads=leads)


def compare(spans: Sequence[Span], ours: Sequence[Reading], theirs: Sequence[Reading]) -> Iterator[report.Row]:
    """Yield a row for each computation; ours tells the difference, and how clear the clearest other choice was."""
    characters = sum(span.num_characters for span in spans)
    places = [
        (mine == other, lead)
        for own, exact in zip(ours, theirs, strict=True)
        for mine, other, lead in zip(own.choices, exact.choices, exact.leads, strict=True)
    ]
    bits = [sum(reading.nats for reading in readings) / LN2 / characters for readings in (ours, theirs)]
    count = {"count": len(spans), "characters": characters, "places": len(places)}
    yield {
        "method": "as it is computed",
        **count,
        "bits_per_character": round(bits[0], 4),
        "difference_percent": round(100 * (bits[0] / bits[1] - 1), 3),
        "alike_percent": round(100 * sum(is_alike for is_alike, _ in places) / len(places), 2),
        "largest_gap": round(max((lead for is_alike, lead in places if not is_alike), default=0.0), 3),
    }
    yield {"method": "the same weights in float32", **count, "bits_per_character": round(bits[1], 4)}


def _read_all(
    model: LanguageModel, spans: Sequence[Span], what: str, progress: ToldProgress, found: list[Reading]
) -> None:
    task = progress.add_task(what, total=len(spans))
    for span in spans:
        found.append(read(model, span))
        progress.advance(task)
