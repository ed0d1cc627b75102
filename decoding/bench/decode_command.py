"""`tabcast bench decode` as a command: its options, the decoders that they ask for, and its rows."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.progress import Progress

from decoding.bench import baselines, data, decode, llama_cpp, report
from decoding.config import EngineConfig
from decoding.errors import TabcastError
from decoding.models.pair import ModelSet

PROMPTS = Path(__file__).parent / "prompts.jsonl"
MIN_PROMPT_TOKENS = 8


def add_options(suite: argparse.ArgumentParser) -> None:
    """The options of this suite alone."""
    suite.add_argument("--data", type=Path, default=PROMPTS, help="rows with `prompt`; our own small set by default")
    suite.add_argument("--max-tokens", type=int, default=64, metavar="N")
    suite.add_argument("--methods", type=_parse_methods, default=list(decode.OWN_METHODS), metavar="A,B")
    suite.add_argument("--baselines", type=parse_baselines, default=[], metavar="A,B")


def run(options: argparse.Namespace, models: ModelSet, progress: Progress) -> Iterable[report.Row]:
    """Measure, and yield a row a method. Raises `TabcastError`."""
    prompts = _prompts(options, models)
    names = [decode.PLAIN, *(name for name in options.methods if name != decode.PLAIN)]
    decoders = decode.methods(models, names, options.max_tokens)
    with ExitStack() as stack:
        for name, generate in _baselines(options, models, stack).items():
            decoders[name] = decode.from_baseline(generate)
        task = progress.add_task("decoding", total=len(prompts) * len(decoders) * decode.REPEATS)
        runs = decode.measure(prompts, decoders, lambda: progress.advance(task))
    if not runs[decode.PLAIN]:
        raise KeyboardInterrupt
    for row in decode.rows(runs, prompts):
        yield {**row, "settings": _settings(row["method"])}
    if len(runs[decode.PLAIN]) < len(prompts):
        raise KeyboardInterrupt


def _prompts(options: argparse.Namespace, models: ModelSet) -> list[list[int]]:
    room = models.target.shape.max_len - options.max_tokens - models.target.step_width
    encoded = (models.encode(prompt)[-room:] for _, prompt in data.read_prompts(options.data, options.limit))
    prompts = [ids for ids in encoded if len(ids) >= MIN_PROMPT_TOKENS]
    if not prompts:
        raise TabcastError(f"{options.data}: no prompt has {MIN_PROMPT_TOKENS} tokens or more")
    return prompts


def _baselines(options: argparse.Namespace, models: ModelSet, stack: ExitStack) -> dict[str, baselines.Generate]:
    config: EngineConfig = options.selected
    found: dict[str, baselines.Generate] = {}
    if of_transformers := [name for name in options.baselines if name in baselines.NAMES]:
        theirs = baselines.load(config.model_path, config.draft_path, models.target.device, models.target.dtype)
        found |= baselines.generators(of_transformers, theirs, options.max_tokens)
    if of_llama_cpp := [name for name in options.baselines if name in llama_cpp.NAMES]:
        found |= stack.enter_context(
            llama_cpp.generators(
                config.model_path,
                config.draft_path,
                of_llama_cpp,
                num_tokens=options.max_tokens,
                max_len=models.target.shape.max_len,
            )
        )
    return found


def _settings(method: str) -> str:
    if method in baselines.NAMES:
        return baselines.describe(method)
    return llama_cpp.describe(method) if method in llama_cpp.NAMES else ""


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


_parse_methods = _names(decode.OWN_METHODS, {})
parse_baselines = _names((*baselines.NAMES, *llama_cpp.NAMES), {llama_cpp.SELECTOR: llama_cpp.NAMES})
