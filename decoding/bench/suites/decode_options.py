"""The options of `tabcast bench decode`, some of which other suites have, too."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from decoding.bench.harness import baselines, decode_prompts, llama_cpp, random_models
from decoding.bench.suites import decode
from decoding.protocol import ProtocolError, check_method

METHODS_HELP = f"of {', '.join(decode.ALL_METHODS)}; drafters together are joined by +; all: each of them"


def _parse_shares(text: str) -> list[float]:
    return [_parse_share(word) for word in text.split(",")]


def parse_counts(text: str) -> list[int]:
    """Return the numbers in a list of an option."""
    return [int(word) for word in text.split(",")]


def _parse_share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 to 1")
    return share


def _parse_methods(text: str) -> list[str]:
    names = list(decode.ALL_METHODS) if text == "all" else [word.strip() for word in text.split(",") if word.strip()]
    try:
        return [check_method(name) for name in names]
    except ProtocolError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _names(known: Iterable[str], groups: Mapping[str, Sequence[str]]) -> Callable[[str], list[str]]:
    allowed = list(known)

    def parse(text: str) -> list[str]:
        words = allowed if text == "all" else [word.strip() for word in text.split(",") if word.strip()]
        names = [name for word in words for name in groups.get(word, [word])]
        for name in names:
            if name not in allowed:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join([*groups, *allowed])}, all")
        return names

    return parse


parse_baselines = _names((*baselines.NAMES, *llama_cpp.NAMES), {llama_cpp.SELECTOR: llama_cpp.NAMES})


def add_options(suite: argparse.ArgumentParser) -> None:
    """Add the options of this suite alone."""
    suite.add_argument(
        "--suite",
        dest="suite_name",
        choices=decode_prompts.SUITES,
        default="builtin",
        help="what is decoded: prompts, of --data if it is given; holes in files, insertions of commits or the coding"
        " rows of Spec-Bench, of --data; whole files rewritten",
    )
    suite.add_argument("--data", type=Path, help="rows of the suite's form; our own small sets by default")
    suite.add_argument("--max-tokens", type=int, default=64, metavar="N")
    suite.add_argument(
        "--repeats",
        type=int,
        default=0,
        metavar="N",
        help=f"of each run (default: up to {decode.MOST_REPEATS}, as many as {decode.ENOUGH_S:g} seconds allow)",
    )
    suite.add_argument(
        "--draft-has-read",
        action="store_true",
        help="the draft model has read each prompt before, as it does while an engine is idle; else its reading counts",
    )
    suite.add_argument(
        "--methods", type=_parse_methods, default=list(decode.USUAL_METHODS), metavar="A,B+C", help=METHODS_HELP
    )
    add_baseline_options(suite)
    add_shape_options(suite)
    suite.add_argument("--prompt-tokens", type=int, default=512, metavar="N", help="with --shape: of random prompts")
    suite.add_argument(
        "--synthetic-acceptance",
        type=_parse_shares,
        default=[],
        metavar="P,Q",
        help="drafted tokens stand at these rates, by decree",
    )


def add_baseline_options(suite: argparse.ArgumentParser) -> None:
    """Add the choice of programs that are compared with."""
    suite.add_argument("--baselines", type=parse_baselines, default=[], metavar="A,B")
    suite.add_argument(
        "--llama-server",
        type=Path,
        metavar="PATH",
        help="llama.cpp's llama-server, for its baselines; else the package xllamacpp, which knows fewer instructions",
    )


def add_shape_options(suite: argparse.ArgumentParser) -> None:
    """Add options for models of random weights, for suites that time and don't judge."""
    suite.add_argument(
        "--shape", choices=random_models.SHAPES, help="random weights at this model's size, for step times"
    )
    suite.add_argument("--draft-shape", choices=random_models.SHAPES, help="with --shape: a draft model, random too")
    suite.add_argument(
        "--context", type=parse_counts, default=[], metavar="N,M", help="with --shape: lengths of random prompts"
    )
