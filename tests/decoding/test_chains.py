"""Several chains at once: to the bit what steps of each alone give, and never another text."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch

from decoding.models.language_model import LanguageModel
from decoding.models.loading.model_set import ModelSet
from decoding.speculation.drafting import HIDDEN, PROBE, PROBES, Chain, Draft, NoDrafter, Outcome
from decoding.speculation.sampling import Sampling
from decoding.speculation.step import MOST, Step, sanitise
from tests.decoding.conftest import FORMS, ScriptedDrafter, decode
from tests.tiny_models import FAMILIES

PLAIN = NoDrafter()
# Chains are an affair of torch on our families; elsewhere they are steps, whatever the weights are kept in.
ONLY_ON_LLAMA = ("float32", "bfloat16", "int8", "int4")
CASES = [
    (name, form)
    for name, line in FAMILIES.items()
    for form in FORMS
    if line.verifies and (form == "bfloat16" or (line.is_ours and form not in ONLY_ON_LLAMA) or name == "llama")
]


def drawn(rng: random.Random, model: LanguageModel, count: int) -> tuple[int, ...]:
    return tuple(rng.randrange(8, model.shape.vocabulary) for _ in range(count))


@pytest.mark.parametrize(("family", "form"), CASES)
def test_rows_of_chains_are_those_of_steps(
    pairs: dict[tuple[str, str], ModelSet], family: str, form: str, rng: random.Random
) -> None:
    """Also where a block ends inside of them; and what is kept of one is what a step would have left."""
    model = pairs[family, form].target
    text = drawn(rng, model, 125)
    for num_before in (0, 5, 62, 64, 125):
        cache, alone = model.new_cache(), model.new_cache()
        for each in (cache, alone):
            for start in range(0, num_before, model.capabilities.step_width):
                before = text[start : min(start + model.capabilities.step_width, num_before)]
                model.step(before, each)
                each.commit(before)
        pending = drawn(rng, model, rng.randrange(1, 3))
        room = model.capabilities.step_width - 3 * len(pending)
        probe = Chain(drawn(rng, model, room // 3), role=PROBE)
        rival = Chain(drawn(rng, model, max(1, room // 3)))
        first = Chain(drawn(rng, model, room - len(rival.token_ids) - len(probe.token_ids)))
        draft = Draft((first, rival, probe) if probe.token_ids else (first, rival))
        assert sanitise(draft, model.capabilities.step_width - len(pending), len(pending), model) == draft
        step = Step(model, cache, pending, draft)
        logits = [rows.clone() for rows in step.logits]
        guesses = [chain.token_ids for chain in draft.chains]
        for rows, guess in zip(logits, guesses, strict=True):
            assert torch.equal(rows, model.step([*pending, *guess], alone)[len(pending) - 1 :])
        kept = rng.randrange(2)
        num_accepted = len(guesses[kept]) - 1
        step.commit(kept, num_accepted)
        model.step([*pending, *guesses[kept]], alone)
        alone.commit([*pending, *guesses[kept][:num_accepted]])
        hidden, expected = step.hidden(), model.hidden()
        if hidden is not None and expected is not None and model.capabilities.max_chains == 1:
            assert torch.equal(hidden, expected[len(pending) - 1 :][: num_accepted + 1])
        assert cache.token_ids == alone.token_ids
        following = drawn(rng, model, 3)
        assert torch.equal(model.step(following, cache).clone(), model.step(following, alone))


class Rivals(ScriptedDrafter):
    """A draft, rivals and probes by functions of (tokens so far, budget), and what came of them."""

    needs = frozenset({HIDDEN, PROBES})

    def __init__(self, propose: Callable[[list[int], int], Draft]) -> None:
        super().__init__(lambda ids, budget: [])
        self._whole = propose
        self.outcomes: list[Outcome] = []

    def propose(self, budget: int) -> Draft:
        return self._whole(self._ids, budget)

    def observe(self, outcome: Outcome) -> None:
        super().observe(outcome)
        self.outcomes.append(outcome)


@pytest.mark.parametrize(("family", "form"), CASES)
def test_rivals_and_probes_never_change_the_text(
    pairs: dict[tuple[str, str], ModelSet], family: str, form: str, rng: random.Random
) -> None:
    models = pairs[family, form]
    vocabulary = models.target.shape.vocabulary
    prompt = list(drawn(rng, models.target, 60))
    for sampling in (Sampling(), *([Sampling(temperature=0.8, seed=3)] if family == "llama" else [])):
        plain = decode(models, prompt, PLAIN, 24, sampling=sampling)

        def propose(ids: list[int], budget: int, plain: list[int] = plain) -> Draft:
            rest = plain[len(ids) - len(prompt) :]
            wrong = tuple((token_id + 1) % vocabulary for token_id in rest[:2])
            chains = [wrong, tuple(rest[:2]), (-1, 3), tuple(rest[:1])]
            rng.shuffle(chains)
            probe = Chain(tuple(rest[:1]), "probe", role=PROBE)
            return Draft((probe, *(Chain(chain, "verified") for chain in chains)))

        drafter = Rivals(propose)
        assert decode(models, prompt, drafter, 24, sampling=sampling) == plain
        assert sum(outcome.num_accepted for outcome in drafter.outcomes) > 8
        for outcome in drafter.outcomes:
            assert (
                outcome.draft.leading.token_ids[: outcome.num_accepted] == outcome.emitted_ids[: outcome.num_accepted]
            )
            if outcome.hidden is not None:
                assert len(outcome.hidden) == len(outcome.emitted_ids)
            assert [len(ids) for ids in outcome.probe_ids] == [
                len(probe.token_ids) + 1 for probe in outcome.draft.probes
            ]
            # The probe was the text itself: what the target chooses behind its end is what came first.
            assert all(ids[0] == outcome.emitted_ids[0] for ids in outcome.probe_ids)
        assert any(outcome.probe_ids for outcome in drafter.outcomes)


def test_what_is_too_much_is_left_out(llama: ModelSet, torch_llama: ModelSet) -> None:
    width = torch_llama.target.capabilities.step_width
    rivals = (Chain((8, 9), "b"), Chain((50,) * 9, "c"), *(Chain((60 + i,), "d") for i in range(9)))
    draft = Draft((Chain(tuple(range(8, 100)), "a"), *rivals, Chain((5,), role=PROBE), Chain((6,), role=PROBE)))
    kept = sanitise(draft, width - 1, 1, torch_llama.target)
    assert [len(chain.token_ids) for chain in kept.chains] == [width - 1]  # all the rows there are
    # One after the other: as many as are worth looking at.
    kept = sanitise(draft, llama.target.capabilities.step_width - 1, 1, llama.target)
    assert [chain.drafter for chain in kept.chains] == ["a", "c", "d", "d"]
    assert len(kept.chains) == MOST
    assert sanitise(draft, 0, 1, llama.target) == Draft((Chain(),))


def test_the_first_chain_is_one_to_verify(llama: ModelSet) -> None:
    probe, second, third = Chain((5,), role=PROBE), Chain((5, 6), "b"), Chain((7,), "c")
    assert sanitise(Draft((Chain(), probe, second, third)), 9, 1, llama.target) == Draft((second, third, probe))
    assert sanitise(Draft((probe,)), 9, 1, llama.target) == Draft((Chain(), probe))
    assert sanitise(Draft(), 9, 1, llama.target) == Draft((Chain(),))
