"""Sampling: the noise is noise, the distribution is the target's, and drafts change nothing about it."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from decoding.kv_cache import KVCache
from decoding.models.language_model import Capabilities
from decoding.speculation.drafting import Drafter, NoDrafter
from decoding.speculation.sampling import Sampling, choose, gumbel, sample, score
from decoding.speculation.speculate import speculate
from decoding.speculation.verify import verify
from tests.decoding.conftest import ScriptedDrafter

VOCABULARY = 8
START = 0
NUM_TOKENS = 4
# Row i is the distribution after token i: steep ones and flat ones, so that nuclei differ from position to position.
LOGITS = torch.tensor(np.random.default_rng(3).normal(0, 1.4, (VOCABULARY, VOCABULARY)), dtype=torch.float32)
LOGITS[2] = 0.01 * torch.arange(VOCABULARY)
LOGITS[5, 4:] = -4.0
CUTS = [
    Sampling(temperature=1.0),
    Sampling(temperature=0.7, top_k=3),
    Sampling(temperature=1.3, top_p=0.8),
    Sampling(temperature=0.9, top_k=5, top_p=0.7),
]


def exact(logits: torch.Tensor, cut: Sampling) -> np.ndarray:
    """The textbook's order: temperature, top-k, top-p of what is left."""
    scaled = logits.double().numpy() / cut.temperature
    order = np.argsort(-scaled, kind="stable")
    if cut.top_k:
        order = order[: cut.top_k]
    weights = np.exp(scaled[order] - scaled.max())
    weights /= weights.sum()
    order = order[: int((np.cumsum(weights) < cut.top_p).sum()) + 1]
    probabilities = np.zeros(VOCABULARY)
    probabilities[order] = np.exp(scaled[order] - scaled.max())
    return probabilities / probabilities.sum()


def p_value(observed: Sequence[int], expected: np.ndarray) -> float:
    """Of a chi-square test, by Wilson and Hilferty's approximation; what can't occur must not."""
    counts = np.asarray(observed)
    assert counts[expected == 0].sum() == 0
    counts, expected = counts[expected > 0], expected[expected > 0] * counts.sum()
    degrees = len(counts) - 1
    if degrees == 0:
        return 1.0
    statistic = float(((counts - expected) ** 2 / expected).sum())
    z = ((statistic / degrees) ** (1 / 3) - (1 - 2 / (9 * degrees))) / math.sqrt(2 / (9 * degrees))
    return 0.5 * math.erfc(z / math.sqrt(2))


class BigramTarget:
    """A target whose logits are a table: as much of a model as `speculate` looks at."""

    chunk = prefill_width = 64
    capabilities = Capabilities(step_width=NUM_TOKENS + 1)
    shape = SimpleNamespace(max_len=1 + NUM_TOKENS, vocabulary=VOCABULARY)

    def new_cache(self) -> KVCache[Any]:
        return KVCache(SimpleNamespace(num_bytes=0), capacity=64)

    def step(self, token_ids: Sequence[int], _cache: object) -> torch.Tensor:
        return LOGITS[list(token_ids)]


def own_choices(first: int, cut: Sampling, position: int, num_tokens: int, change: float) -> list[int]:
    """What a model with these logits plus `change` times others would sample with the same noise."""
    drafted: list[int] = []
    for i in range(num_tokens):
        logits = LOGITS[first] + change * LOGITS[(first + 1) % VOCABULARY]
        drafted.append(first := sample(logits, cut, position + i))
    return drafted


def decode(cut: Sampling, drafter: Drafter) -> tuple[int, ...]:
    target = BigramTarget()
    rounds = speculate(target, target.new_cache(), [START], drafter, cut)  # type: ignore[arg-type]
    return tuple(token for outcome in rounds for token in outcome.emitted_ids)


def drafters(cut: Sampling) -> dict[str, Callable[[list[int], int], list[int]]]:
    """Their first argument is empty before the first round: `begin` isn't called."""
    rng = random.Random(cut.seed)

    def sampled(change: float) -> Callable[[list[int], int], list[int]]:
        return lambda ids, k: own_choices((ids or [START])[-1], cut, 1 + len(ids), k, change)

    return {
        "none": lambda _, k: [],
        "always the likeliest": lambda ids, k: [int(LOGITS[(ids or [START])[-1]].argmax())] * k,
        "now and then": lambda _, k: [rng.randrange(VOCABULARY)] * rng.choice([0, 0, k]),
        "a similar model, same noise": sampled(0.6),
        "the target itself: no residual is left": sampled(0.0),
    }


@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: f"t{cut.temperature} k{cut.top_k} p{cut.top_p}")
def test_drafts_leave_the_distribution_and_each_draw_as_they_are(cut: Sampling) -> None:
    """Over 100,000 draws in all four cases: with drafts of each kind in turn, against the exact distribution."""
    kinds = list(drafters(cut))
    transitions: Counter[tuple[int, int]] = Counter()
    for seed in range(6400):
        seeded = Sampling(temperature=cut.temperature, top_k=cut.top_k, top_p=cut.top_p, seed=seed)
        kind = kinds[seed % len(kinds)]
        emitted = decode(seeded, ScriptedDrafter(drafters(seeded)[kind]))
        assert len(emitted) == NUM_TOKENS
        if seed < 200:
            assert emitted == decode(seeded, NoDrafter()), kind
        transitions.update(zip((START, *emitted), emitted, strict=False))
    for first in range(VOCABULARY):
        observed = [transitions[first, second] for second in range(VOCABULARY)]
        if sum(observed) > 200:
            assert p_value(observed, exact(LOGITS[first], cut)) > 1e-3, first


