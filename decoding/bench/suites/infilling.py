"""Runs `tabcast bench infilling`: compares what the model generates in a hole with the text that stood there.

Nothing here ever cuts an answer by the gold's length (that inflates scores: https://arxiv.org/abs/2410.03103). Raw
texts and those that an editor would show are scored apart; the second come from the front end's own filters, through a
process of their own, since the engine may not know them.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch

from decoding.bench.harness.data import InfillingRow
from decoding.bench.metrics import accuracy, likelihood, quality
from decoding.completion.completion import HealedPrompt, complete, prompt_tokens
from decoding.completion.sessions import Session
from decoding.models.loading.model_set import ModelSet
from decoding.protocol import CompletionOptions, CompletionRequest
from decoding.text.token_healing import Healing

LN2 = 0.6931471805599453


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One row's raw text, and the negative log-likelihood of its gold text under the model, in nats."""

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
        prompt = prompt_tokens(models, request)
        text = "".join(piece.text for piece in complete(models, session, request, prompt))
        gold_ids = healed_gold(models, prompt, row)
        if gold_ids is None:
            whole = replace(request, tabcast=replace(request.tabcast, heal=False))
            prompt, gold_ids = prompt_tokens(models, whole), models.encode(row.gold)
        on_row(Answer(row=row, text=text, gold_nats=gold_nats(models, session, prompt, gold_ids)))


def describe_layout(models: ModelSet) -> str:
    """Describe the prompt's layout in a few words; some models have but one."""
    template = models.layout.template
    if template is None:
        return "no fill-in-the-middle: the prefix alone, whatever the layout"
    if template.order == "suffix_first":
        return "suffix-first: the prefix stands last, so that the classic and the anchored layout are the same prompt"
    return "anchored layout" if models.layout.is_anchored else "classic layout"


def healed_gold(models: ModelSet, prompt: HealedPrompt, row: InfillingRow) -> list[int] | None:
    """Return the gold text's tokens with the healed bytes before them; None where they are no text, or others."""
    try:
        gold_ids = models.encode(prompt.rest.decode() + row.gold)
    except UnicodeDecodeError:  # the cursor's token cuts a character
        return None
    written = b"".join(models.index.token_bytes[token_id] for token_id in gold_ids[: len(prompt.rest)])
    return gold_ids if written.startswith(prompt.rest) else None


def gold_nats(models: ModelSet, session: Session, prompt: HealedPrompt, gold_ids: Sequence[int]) -> float:
    """Return the negative log-likelihood of these tokens after the prompt, in nats.

    Where the prompt was healed, only the tokens that healing allows count, as in decoding.
    """
    gold_ids = gold_ids[: models.target.shape.max_len - len(prompt.ids)]
    healing = Healing(models.index, prompt.rest)
    nats = 0.0
    for index, logits in enumerate(likelihood.logits_before(models.target, session.cache, prompt.ids, gold_ids)):
        allowed = healing.allowed_next(gold_ids[:index])
        chances = logits if allowed is None else _only(logits, allowed)
        nats -= float(chances.log_softmax(-1)[gold_ids[index]])
    return nats


def _only(logits: torch.Tensor, allowed: Sequence[int]) -> torch.Tensor:
    """Return logits (V,) in which all other tokens are barred."""
    kept = torch.full_like(logits, -torch.inf)
    kept[list(allowed)] = logits[list(allowed)]
    return kept


def post_process(command: Sequence[str], answers: Sequence[Answer]) -> list[str]:
    """Return what an editor would show of each answer: one JSON object a line to the filter process, and one back."""
    lines = "".join(
        json.dumps({"prefix": answer.row.prompt, "suffix": answer.row.behind, "text": answer.text}) + "\n"
        for answer in answers
    )
    done = subprocess.run(list(command), input=lines, capture_output=True, text=True, check=True)
    return [json.loads(line)["text"] for line in done.stdout.splitlines()]


def summarise(
    answers: Sequence[Answer], shown: Sequence[str] | None, settings: str = "", special: Sequence[str] = ()
) -> list[dict[str, object]]:
    """Return rows for all cursors and for those in mid-line, raw and as shown.

    `settings` is what they all were made with, `special` are the names of the model's special tokens.
    """
    found: list[dict[str, object]] = []
    for place, keep in (("all", lambda _: True), ("mid-line", is_mid_line)):
        chosen = [i for i, answer in enumerate(answers) if keep(answer.row)]
        if not chosen:
            continue
        of_place = [answers[i] for i in chosen]
        found.append(_row(f"{place}, raw", of_place, [answer.text for answer in of_place], special))
        if shown is not None:
            found.append(_row(f"{place}, shown", of_place, [shown[i] for i in chosen], special))
    return [{**row, "settings": settings} for row in found]


def is_mid_line(row: InfillingRow) -> bool:
    """Return whether the cursor has text before it on its line."""
    return bool(row.prompt[row.prompt.rfind("\n") + 1 :].strip())


def _row(method: str, answers: Sequence[Answer], texts: Sequence[str], special: Sequence[str]) -> dict[str, object]:
    golds = [answer.row.gold for answer in answers]
    pairs = list(zip(texts, golds, strict=True))
    accepted = [accuracy.accepted_prefix(text, gold) for text, gold in pairs]
    characters = sum(len(gold) for gold in golds)
    verdicts = [
        quality.judge(answer.row.prompt, text, answer.row.behind, special)
        for text, answer in zip(texts, answers, strict=True)
        if text.strip()
    ]
    return {
        "method": method,
        "count": len(pairs),
        "exact_match_first_line": _percent(
            accuracy.is_same(accuracy.first_line(text), accuracy.first_line(gold)) for text, gold in pairs
        ),
        "exact_match_whole": _percent(accuracy.is_same(text, gold) for text, gold in pairs),
        "edit_similarity": round(sum(accuracy.edit_similarity(text, gold) for text, gold in pairs) / len(pairs), 2),
        "accepted_characters": round(sum(accepted) / len(pairs), 2),
        "zero_accepted_percent": _percent(count == 0 for count in accepted),
        "suffix_repeated_percent": _percent(
            accuracy.repeats_suffix(text, answer.row.suffix) for text, answer in zip(texts, answers, strict=True)
        ),
        **quality.summarise(verdicts),
        "bits_per_character": round(sum(answer.gold_nats for answer in answers) / LN2 / max(1, characters), 4),
    }


def _percent(hits: Iterable[bool]) -> float:
    values = list(hits)
    return round(100 * sum(values) / len(values), 2)
