"""Drafters that guess several tokens at once, the parallel model and the heads, with weights made on the spot."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decoding.completion.sessions import Session
from decoding.config import EngineConfig
from decoding.drafters import draft_from_logits
from decoding.drafters.draft_from_logits import Guess, draft_of
from decoding.drafters.heads import HeadsDrafter
from decoding.drafters.in_order import InOrder
from decoding.drafters.parallel import ParallelDrafter
from decoding.kv_cache import KVCache
from decoding.models import heads as heads_module
from decoding.models.heads import CpuHeads, Guessable, HeadWeights, Table, TorchHeads
from decoding.models.language_model import Capabilities
from decoding.models.loading.model_set import ModelSet, load_models
from decoding.models.parallel import ParallelModel
from decoding.models.weights.int8_files import restore_rows, round_rows
from decoding.speculation.drafting import Draft, DraftRequest, NoDrafter, Outcome
from decoding.speculation.sampling import Sampling
from decoding.speculation.speculate import speculate
from decoding.text.token_healing import Healing
from tests.decoding.conftest import FORMS, decode
from tests.tiny_models import make_tokenizer

VOCABULARY = make_tokenizer().get_vocab_size()
METHODS = ("parallel", "heads", "parallel+heads")
PLAIN = NoDrafter()
NUM_TOKENS = 30


@pytest.fixture(scope="session", params=["bfloat16", "bfloat16, torch"])
def models(request: pytest.FixtureRequest, ahead_folders: dict[str, str]) -> ModelSet:
    loaded, _ = load_models(EngineConfig(**ahead_folders, **FORMS[request.param], device="cpu"))  # type: ignore[arg-type]
    assert not loaded.notices
    return loaded


@pytest.fixture
def _unsure_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights are sure of nothing: let them propose all the same."""
    monkeypatch.setattr(draft_from_logits, "LEAST", {"cpu": 0.0})


@pytest.mark.usefixtures("_unsure_too")
@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=0.8, seed=4), Sampling(branch=2, branch_at=40)])
def test_random_weights_leave_the_output_as_it_is(models: ModelSet, sampling: Sampling, rng: random.Random) -> None:
    for prompt_len in (1, 40, 65):
        prompt = [rng.randrange(8, VOCABULARY) for _ in range(prompt_len)]
        plain = decode(models, prompt, PLAIN, NUM_TOKENS, sampling=sampling)
        for method in METHODS:
            drafter = InOrder(Session(models).drafters(method))
            assert decode(models, prompt, drafter, NUM_TOKENS, sampling=sampling) == plain, (method, prompt_len)


@pytest.mark.usefixtures("_unsure_too")
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_used_session_proposes_what_a_new_one_does(models: ModelSet, data: st.DataObject) -> None:
    """Whatever was asked before, and wherever it was cancelled; the text of the cache is the text."""
    session = Session(models)
    text = data.draw(st.lists(st.integers(8, VOCABULARY - 1), min_size=1, max_size=100))
    for _ in range(data.draw(st.integers(1, 4))):
        text = text[: data.draw(st.integers(1, len(text)))] + data.draw(st.lists(st.integers(8, 40), max_size=30))
        num_tokens = data.draw(st.sampled_from([0, 1, 2, 12]))
        warm, cold = session.drafters("parallel+heads"), Session(models).drafters("parallel+heads")
        assert decode(models, text, InOrder(warm), num_tokens) == decode(models, text, PLAIN, num_tokens)
        for used, new in zip(warm, cold, strict=True):
            used.close()
            used.begin(DraftRequest(prompt_ids=text))
            new.begin(DraftRequest(prompt_ids=text))
            ours, theirs = used.propose(5), new.propose(5)
            assert ours.leading.token_ids == theirs.leading.token_ids
        assert session.drafters("parallel")[0]._text.cache.token_ids == text  # type: ignore[attr-defined]