def test_the_mixing_function_is_splitmix64s() -> None:
    """Against the published one in whole numbers: signed words and masks must not have changed it."""
    from decoding.speculation import sampling

    def reference(word: int) -> int:
        word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        word = (word ^ (word >> 27)) * 0x94D049BB133111EB % 2**64
        return word ^ (word >> 31)

    words = [random.Random(i).randrange(2**64) for i in range(100)] + [0, 1, 2**63, 2**64 - 1]
    signed = torch.tensor([sampling._signed(word) for word in words])
    assert [word % 2**64 for word in sampling._mix(signed).tolist()] == [reference(word) for word in words]


def uniform(cut: Sampling, position: int, size: int = 64) -> np.ndarray:
    return np.exp(-np.exp(-gumbel(cut, position, size).numpy()))


@pytest.mark.parametrize(
    "rows",
    [
        [(Sampling(seed=seed), 0) for seed in range(2000)],
        [(Sampling(stream=stream), 0) for stream in range(2000)],
        [(Sampling(), position) for position in range(2000)],
    ],
    ids=["neighbouring seeds", "neighbouring streams", "neighbouring positions"],
)
def test_noise_is_uniform_and_neighbours_know_nothing_of_each_other(rows: list[tuple[Sampling, int]]) -> None:
    found = np.stack([uniform(*row) for row in rows])
    counts = np.histogram(found, bins=50, range=(0, 1))[0]
    assert p_value(counts.tolist(), np.full(50, 1 / 50)) > 1e-3
    for other in (np.roll(found, 1, axis=0), np.roll(found, 1, axis=1), np.roll(found, (1, 1), axis=(0, 1))):
        assert abs(np.corrcoef(found.ravel(), other.ravel())[0, 1]) < 4 / math.sqrt(found.size)
        pairs = np.histogram2d(found.ravel(), other.ravel(), bins=8, range=[(0, 1), (0, 1)])[0]
        assert p_value(pairs.ravel().astype(int).tolist(), np.full(64, 1 / 64)) > 1e-3


def test_no_two_of_seed_stream_and_position_share_their_noise() -> None:
    """Sums and products of them would collide: seed 1 in stream 0 with seed 0 in stream 1, say."""
    rows = {
        tuple(gumbel(Sampling(seed=seed, stream=stream), position, 4).tolist())
        for seed in (-(2**63), -1, 0, 1, 2, 10, 2**63)
        for stream in range(11)
        for position in range(11)
    }
    assert len(rows) == 7 * 11 * 11


def test_the_noise_of_a_token_does_not_depend_on_which_others_are_asked_for() -> None:
    ids = torch.tensor([5, 99, 0])
    assert torch.equal(gumbel(Sampling(seed=4), 7, 100, ids), gumbel(Sampling(seed=4), 7, 100)[ids])


@pytest.mark.parametrize("vocabulary", [300, 8192])
@pytest.mark.parametrize(
    "cut",
    [*CUTS, Sampling(temperature=0.5, top_p=0.0), Sampling(temperature=2.0, top_p=0.9999), Sampling(temperature=1e-3)],
)
def test_a_row_gives_the_same_token_and_score_wherever_it_stands(cut: Sampling, vocabulary: int) -> None:
    rows = torch.randn(9, vocabulary, generator=torch.Generator().manual_seed(1)).mul_(3)
    together = list(choose(rows, cut, 20))
    for i, row in enumerate(rows):
        assert list(choose(row.clone()[None], cut, 20 + i)) == [together[i]]
        assert score(row, together[i], 5) == score(row.clone(), together[i], 5)
    if cut.top_p == 0:
        assert together == rows.argmax(dim=-1).tolist()


def test_barred_tokens_are_never_drawn() -> None:
    logits = torch.full((1, 50), -torch.inf)
    logits[0, 7] = -3.0
    for cut in (*CUTS, Sampling(), Sampling(branch=3, branch_at=0), Sampling(temperature=1.0, top_k=10, top_p=0.999)):
        assert list(choose(logits, cut, 0)) == [7]


def test_greedy_branches_take_the_next_likeliest_at_their_position_only() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0, 2.0]] * 3)
    for rank, token in enumerate((1, 3, 2, 0)):
        assert list(choose(logits, Sampling(branch=rank, branch_at=11), 10)) == [1, token, 1]
    assert list(choose(logits, Sampling(branch=2, branch_at=9), 10)) == [1, 1, 1]


def test_scores_are_log_probabilities() -> None:
    logits = torch.tensor([1.0, 2.0, -torch.inf, 0.0])
    expected = logits.double().log_softmax(-1)
    found = score(logits, 0, 2)
    assert found.logprob == pytest.approx(float(expected[0]))
    assert [token for token, _ in found.likeliest] == [1, 0]
    assert score(logits, 0).likeliest == ()


def test_choices_behind_the_first_that_differs_are_not_drawn() -> None:
    drawn = []

    def choices() -> Any:
        for token in (4, 5, 6, 7):
            drawn.append(token)
            yield token

    assert verify((4, 9, 6), choices()) == (1, (4, 5))
    assert drawn == [4, 5]


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=5.0, seed=3), Sampling(branch=2, branch_at=9)])
def test_numbers_that_are_no_tokens_are_never_chosen(sampling: Sampling) -> None:
    logits = torch.randn(40, 12, generator=torch.Generator().manual_seed(4))
    logits[:, [3, 7]] += 30
    chosen = list(choose(logits.clone(), sampling, 9))
    assert {3, 7} & set(chosen)
    barred = list(choose(logits, replace(sampling, never_ids=(3, 7)), 9))
    assert not {3, 7} & set(barred)
