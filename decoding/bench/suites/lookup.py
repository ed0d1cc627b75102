"""Runs `tabcast bench lookup`: measures what finding drafts costs the host, by how much code is searched.

Needs no model. Code is taken from folders, Python's own and what is installed by default; every twentieth file is held
out, and its tokens are looked for at random places. Where a size is more than was read, copies stand in with their
tokens exchanged, so that no two copies match each other.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sysconfig
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from rich.progress import Progress
from tokenizers import Tokenizer

from decoding.bench.report import report
from decoding.datastore import files
from decoding.datastore.suffix_array import SuffixArray, Tokens, sort_places
from decoding.drafters.prompt_lookup import PromptLookup
from decoding.drafters.suffix import SuffixDrafter
from decoding.drafters.suffix_automaton import LiveText
from decoding.errors import TabcastError
from decoding.models.folder.tokenizer_files import load_tokenizer
from decoding.speculation.drafting import Drafter, DraftRequest, Outcome

READ_MB = 10
HELD_OUT = 20
NUM_ROUNDS = 3200
BUDGET = 8
PROMPT_IDS = 1000
NUM_EMITTED = 64
MAX_FILE_CHARACTERS = 256 * 1024


def add_options(suite: argparse.ArgumentParser) -> None:
    """Add the options of this suite alone."""
    folders = [Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib")]
    suite.add_argument("--data", type=Path, nargs="+", default=folders, metavar="DIR", help="folders of Python code")
    suite.add_argument("--sizes", type=_megabytes, nargs="+", default=[1, 10, 100], metavar="MB", help="of code")


def run(options: argparse.Namespace, _models: None, progress: Progress) -> Iterable[report.Row]:
    """Yield a row for drafters that need no datastore, and one for each size of datastore. Raises `TabcastError`."""
    tokenizer = load_tokenizer(options.selected.model_path)
    task = progress.add_task("reading", total=None)
    wanted = min(READ_MB, max(options.sizes)) * 1_000_000
    known, unknown, num_characters = _read(options.data, tokenizer, wanted, lambda: progress.advance(task))
    yield _row("lookup: the prompt", PromptLookup(), unknown)
    live = LiveText()
    began = time.perf_counter()
    live.open().write(learnt := known[: len(known) // 2][:40_000].tolist())
    learnt_us = (time.perf_counter() - began) / len(learnt) * 1e6
    yield {
        **_row("suffix: live text", SuffixDrafter(lambda: live, tuple), unknown),
        "tokens": len(learnt),
        "learn_us_per_token": round(learnt_us, 2),
    }
    vocabulary = tokenizer.get_vocab_size()
    for megabytes in options.sizes:
        tokens = _of_size(known, int(len(known) * megabytes * 1e6 / num_characters), vocabulary)
        yield _datastore_row(megabytes, tokens, vocabulary, unknown)


def _datastore_row(megabytes: float, tokens: Tokens, separator: int, unknown: Sequence[int]) -> report.Row:
    began = time.perf_counter()
    order = sort_places(tokens)
    sort_s = time.perf_counter() - began
    with TemporaryDirectory(prefix="tabcast-lookup-") as folder:
        manifest = files.Manifest(
            name="bench",
            tokenizer="0" * 64,
            num_tokens=len(tokens),
            token_bytes=tokens.itemsize,
            separator=separator,
        )
        path = files.write(Path(folder), manifest, tokens, order)
        began = time.perf_counter()
        store = files.open_datastore(path, manifest.tokenizer)
        open_ms = (time.perf_counter() - began) * 1e3
        return {
            **_row(f"suffix: {megabytes:g} MB", SuffixDrafter(LiveText, lambda: [store]), unknown),
            "tokens": len(tokens),
            "sort_s": round(sort_s, 2),
            "disk_mb": round(path.stat().st_size / 1e6, 1),
            "open_ms": round(open_ms, 2),
            "search_us": _search_us(store, unknown),
        }


def _search_us(store: SuffixArray, unknown: Sequence[int]) -> float:
    """Return the median microseconds of one search and of reading its matches, without the drafter around it."""
    drawn = random.Random(1)  # noqa: S311 - no secret
    times = []
    for _ in range(NUM_ROUNDS):
        end = drawn.randrange(64, len(unknown))
        recent = unknown[end - 32 : end]
        began = time.perf_counter()
        store.find(recent, BUDGET, 2)
        times.append((time.perf_counter() - began) * 1e6)
    return round(statistics.median(times), 1)


def _row(method: str, drafter: Drafter, unknown: Sequence[int]) -> report.Row:
    """Draft at random places of unknown code, whose next tokens are emitted, and report microseconds a round."""
    # No place lies within another's prompt: text learnt from one must not be the answer at another.
    places = list(range(PROMPT_IDS, len(unknown) - NUM_EMITTED, PROMPT_IDS + NUM_EMITTED))
    random.Random(0).shuffle(places)  # noqa: S311 - no secret
    rounds: list[float] = []
    first_rounds: list[float] = []
    proposed = num_right = 0
    for place in places[: NUM_ROUNDS // NUM_EMITTED]:
        drafter.begin(DraftRequest(prompt_ids=unknown[place - PROMPT_IDS : place]))
        for number in range(NUM_EMITTED):
            began = time.perf_counter()
            draft = drafter.propose(BUDGET)
            passed = time.perf_counter() - began
            right = unknown[place + number]
            began = time.perf_counter()
            drafter.observe(Outcome(emitted_ids=(right,), num_accepted=0, draft=draft))
            passed += time.perf_counter() - began
            (rounds if number else first_rounds).append(passed * 1e6)
            proposed += bool(draft.leading.token_ids)
            num_right += draft.leading.token_ids[:1] == (right,)
        drafter.close()
    return {
        "method": method,
        "us_per_round": round(statistics.median(rounds), 1),
        "us_per_round_p95": round(statistics.quantiles(rounds, n=20)[-1], 1),
        "us_first_round": round(statistics.median(first_rounds), 1),
        "proposes_percent": round(100 * proposed / (len(rounds) + len(first_rounds)), 1),
        "first_token_right_percent": round(100 * num_right / max(1, proposed), 1),
    }


def _read(
    folders: Sequence[Path], tokenizer: Tokenizer, wanted: float, on_file: Callable[[], None]
) -> tuple[Tokens, list[int], int]:
    """Return the tokens of code to search, a separator behind each file, the held-out tokens, and characters read."""
    paths = sorted(path for folder in folders for path in folder.rglob("*.py"))
    random.Random(0).shuffle(paths)  # noqa: S311 - no secret
    separator = tokenizer.get_vocab_size()
    known: list[Tokens] = []
    unknown: list[int] = []
    num_characters = 0
    for number, path in enumerate(paths):
        if num_characters >= wanted:
            break
        text = path.read_text(encoding="utf-8", errors="replace")
        if len(text) > MAX_FILE_CHARACTERS:
            continue
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        if number % HELD_OUT == 0:
            unknown += ids
        else:
            known.append(np.array([*ids, separator], dtype=files.token_type(separator)))
            num_characters += len(text)
        on_file()
    if len(unknown) < 2 * (PROMPT_IDS + NUM_EMITTED) or not known:
        raise TabcastError("too little code below the folders of --data")
    return np.concatenate(known), unknown, num_characters


def _of_size(tokens: Tokens, size: int, vocabulary: int) -> Tokens:
    """Return so many of the tokens. Beyond the end come copies, each with its tokens exchanged in another way."""
    parts = [tokens[:size]]
    while (missing := size - sum(map(len, parts))) > 0:
        exchanged = np.append(np.random.default_rng(len(parts)).permutation(vocabulary), vocabulary)
        parts.append(exchanged[tokens[:missing]].astype(tokens.dtype))
    return np.concatenate(parts)


def _megabytes(text: str) -> float:
    number = float(text)
    if not 0 < number <= 2000:
        raise argparse.ArgumentTypeError(f"expected up to 2000 MB, got {text}")
    return number