class Oracle:
    """A parallel model that knows the text, and holds its caller to keeping nothing else."""

    prefill_width = 16
    device = torch.device("cpu")

    def __init__(self, text: Sequence[int], max_len: int, step_width: int) -> None:
        self.text, self.capabilities = list(text), Capabilities(step_width=step_width)
        self.shape = EngineShape(max_len)

    def new_cache(self) -> KVCache[None]:  # type: ignore[type-var]
        return KVCache(None, capacity=self.shape.max_len)  # type: ignore[type-var]

    def advance(self, token_ids: Sequence[int], cache: KVCache[None]) -> None:  # type: ignore[type-var]
        cache.commit(token_ids)
        self._check(cache.token_ids)

    def step(self, token_ids: Sequence[int], cache: KVCache[None]) -> torch.Tensor:  # type: ignore[type-var]
        assert len(token_ids) <= self.capabilities.step_width
        real = [token_id for token_id in token_ids if token_id != VOCABULARY]
        assert list(token_ids) == real + [VOCABULARY] * (len(token_ids) - len(real))
        self._check([*cache.token_ids, *real])
        logits = torch.zeros(len(token_ids), VOCABULARY + 1)
        for row in range(len(token_ids)):
            logits[row, self.text[min(len(cache) + row + 1, len(self.text) - 1)]] = 50.0
        return logits

    def _check(self, ids: list[int]) -> None:
        assert ids == self.text[: len(ids)]


class EngineShape:
    vocabulary = VOCABULARY + 1

    def __init__(self, max_len: int) -> None:
        self.max_len = max_len


