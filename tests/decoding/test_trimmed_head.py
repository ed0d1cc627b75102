"""The trimmed head of a model that drafts: its choice is that of the whole head among the tokens that it has."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from decoding.models.cpu import trimmed_head
from decoding.models.cpu.decoder import CpuDecoder
from decoding.models.language_model import Cache
from tests.decoding.test_block_models import MIXTURES, VOCABULARY, load, make, read

FREQUENT = 128
IN_BLOCKS = [name for name in MIXTURES if name not in ("dense head", "dense and tied")]
TEXT = list(range(5, 600, 7))


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trimmed_head, "NUM_FREQUENT", FREQUENT)
    monkeypatch.setattr(trimmed_head, "NUM_SPECIAL", 3)


def chosen(
    model: CpuDecoder, cache: Cache, part: Sequence[int], num_tokens: int, kept: Sequence[int]
) -> list[tuple[int, float]]:
    """What single passes choose among the kept tokens."""
    found: list[tuple[int, float]] = []
    for _ in range(num_tokens):
        logits = torch.full((VOCABULARY,), -torch.inf)
        whole = model.advance(part, cache)
        logits[kept] = whole[kept]
        shares = logits.double().softmax(dim=-1)
        found.append((int(shares.argmax()), float(shares.max())))
        part = [found[-1][0]]
    return found


@pytest.mark.parametrize("mixture", IN_BLOCKS)
@pytest.mark.parametrize("text", [TEXT, [1, 2, 3], TEXT[40:50] * 30])
def test_the_best_of_the_kept_tokens_is_drafted(mixture: str, text: list[int]) -> None:
    model = load(make(MIXTURES[mixture]).stored, threads=2)
    kept = sorted({*range(FREQUENT), *text, *range(VOCABULARY - 3, VOCABULARY)})
    single, ahead = read(model, TEXT[:60], [64]), read(model, TEXT[:60], [64])
    expected = chosen(model, single, TEXT[60:64], 6, kept)
    found = model.draft_ahead(TEXT[60:64], ahead, 6, text_ids=text)
    assert [token_id for token_id, _ in found] == [token_id for token_id, _ in expected]
    assert [share for _, share in found] == pytest.approx([share for _, share in expected], rel=1e-4)


def test_texts_take_turns_and_the_whole_head_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trimmed_head, "ROOM", 16)
    model = load(make(MIXTURES["Q4_K_M"]).stored)
    cache = read(model, TEXT[:60], [64])
    logits = model.step(TEXT[60:64], cache).clone()
    for text in (TEXT, TEXT[::-1], [300], [600, 300]):
        num_before = len(cache)
        kept = {*range(FREQUENT), *range(VOCABULARY - 3, VOCABULARY)}
        kept |= {*[*dict.fromkeys(token_id for token_id in reversed(text) if FREQUENT <= token_id < 600)][:13]}
        found = model.draft_ahead([7], cache, 1, text_ids=text)
        cache.roll_back(num_before)
        assert found[0][0] == chosen(model, cache, [7], 1, sorted(kept))[0][0]
        cache.roll_back(num_before)
        assert torch.equal(model.step(TEXT[60:64], cache), logits)
    whole = model.advance([7], cache).clone()
    cache.roll_back(len(cache) - 1)
    assert model.draft_ahead([7], cache, 1)[0][0] == int(whole.argmax())


@pytest.mark.parametrize("mixture", ["dense head", "dense and tied"])
def test_other_heads_stay_whole(mixture: str) -> None:
    model = load(make(MIXTURES[mixture]).stored)
    first, second = read(model, TEXT[:60], [64]), read(model, TEXT[:60], [64])
    assert model.draft_ahead([7], first, 3, text_ids=[1]) == model.draft_ahead([7], second, 3)


def test_a_small_vocabulary_is_not_trimmed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trimmed_head, "NUM_FREQUENT", VOCABULARY // 2 + 1)
    model = load(make(MIXTURES["Q4_K_M"]).stored)
    first, second = read(model, TEXT[:60], [64]), read(model, TEXT[:60], [64])
    assert model.draft_ahead([7], first, 3, text_ids=[1]) == model.draft_ahead([7], second, 3)
