"""Prepares what `tabcast bench decode` decodes: prompts of several suites, and answers that are given, not chosen.

A whole-file rewrite is no work for a model that only completes. There the text is given, and every method generates it:
the target computes each row, and is overruled at each position by the text. So time and acceptance are real, and the
text says nothing of the model.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from decoding.bench.harness import data
from decoding.completion.completion import prompt_tokens
from decoding.errors import TabcastError
from decoding.models.language_model import Cache, LanguageModel, steps_chains
from decoding.models.loading.model_set import ModelSet
from decoding.protocol import CompletionRequest

PROMPTS = Path(__file__).parent / "prompts.jsonl"
REWRITES = Path(__file__).parent / "rewrites.jsonl"
MIN_PROMPT_TOKENS = 8
# Stands between the file as it was and its new form.
SEPARATOR = "\n\n# The same file again, changed:\n"


@dataclass(frozen=True, slots=True)
class DecodePrompt:
    """A prompt's tokens; `answer_ids` is empty where the model chooses its own."""

    prompt_ids: list[int]
    answer_ids: tuple[int, ...] = ()


Suite = Callable[[argparse.Namespace, ModelSet], list[DecodePrompt]]


def read(options: argparse.Namespace, models: ModelSet) -> list[DecodePrompt]:
    """Return the tasks of `options.suite_name`, as far as the model has room for them. Raises `TabcastError`."""
    tasks = SUITES[options.suite_name](options, models)
    found = [task for task in tasks if len(task.prompt_ids) >= MIN_PROMPT_TOKENS]
    if not found:
        raise TabcastError(f"{options.data or options.suite_name}: no prompt has {MIN_PROMPT_TOKENS} tokens or more")
    return found


def _continued(options: argparse.Namespace, models: ModelSet) -> list[DecodePrompt]:
    return _cut(data.read_prompts(options.data or PROMPTS, options.limit), options, models)


def _spec_bench(options: argparse.Namespace, models: ModelSet) -> list[DecodePrompt]:
    return _cut(data.read_spec_bench(_file(options), options.limit), options, models)


def _infilling(options: argparse.Namespace, models: ModelSet) -> list[DecodePrompt]:
    rows = data.read_infilling(_file(options), options.limit)
    return [DecodePrompt(_laid_out(models, row.prompt, row.suffix, options.max_tokens)) for row in rows]


def _replay(options: argparse.Namespace, models: ModelSet) -> list[DecodePrompt]:
    rows = data.read_replay(_file(options), options.limit)
    return [DecodePrompt(_laid_out(models, row.prefix, row.suffix, options.max_tokens)) for row in rows]


def _rewrites(options: argparse.Namespace, models: ModelSet) -> list[DecodePrompt]:
    tasks: list[DecodePrompt] = []
    for _, before, after in data.read_rewrites(options.data or REWRITES, options.limit):
        prompt_ids, answer_ids = models.encode(before + SEPARATOR), models.encode(after)
        if len(prompt_ids) + len(answer_ids) + models.target.capabilities.step_width < models.target.shape.max_len:
            tasks.append(DecodePrompt(prompt_ids, tuple(answer_ids)))
    return tasks


SUITES: dict[str, Suite] = {
    "builtin": _continued,
    "infilling": _infilling,
    "replay": _replay,
    "rewrites": _rewrites,
    "spec-bench": _spec_bench,
}


def _cut(prompts: Sequence[tuple[str, str]], options: argparse.Namespace, models: ModelSet) -> list[DecodePrompt]:
    """Cut each prompt to the end that the model has room for."""
    room = models.target.shape.max_len - options.max_tokens - models.target.capabilities.step_width
    return [DecodePrompt(models.encode(prompt)[-room:]) for _, prompt in prompts]


def _file(options: argparse.Namespace) -> Path:
    if options.data is None:
        raise TabcastError(f"--suite {options.suite_name} needs --data FILE")
    file: Path = options.data
    return file


def _laid_out(models: ModelSet, prefix: str, suffix: str, max_tokens: int) -> list[int]:
    return prompt_tokens(models, CompletionRequest(prompt=prefix, suffix=suffix, max_tokens=max_tokens)).ids


class GivenTarget:
    """A target that chooses, at each position, the token of a given text."""

    def __init__(self, inner: LanguageModel, prompt_len: int, answer_ids: Sequence[int]) -> None:
        self._inner = inner
        self._prompt_len = prompt_len
        self._answer_ids = answer_ids

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    @torch.inference_mode()
    def step(self, token_ids: Sequence[int], cache: Cache) -> torch.Tensor:
        """Compute the target's logits (T, V) and overrule its choice at each row."""
        logits = self._inner.step(token_ids, cache)
        return self._overruled(logits, len(cache))

    @torch.inference_mode()
    def step_chains(self, chains: Sequence[Sequence[int]], cache: Cache) -> list[torch.Tensor]:
        """Compute the target's logits of several chains and overrule its choice at each row."""
        assert steps_chains(self._inner)
        return [self._overruled(logits, len(cache)) for logits in self._inner.step_chains(chains, cache)]

    def _overruled(self, logits: torch.Tensor, start: int) -> torch.Tensor:
        for row in range(len(logits)):
            at = start + row + 1 - self._prompt_len
            if 0 <= at < len(self._answer_ids):
                logits[row, self._answer_ids[at]] = torch.inf
        return logits