@pytest.mark.parametrize("step_width", [4, 9])
def test_a_parallel_draft_that_is_right_is_kept_in_step(llama: ModelSet, step_width: int, rng: random.Random) -> None:
    prompt = [rng.randrange(8, 500) for _ in range(50)]
    plain = decode(llama, prompt, PLAIN, NUM_TOKENS)
    oracle = Oracle([*prompt, *plain], llama.target.shape.max_len, step_width)
    known = ParallelModel(model=oracle, mask_id=VOCABULARY, num_tokens=4, num_real_ids=VOCABULARY)  # type: ignore[arg-type]
    drafter = ParallelDrafter(known, oracle.new_cache())
    drafter.begin(DraftRequest(prompt_ids=prompt, max_tokens=NUM_TOKENS))
    rounds, emitted = 0, []
    for found in speculate(llama.target, llama.target.new_cache(), prompt, drafter, Sampling()):
        rounds += bool(found.emitted_ids)
        emitted += found.emitted_ids
        if len(emitted) >= NUM_TOKENS - 5:
            break
    assert emitted == plain[: len(emitted)]
    assert rounds == -(-(NUM_TOKENS - 5) // 5)  # four of the draft and one of the target's own


class KnowingHeads:
    """Heads that know the text by how many tokens were guessed behind which."""

    device = torch.device("cpu")
    vocabulary = VOCABULARY

    def __init__(self, after: dict[tuple[int, ...], int]) -> None:
        self._after = after

    def __len__(self) -> int:
        return 3

    def begin(self, _hidden: torch.Tensor) -> tuple[int, ...]:
        return ()

    def hold(self, text_ids: Sequence[int]) -> Guessable:
        del text_ids
        return Guessable(np.arange(VOCABULARY), torch.empty(0))

    def go_on(
        self, state: tuple[int, ...], number: int, token_id: int, _among: Guessable
    ) -> tuple[tuple[int, ...], torch.Tensor]:
        assert len(state) == number
        state = (*state, token_id)
        logits = torch.zeros(VOCABULARY)
        logits[self._after.get(state, 0)] = 50.0
        return state, logits


def test_heads_that_are_right_give_three_tokens_more_a_step(llama: ModelSet, rng: random.Random) -> None:
    prompt = [rng.randrange(8, 500) for _ in range(30)]
    plain = decode(llama, prompt, PLAIN, NUM_TOKENS)
    after = {tuple(plain[i : i + n]): plain[i + n] for i in range(len(plain)) for n in (1, 2, 3) if i + n < len(plain)}
    drafter = HeadsDrafter(KnowingHeads(after))  # type: ignore[arg-type]
    drafter.begin(DraftRequest(prompt_ids=prompt, max_tokens=NUM_TOKENS))
    found = [
        round_
        for round_, _ in zip(
            speculate(llama.target, llama.target.new_cache(), prompt, drafter, Sampling()), range(6), strict=False
        )
    ]
    emitted = [token_id for round_ in found for token_id in round_.emitted_ids]
    assert emitted == plain[: len(emitted)]
    judged = [round_ for round_ in found if round_.draft.leading.token_ids]
    assert judged
    assert sum(round_.num_accepted for round_ in judged) >= 2.5 * len(judged)  # a run that comes again may mislead


@pytest.mark.parametrize("kind", [CpuHeads, TorchHeads])
def test_heads_compute_what_their_weights_say(kind: type[TorchHeads]) -> None:
    """Against the same in plain operations; the tokens of the text are guessed beside the frequent ones."""
    torch.manual_seed(0)
    embedding = torch.randn(20, 8)
    weights = HeadWeights(
        embedding=Table(embedding),
        down=torch.randn(8, 12),
        blocks=tuple(torch.randn(8, 16) for _ in range(2)),
        norm=torch.rand(8),
        kept_ids=(3, 7, 19),
    )
    heads, hidden = kind(weights, 1e-5), torch.randn(12)
    among = heads.hold([5, 3, 11, 5])
    assert among.ids.tolist() == [3, 7, 19, 5, 11]
    state = heads.begin(hidden)
    expected = weights.down @ (hidden / (hidden.square().mean() + 1e-5).sqrt())
    assert torch.allclose(state, expected, atol=1e-5)
    for number, token_id in enumerate((4, 19)):
        state, logits = heads.go_on(state, number, token_id, among)
        inner = weights.blocks[number] @ torch.cat((expected, embedding[token_id]))
        expected = expected + inner * inner.sigmoid()
        normed = expected / (expected.square().mean() + 1e-6).sqrt() * weights.norm
        assert torch.allclose(logits, embedding[[3, 7, 19, 5, 11]] @ normed, atol=1e-4)


def test_of_too_many_tokens_of_a_text_the_last_can_be_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = HeadWeights(
        embedding=Table(torch.randn(20, 8)), down=torch.randn(8, 12), blocks=(), norm=torch.rand(8), kept_ids=(3, 7)
    )
    heads = CpuHeads(weights, 1e-5)
    assert heads.hold([15, 3, 11, 5, 5, 7]).ids.tolist() == [3, 7, 5, 11, 15]
    assert heads.hold([]).ids.tolist() == [3, 7]
    monkeypatch.setattr(heads_module, "ROOM", 2)
    assert heads.hold([15, 3, 11, 5, 5, 7]).ids.tolist() == [3, 7, 5, 11]


def test_a_table_in_int8_gives_the_rows_that_it_stands_for() -> None:
    rows = torch.randn(9, 4)
    rounded = round_rows(rows)
    table, expected = Table(*rounded), restore_rows(*rounded)
    assert torch.equal(table.row(7), expected[7])
    assert torch.equal(table.take(np.array([2, 8])), expected[[2, 8]])


def test_without_a_hidden_state_heads_propose_nothing(models: ModelSet) -> None:
    assert models.heads is not None
    drafter = HeadsDrafter(models.heads)
    drafter.begin(DraftRequest(prompt_ids=[9, 10]))
    assert drafter.propose(4) == Draft()
    drafter.observe(Outcome(emitted_ids=(11,), num_accepted=0, draft=Draft()))
    assert drafter.propose(4) == Draft()


@pytest.mark.usefixtures("_unsure_too")
def test_a_parallel_draft_begins_with_what_healing_allows(models: ModelSet) -> None:
    rest = models.index.token_bytes[300]
    drafter = next(iter(Session(models).drafters("parallel")))
    drafter.begin(DraftRequest(prompt_ids=[9, 10, 11], healing=Healing(models.index, rest)))
    (token_id,) = drafter.propose(4).leading.token_ids
    written = models.index.token_bytes[token_id]
    assert written.startswith(rest) or rest.startswith(written)


def guesses() -> Iterator[Guess]:
    yield Guess(1, 0.9, 8, 0.05)
    yield Guess(2, 0.5, 9, 0.4)
    yield Guess(3, 0.5, 7, 0.1)


def test_a_draft_ends_where_it_becomes_improbable_and_names_its_rivals() -> None:
    draft = draft_of(guesses(), "x", 0.3)
    assert draft.leading.token_ids == (1, 2)
    assert draft.leading.scores == pytest.approx((0.9, 0.5))
    assert [rival.token_ids for rival in draft.verified[1:]] == [(1, 9)]
    assert draft.verified[1].scores == pytest.approx((0.9, 0.4))
    # Guesses that were made apart: a place's probability is that of all up to it.
    apart = draft_of(guesses(), "x", 0.3, are_independent=True)
    assert apart.leading.token_ids == (1, 2, 3)
    assert apart.leading.scores == pytest.approx((0.9, 0.5 / 0.9, 1.0))
    assert draft_of(guesses(), "x", 0.95) == Draft()
