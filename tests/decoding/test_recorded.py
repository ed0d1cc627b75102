"""A GPU's way of computing, rehearsed: recorded passes and the loop of drafts, against the plain forward pass."""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch

from decoding.bench.harness import random_models
from decoding.completion.sessions import Session
from decoding.config import EngineConfig
from decoding.drafters.draft_model import DraftModel
from decoding.drafters.in_order import InOrder
from decoding.models.cuda.decoder import CHUNK, MOST_AHEAD, CudaDecoder
from decoding.models.cuda.operations import TorchOperations
from decoding.models.cuda.recording import Eager, Graphs, Replay
from decoding.models.language_model import drafts_ahead
from decoding.models.loading.decoder_loading import assemble
from decoding.models.loading.model_set import ModelSet
from decoding.models.probing.row_invariance import probe
from decoding.models.sharding.pipeline import split
from decoding.models.torch.decoder import Decoder, Shape, Weights
from decoding.speculation.drafting import NoDrafter
from decoding.speculation.sampling import Sampling
from tests.decoding.conftest import ScriptedDrafter, decode

TINY = random_models.ModelShape(layers=2, width=32, heads=4, kv_heads=2, feed_forward=64, vocabulary=500)
TIED = replace(TINY, is_tied=True, layers=1)
CPU = torch.device("cpu")
MAX_LEN = 320
PLAIN = NoDrafter()


class Counting:
    """Records by computing again, and counts."""

    def __init__(self) -> None:
        self.num_recorded = self.num_replayed = 0

    def record(self, run: Replay) -> Replay:
        self.num_recorded += 1
        run()
        run()  # as warming up does

        def replay() -> None:
            self.num_replayed += 1
            run()

        return replay


def built(shape: random_models.ModelShape = TINY, **keywords: Any) -> tuple[CudaDecoder, Decoder, Counting]:
    sizes, weights = random_models.build(shape, max_len=MAX_LEN, device=CPU, dtype=torch.float32, weight_scale=0.3)
    counting = Counting()
    return CudaDecoder(sizes, weights, TorchOperations(), counting, **keywords), Decoder(sizes, weights), counting


def tokens(count: int, seed: int = 0) -> list[int]:
    rng = random.Random(seed)
    return [rng.randrange(500) for _ in range(count)]


@pytest.fixture
def models() -> ModelSet:
    config = EngineConfig(device="cpu", dtype="float32", kernels="rehearsed")
    made = random_models.random_pair("tiny", "smaller", config, MAX_LEN)
    assert isinstance(made.target, CudaDecoder)
    assert isinstance(made.draft, CudaDecoder)
    return made


@pytest.mark.parametrize("shape", [TINY, TIED], ids=["untied", "tied"])
def test_a_replay_gives_the_plain_forward_pass(shape: random_models.ModelShape) -> None:
    recorded, plain, counting = built(shape, chunk=64)
    recorded.capabilities = recorded.capabilities.at_width(8)
    plain.capabilities = plain.capabilities.at_width(8)
    prompt = tokens(64 + 30)
    ours, theirs = recorded.new_cache(), plain.new_cache()
    for model, cache in ((recorded, ours), (plain, theirs)):
        model.prefill(prompt[:64], cache)
    for first, count in ((64, 8), (72, 3), (75, 1), (76, 8)):
        part = prompt[first : first + count]
        found, wanted = recorded.step(part, ours), plain.step(part, theirs)
        assert found.shape == (count, 500)
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(recorded.hidden(), plain.hidden(), rtol=1e-4, atol=1e-4)
        ours.commit(part)
        theirs.commit(part)
    assert counting.num_recorded == 2  # a chunk and a step
    assert counting.num_replayed == 5


def test_one_recording_serves_all_sessions_and_lengths() -> None:
    recorded, plain, counting = built(chunk=64)
    recorded.capabilities = recorded.capabilities.at_width(4)
    plain.capabilities = plain.capabilities.at_width(4)
    caches = [recorded.new_cache() for _ in range(3)]
    texts = [tokens(40, seed) for seed in range(3)]
    for at in range(0, 40, 4):
        for text, cache in zip(texts, caches, strict=True):
            last = recorded.step(text[at : at + 4], cache).clone()
            cache.commit(text[at : at + 4])
    assert counting.num_recorded == 1
    alone = plain.new_cache()
    for at in range(0, 40, 4):
        wanted = plain.step(texts[2][at : at + 4], alone)
        alone.commit(texts[2][at : at + 4])
    torch.testing.assert_close(last, wanted, rtol=1e-4, atol=1e-4)


