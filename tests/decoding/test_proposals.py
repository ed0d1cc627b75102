"""What another model proposes for a place: it is verified first, and never changes the answer."""

from __future__ import annotations

import pytest

from decoding.completion.completion import complete, prompt_tokens
from decoding.completion.sessions import Session
from decoding.drafters.prompt_lookup import PromptLookup
from decoding.models.loading.model_set import ModelSet
from decoding.protocol import CompletionOptions, CompletionRequest, CompletionStats
from decoding.speculation.drafting import EMPTY, DraftRequest, Outcome

# The third is cut within a token, which is taken back and written again.
PROMPTS = ("for i in range(9):\n", "def add(a, b):\n    return ", "import os\nfor na")


def answered(models: ModelSet, prompt: str, proposal: str = "") -> tuple[str, CompletionStats]:
    options = CompletionOptions(method="lookup", proposal=proposal)
    request = CompletionRequest(prompt=prompt, max_tokens=16, tabcast=options)
    chunks = list(complete(models, Session(models), request, prompt_tokens(models, request)))
    assert chunks[-1].stats is not None
    return "".join(chunk.text for chunk in chunks), chunks[-1].stats


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_right_proposal_saves_steps_and_a_wrong_one_changes_nothing(llama: ModelSet, prompt: str) -> None:
    text, alone = answered(llama, prompt)
    right, saved = answered(llama, prompt, text)
    assert right == text
    assert saved.token_ids == alone.token_ids
    assert saved.steps < alone.steps
    for proposal in ("\n\nclass Other:\n    pass\n", text[: len(text) // 2] + "?!", "\ud83d", "x" * 50_000):
        told, stats = answered(llama, prompt, proposal)
        assert (told, stats.token_ids) == (text, alone.token_ids)


def proposed(lookup: PromptLookup, budget: int = 4) -> tuple[int, ...]:
    return lookup.propose(budget).leading.token_ids


def emitted(*token_ids: int) -> Outcome:
    return Outcome(emitted_ids=token_ids, num_accepted=0, draft=EMPTY)


def test_a_proposal_is_followed_until_the_answer_leaves_it_and_then_looked_up() -> None:
    lookup = PromptLookup()
    proposal = [10, 11, 12, 13, 14, 15, 16]
    lookup.begin(DraftRequest(prompt_ids=[1, 2, 3], hint_ids=[proposal], proposed_ids=proposal))
    assert proposed(lookup) == (10, 11, 12, 13)
    lookup.observe(emitted(10))
    lookup.observe(emitted(11))  # of a round for which nobody asked
    assert proposed(lookup, 2) == (12, 13)
    lookup.observe(emitted(99))
    assert proposed(lookup) == ()
    lookup.observe(emitted(13, 14))
    assert proposed(lookup) == (15, 16)  # it goes on behind what differs
    lookup.begin(DraftRequest(prompt_ids=[1, 2, 3]))
    assert proposed(lookup) == ()
