"""`tabcast bench infilling`: what the model writes into a hole, against what stood there.

Nothing here ever cuts an answer by the gold's length (that inflates scores: https://arxiv.org/abs/2410.03103).
Raw texts and those that an editor would show are scored apart; the second come from the front end's own filters,
through a process of their own, since the engine may not know them.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch

from decoding.bench import metrics
from decoding.bench.data import InfillingRow
from decoding.complete import Session, complete, prompt_tokens
from decoding.models.pair import ModelSet
from decoding.protocol import CompletionOptions, CompletionRequest
from decoding.speculate import read_prompt

LN2 = 0.6931471805599453


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One row's raw text, and the nats that its gold text costs the model."""

    row: InfillingRow
    text: str
    gold_nats: float


def answer(
    models: ModelSet,
    rows: Sequence[InfillingRow],
    max_tokens: int,
    on_row: Callable[[Answer], None],
    *,
    heal: bool = True,
) -> None:
    """Complete and score each row; `on_row` gets them one by one, so that an interrupted run keeps what it has."""
    session = Session(models)
    for row in rows:
        request = CompletionRequest(
            prompt=row.prompt,
            suffix=row.suffix,
            max_tokens=max_tokens,
            tabcast=CompletionOptions(path="solution.py", language="python", line_mode="block", heal=heal),
        )
        pieces = complete(models, session, request, prompt_tokens(models, request))
        text = "".join(piece.text for piece in pieces)
        on_row(Answer(row=row, text=text, gold_nats=gold_nats(models, session, _whole(models, request), row)))


def _whole(models: ModelSet, request: CompletionRequest) -> list[int]:
    """The prompt with nothing taken back: likelihoods are of the gold text as it follows the cursor."""
    return prompt_tokens(models, replace(request, tabcast=replace(request.tabcast, heal=False))).ids


@torch.inference_mode()
def gold_nats(models: ModelSet, session: Session, prompt_ids: list[int], row: InfillingRow) -> float:
    """Negative log-likelihood of the gold text after the prompt, in nats; tokens as they meet at the cursor."""
    gold_ids = models.encode(row.gold)
    gold_ids = gold_ids[: models.target.shape.max_len - len(prompt_ids)]
    for _ in read_prompt(models.target, session.cache, prompt_ids):
        pass
    width = models.target.step_width
    pending = [*prompt_ids[len(session.cache) :], *gold_ids]
    nats, position = 0.0, len(session.cache)
    while pending:
        part, pending = pending[:width], pending[width:]
        log_probs = models.target.step(part, session.cache).float().log_softmax(-1)
        session.cache.commit(part)
        for i in range(len(part)):
            index = position + i + 1 - len(prompt_ids)
            if 0 <= index < len(gold_ids):
                nats -= float(log_probs[i, gold_ids[index]])
        position += len(part)
    return nats


def post_process(command: Sequence[str], answers: Sequence[Answer]) -> list[str]:
    """What an editor would show of each answer: one JSON object a line to the filter process, and one back."""
    lines = "".join(
        json.dumps({"prefix": answer.row.prompt, "suffix": answer.row.suffix, "text": answer.text}) + "\n"
        for answer in answers
    )
    done = subprocess.run(list(command), input=lines, capture_output=True, text=True, check=True)
    return [json.loads(line)["text"] for line in done.stdout.splitlines()]


def summarise(answers: Sequence[Answer], shown: Sequence[str] | None) -> list[dict[str, object]]:
    """Rows for all cursors and for those in mid-line, raw and as shown."""
    found: list[dict[str, object]] = []
    for place, keep in (("all", lambda _: True), ("mid-line", is_mid_line)):
        chosen = [i for i, answer in enumerate(answers) if keep(answer.row)]
        if not chosen:
            continue
        found.append(_row(f"{place}, raw", [answers[i] for i in chosen], [answers[i].text for i in chosen]))
        if shown is not None:
            found.append(_row(f"{place}, shown", [answers[i] for i in chosen], [shown[i] for i in chosen]))
    return found


def is_mid_line(row: InfillingRow) -> bool:
    """Whether the cursor has text before it on its line."""
    return bool(row.prompt[row.prompt.rfind("\n") + 1 :].strip())


def _row(method: str, answers: Sequence[Answer], texts: Sequence[str]) -> dict[str, object]:
    golds = [answer.row.gold for answer in answers]
    pairs = list(zip(texts, golds, strict=True))
    accepted = [metrics.accepted_prefix(text, gold) for text, gold in pairs]
    characters = sum(len(gold) for gold in golds)
    return {
        "method": method,
        "count": len(pairs),
        "exact_match_first_line": _percent(
            metrics.is_same(metrics.first_line(text), metrics.first_line(gold)) for text, gold in pairs
        ),
        "exact_match_whole": _percent(metrics.is_same(text, gold) for text, gold in pairs),
        "edit_similarity": round(sum(metrics.edit_similarity(text, gold) for text, gold in pairs) / len(pairs), 2),
        "accepted_characters": round(sum(accepted) / len(pairs), 2),
        "zero_accepted_percent": _percent(count == 0 for count in accepted),
        "suffix_repeated_percent": _percent(
            metrics.repeats_suffix(text, answer.row.suffix) for text, answer in zip(texts, answers, strict=True)
        ),
        "bits_per_character": round(sum(answer.gold_nats for answer in answers) / LN2 / max(1, characters), 4),
    }


def _percent(hits: Iterable[bool]) -> float:
    values = list(hits)
    return round(100 * sum(values) / len(values), 2)