def test_graphs_share_a_pool_and_a_stream_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a library that only notes what it is asked for: torch's own capture stream lies on one device for ever."""
    captures: list[dict[str, Any]] = []
    streams: list[MagicMock] = []

    @contextmanager
    def capture(graph: MagicMock, **keywords: Any) -> Iterator[None]:
        captures.append(keywords)
        assert not gc.isenabled()
        yield

    def new_stream() -> MagicMock:
        streams.append(MagicMock())
        return streams[-1]

    pool = object()
    fakes = {
        "Stream": new_stream,
        "stream": lambda _: nullcontext(),
        "current_stream": MagicMock(),
        "CUDAGraph": lambda: MagicMock(pool=lambda: pool),
        "graph": capture,
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    runs: list[str] = []
    graphs = Graphs()
    graphs.record(lambda: runs.append("first"))
    graphs.record(lambda: runs.append("second"))
    assert runs == ["first"] * 3 + ["second"] * 3  # warmed up, and captured
    assert [call["stream"] for call in captures] == streams * 2
    assert [call["pool"] for call in captures] == [None, pool]
    assert gc.isenabled()


def test_stages_record_their_own_layers() -> None:
    deep = replace(TINY, layers=3)
    sizes, weights = random_models.build(deep, max_len=MAX_LEN, device=CPU, dtype=torch.float32, weight_scale=0.3)
    counts: list[Counting] = []

    def stage(shape: Shape, part: Weights) -> CudaDecoder:
        counts.append(Counting())
        return CudaDecoder(shape, part, TorchOperations(), counts[-1], chunk=64)

    spread_out = split(sizes, weights, [2, 1], stage)
    alone = CudaDecoder(sizes, weights, TorchOperations(), Counting(), chunk=64)
    spread_out.capabilities = spread_out.capabilities.at_width(4)
    alone.capabilities = alone.capabilities.at_width(4)
    prompt = tokens(64 + 20)
    ours, theirs = spread_out.new_cache(), alone.new_cache()
    spread_out.prefill(prompt[:64], ours)
    alone.prefill(prompt[:64], theirs)
    for first, count in ((64, 4), (68, 1), (69, 3)):
        part = prompt[first : first + count]
        assert torch.equal(spread_out.step(part, ours), alone.step(part, theirs))
        hidden = spread_out.hidden()
        assert hidden is not None
        assert torch.equal(hidden, alone.hidden())  # type: ignore[arg-type]
        ours.commit(part)
        theirs.commit(part)
    assert torch.equal(spread_out.advance(prompt[72:75], ours), alone.advance(prompt[72:75], theirs))
    assert [count.num_recorded for count in counts] == [3, 3]  # a chunk, a step, and rows of which the last counts


def test_a_recording_holds_no_session() -> None:
    recorded, _, _ = built(chunk=64)
    recorded.capabilities = recorded.capabilities.at_width(4)
    cache = recorded.new_cache()
    recorded.step([1, 2], cache)
    recorded.draft_ahead([1, 2], recorded.new_cache(), 4)
    passes = [*recorded._passes.values(), *recorded._ahead._first.values(), recorded._ahead._next]  # type: ignore[union-attr]
    assert [done.spot.store for done in passes] == [None] * len(passes)


def test_one_recording_serves_all_chains(models: ModelSet) -> None:
    target = models.target
    assert isinstance(target, CudaDecoder)
    assert target.capabilities.max_chains > 1  # the probe found their rows to agree
    recorder = Counting()
    recorded = CudaDecoder(target.shape, target._weights, target.operations, recorder, chunk=target.chunk)
    recorded.capabilities = recorded.capabilities.at_width(target.capabilities.step_width)
    for text, start in ((tokens(70), 63), (tokens(140, 1), 130)):
        cache, alone = recorded.new_cache(), recorded.new_cache()
        for each in (cache, alone):
            recorded.advance(text[:start], each) if start < 64 else recorded.prefill(text[:64], each)
        chains = [text[-4:], text[-3:-1]]
        rows = [logits.clone() for logits in recorded.step_chains(chains, cache)]
        recorded.keep_chain(1, 2)
        cache.commit(chains[1])
        for chain, found in zip(chains, rows, strict=True):
            assert torch.equal(recorded.step(chain, alone), found)
        alone.commit(chains[1])
        assert torch.equal(recorded.step([7], cache).clone(), recorded.step([7], alone))
    assert len(recorded._chain_passes) == 1
    spots = [done.spot for done in recorded._chain_passes.values()]
    assert [spot.store for spot in spots] == [None]
    assert recorded._chained is None


def test_padding_writes_nothing_and_the_last_slot_is_reached() -> None:
    recorded, _, _ = built(chunk=64)
    recorded.capabilities = recorded.capabilities.at_width(8)
    cache = recorded.new_cache()
    recorded.step([1, 2, 3], cache)
    written = cache.store.keys.abs().sum(dim=(0, 2, 4)).flatten().nonzero().flatten()
    assert written.tolist() == [0, 1, 2]
    cache.commit(tokens(cache.capacity - 3))
    recorded.advance([1, 2, 3], cache)
    assert len(cache) == cache.capacity
    with pytest.raises(IndexError, match="slots"):
        recorded.step([4], cache)


@pytest.mark.parametrize("num_pending", [1, 2, 4, 5, 64])
def test_drafting_ahead_is_the_loop_of_single_steps(num_pending: int) -> None:
    recorded, _, counting = built(chunk=64)
    assert drafts_ahead(recorded)
    text = tokens(70 + num_pending, num_pending)
    ahead, single = recorded.new_cache(), recorded.new_cache()
    for cache in (ahead, single):
        recorded.advance(text[:50], cache)
        recorded.advance(text[50:70], cache)
    found = recorded.draft_ahead(text[70:], ahead, 7)
    logits = recorded.advance(text[70:], single)
    for token_id, share in found:
        assert int(logits.argmax()) == token_id
        assert share == pytest.approx(float(logits.softmax(-1)[token_id]), abs=1e-5)
        logits = recorded.advance([token_id], single)
    assert ahead.token_ids == single.token_ids[:-1]
    num_recorded = counting.num_recorded
    again = recorded.new_cache()
    recorded.advance(text[:50], again)
    recorded.advance(text[50:70], again)
    assert recorded.draft_ahead(text[70:], again, 3) == found[:3]
    assert counting.num_recorded == num_recorded


def test_a_draft_ends_where_the_model_is_not_sure(monkeypatch: pytest.MonkeyPatch) -> None:
    from decoding.speculation.drafting import DraftRequest, Outcome

    recorded, _, _ = built(chunk=64)
    drafter = DraftModel(recorded, recorded.new_cache())
    drafter.begin(DraftRequest(prompt_ids=tokens(150)))
    shares = iter([[(5, 0.9), (6, 0.5), (7, 0.1), (8, 0.9)], [(1, 0.2)]])
    asked = []

    def scripted(
        token_ids: list[int], cache: Any, num_tokens: int, _share: float, _text: list[int]
    ) -> list[tuple[int, float]]:
        asked.append((len(cache), len(token_ids), num_tokens))
        found = next(shares)
        cache.commit([*token_ids, *(token_id for token_id, _ in found[:-1])])
        return found

    monkeypatch.setattr(recorded, "draft_ahead", scripted)
    draft = drafter.propose(15)
    assert draft.leading.token_ids == (5, 6)
    drafter.observe(Outcome(emitted_ids=(5, 9), num_accepted=1, draft=draft))
    assert drafter.propose(3).leading.token_ids == ()
    assert asked == [(128, 22, 8), (151, 1, 3)]


def test_a_model_too_short_to_draft_ahead_drafts_token_by_token() -> None:
    from decoding.speculation.drafting import DraftRequest

    sizes, weights = random_models.build(TINY, max_len=MOST_AHEAD, device=CPU, dtype=torch.float32)
    recorded = CudaDecoder(sizes, weights, TorchOperations(), Eager(), chunk=16)
    assert not drafts_ahead(recorded)
    drafter = DraftModel(recorded, recorded.new_cache())
    drafter.begin(DraftRequest(prompt_ids=tokens(10)))
    drafter.propose(4)
    assert drafter.num_unread <= 1


def test_the_probe_finds_rows_that_agree() -> None:
    recorded, _, _ = built(chunk=64)
    assert probe(recorded).width == 8


def test_speculation_gives_the_plain_output_cold_and_warm(models: ModelSet) -> None:
    session = Session(models)
    for length in (1, 63, 64, 65, 150, 140, 160):
        prompt = tokens(200)[:length]
        plain = decode(models, prompt, PLAIN, 24)
        wrong = ScriptedDrafter(lambda ids, k: tokens(k, len(ids)))
        right = ScriptedDrafter(lambda ids, k, plain=plain, n=length: plain[len(ids) - n :][:k])
        for drafter in (wrong, right, *session.drafters("auto")):
            assert decode(models, prompt, InOrder([drafter]), 24, cache=session.cache) == plain
    sampling = Sampling(temperature=1.0, seed=3)
    plain = decode(models, tokens(70), PLAIN, 24, sampling=sampling)
    own = InOrder(session.drafters("draft"))
    assert decode(models, tokens(70), own, 24, sampling=sampling, cache=session.cache) == plain


@pytest.mark.parametrize("quantize", ["int8", "int4", "fp8"])
def test_rounded_weights_are_decoded_losslessly(quantize: str) -> None:
    config = EngineConfig(device="cpu", dtype="float32", kernels="rehearsed", quantize=quantize)
    models = random_models.random_pair("tiny", "smaller", config, MAX_LEN)
    plain = decode(models, tokens(70), PLAIN, 16)
    assert decode(models, tokens(70), InOrder(Session(models).drafters("draft")), 16) == plain


def test_the_settings_choose_it() -> None:
    def made(kernels: str, max_len: int) -> Any:
        built = random_models.build(TINY, max_len=max_len, device=CPU, dtype=torch.float32)
        return assemble(*built, EngineConfig(device="cpu", kernels=kernels))

    assert isinstance(made("torch", MAX_LEN), Decoder)
    assert made("rehearsed", MAX_LEN).chunk == 64
    assert made("rehearsed", 4 * CHUNK).chunk == CHUNK
