"""Runs `tabcast bench llama-cpp`: our greedy text and perplexity beside llama.cpp's, from one GGUF file.

The two multiply with other roundings (llama.cpp rounds activations to eight bits), so that texts part where two tokens
are nearly alike. A mistake in a forward pass parts them where they are not, or shows in the perplexity.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from rich.progress import Progress

from decoding.bench.harness import llama_server
from decoding.bench.harness.llama_server import Chosen
from decoding.bench.metrics.likelihood import logits_before
from decoding.bench.report import report
from decoding.errors import TabcastError
from decoding.models.loading.model_set import ModelSet

PROMPT_TOKENS: Final = 160
CHUNK: Final = 512  # llama-perplexity's own; the second half of each chunk counts
ROOM: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Parting:
    """Where two greedy texts part: the place, both tokens, and how near the call was for each, in nats."""

    at: int
    ours: int
    theirs: int
    our_gap: float
    their_gap: float | None


def add_options(suite: argparse.ArgumentParser) -> None:
    """Add the options of this suite alone."""
    suite.add_argument("--text", type=Path, nargs="+", required=True, metavar="FILE", help="what is read and continued")
    suite.add_argument("--prompts", type=int, default=40, metavar="N", help="places of the text that are continued")
    suite.add_argument("--max-tokens", type=int, default=64, metavar="N")
    suite.add_argument("--llama-server", default="llama-server", metavar="PROGRAM")
    suite.add_argument(
        "--llama-perplexity", default="llama-perplexity", metavar="PROGRAM", help="or none: compare greedy text alone"
    )


def run(options: argparse.Namespace, models: ModelSet, progress: Progress) -> Iterable[report.Row]:
    """Yield a row for all greedy texts, one for each that parts, and one for the perplexity."""
    file = options.selected.model_path
    if not file.is_file():
        raise TabcastError("this suite compares one GGUF file: name it by --model")
    try:
        text = "".join(path.read_text(encoding="utf-8") for path in options.text)
    except (OSError, UnicodeDecodeError) as error:
        raise TabcastError(f"a text can't be read: {error}") from None
    yield from _greedy(options, models, file, models.encode(text), progress)
    if options.llama_perplexity != "none":
        yield _perplexity(options, models, file, text, progress)


def _greedy(
    options: argparse.Namespace, models: ModelSet, file: Path, token_ids: Sequence[int], progress: Progress
) -> Iterator[report.Row]:
    prompts = prompts_of(token_ids, options.prompts)
    prompts = [[*models.layout.begin_ids, *prompt] for prompt in prompts]
    task = progress.add_task("greedy text", total=len(prompts))
    partings: list[tuple[int, Parting]] = []
    differences: list[float] = []
    lengths: list[int] = []
    max_len = PROMPT_TOKENS + options.max_tokens + ROOM
    with llama_server.serve(options.llama_server, file, max_len=max_len, threads=torch.get_num_threads()) as server:
        for number, prompt in enumerate(prompts):
            theirs = server.complete(prompt, options.max_tokens)
            parting, apart = compare(models, prompt, theirs)
            differences += apart
            lengths.append(parting.at if parting else len(theirs))
            partings += [(number, parting)] if parting else []
            progress.advance(task)
    yield {
        "method": "greedy text",
        "count": len(prompts),
        "identical_percent": round(100 * (1 - len(partings) / len(prompts)), 1),
        "tokens_alike": round(sum(lengths) / len(lengths), 1),
        "log_probability_difference": round(sum(differences) / max(1, len(differences)), 4),
        "our_gap": max((parting.our_gap for _, parting in partings), default=None),
        "their_gap": max((gap for _, parting in partings if (gap := parting.their_gap) is not None), default=None),
        "settings": "tokens until a text parts; mean difference of log-probabilities; the largest gaps",
    }
    for number, parting in partings:
        pieces = [
            models.tokenizer.decode([token], skip_special_tokens=False) for token in (parting.ours, parting.theirs)
        ]
        yield {
            "method": f"prompt {number} parts",
            "tokens_alike": parting.at,
            "our_gap": parting.our_gap,
            "their_gap": parting.their_gap,
            "settings": f"ours {pieces[0]!r}, llama.cpp's {pieces[1]!r}",
        }


def prompts_of(token_ids: Sequence[int], count: int) -> list[list[int]]:
    """Return `count` pieces of a text, evenly spread. Raises `TabcastError` where there is too little of it."""
    room = len(token_ids) - PROMPT_TOKENS
    if room < count:
        raise TabcastError(f"the text has {len(token_ids):,} tokens, too few for {count} prompts of {PROMPT_TOKENS}")
    starts = [room * number // count for number in range(count)]
    return [list(token_ids[start : start + PROMPT_TOKENS]) for start in starts]


def compare(
    models: ModelSet, prompt_ids: Sequence[int], theirs: Sequence[Chosen]
) -> tuple[Parting | None, list[float]]:
    """Follow llama.cpp's tokens until ours differ.

    Returns where the two part, if they do, and for each token before that how far apart the two log-probabilities of it
    are.
    """
    apart: list[float] = []
    their_ids = [chosen.token_id for chosen in theirs]
    cache = models.target.new_cache()
    for at, logits in enumerate(logits_before(models.target, cache, prompt_ids, their_ids)):
        chances = logits.log_softmax(-1)
        (first, second), (ours, _) = (item.tolist() for item in chances.topk(2))
        if ours != their_ids[at]:
            their_gap = theirs[at].gap
            parting = Parting(
                at=at,
                ours=ours,
                theirs=their_ids[at],
                our_gap=round(first - second, 4),
                their_gap=None if their_gap is None else round(their_gap, 4),
            )
            return parting, apart
        told = theirs[at].log_probability
        apart += [] if told is None else [abs(first - told)]
    return None, apart


def _perplexity(options: argparse.Namespace, models: ModelSet, file: Path, text: str, progress: Progress) -> report.Row:
    chunks = chunks_of(models, text)
    threads = torch.get_num_threads()
    theirs, count = llama_server.perplexity(options.llama_perplexity, file, text, chunk=CHUNK, threads=threads)
    if count != len(chunks):
        raise TabcastError(f"llama.cpp cuts the text into {count} chunks and we into {len(chunks)}: tokens differ")
    task = progress.add_task("perplexity", total=len(chunks))
    nats, num_scored = 0.0, 0
    for chunk in chunks:
        nats += chunk_nats(models, chunk)
        num_scored += CHUNK // 2 - 1
        progress.advance(task)
    ours = math.exp(nats / num_scored)
    return {
        "method": "perplexity",
        "count": num_scored,
        "ours": round(ours, 4),
        "llama_cpp": theirs,
        "difference_percent": round(100 * (ours / theirs - 1), 3),
    }


def chunks_of(models: ModelSet, text: str) -> list[list[int]]:
    """Cut a text as llama-perplexity does: whole chunks alone, each of which begins as every text does."""
    begin = list(models.layout.begin_ids)
    token_ids = [*begin, *models.encode(text)]
    cuts = range(0, len(token_ids) // CHUNK * CHUNK, CHUNK)
    chunks = [token_ids[start : start + CHUNK] for start in cuts]
    return [[*begin, *chunk[len(begin) :]] for chunk in chunks]


def chunk_nats(models: ModelSet, chunk: Sequence[int]) -> float:
    """Return the negative log-likelihood of a chunk's second half, in nats."""
    read, scored = chunk[: CHUNK // 2 + 1], chunk[CHUNK // 2 + 1 :]
    rows = logits_before(models.target, models.target.new_cache(), read, scored)
    return -sum(float(logits.log_softmax(-1)[token]) for logits, token in zip(rows, scored, strict=True))
