"""Checks whole models: recorded passes against computed ones, and every drafter's output against plain decoding."""

from __future__ import annotations

import torch

from decoding.bench.gpu_checks.setting import GREEDY, Setting, Skipped, decode, error, random_ids
from decoding.completion.sessions import Session
from decoding.drafters import registry
from decoding.drafters.in_order import InOrder
from decoding.models.cuda.decoder import CudaDecoder
from decoding.models.language_model import LanguageModel
from decoding.models.probing.row_invariance import probe
from decoding.models.torch.decoder import Decoder
from decoding.protocol import AUTO, COMBINE, DRAFTERS
from decoding.speculation.drafting import NoDrafter
from decoding.speculation.sampling import Sampling, choose

NUM_TOKENS = 24
# chosen: bfloat16 logits of other kernels, which add in another order, differ by less over the depth of a model.
TOLERANCE = 5e-2
NUM_DRAWN = 4000
CLASSES = 12


def rows_agree(setting: Setting) -> str:
    """Check row invariance with the probe of loading, at the width that the device is meant to have."""
    found = probe(setting.models.target)
    assert found.width > 1, found.describe()
    return found.describe()


def chains_agree(setting: Setting) -> str:
    """Check what the probe found of several chains in one pass."""
    target = _recorded(setting.models.target)
    probe(target)
    if not target.capabilities.verifies_drafts:
        raise Skipped("rows don't agree at any width")
    assert target.capabilities.max_chains > 1, "rows of chains are not those of steps"
    max_chains = target.capabilities.max_chains
    return f"{max_chains} chains of {target.capabilities.step_width // max_chains} rows, as steps of each"


def replay_equals_computing(setting: Setting) -> str:
    """Check that a replayed chunk, steps at several places and a draft's loop equal computed ones, to the bit."""
    target = _recorded(setting.models.target)
    again = target.unrecorded()
    caches = [model.new_cache() for model in (target, again)]
    ids = random_ids(target.chunk + 60, target.shape.vocabulary)
    for model, cache in zip((target, again), caches, strict=True):
        model.prefill(ids[: target.chunk], cache)
    at = target.chunk
    for count in (target.capabilities.step_width, 1, 3, target.capabilities.step_width):
        part = ids[at : at + count]
        replayed, computed = (model.step(part, cache) for model, cache in zip((target, again), caches, strict=True))
        assert torch.equal(replayed, computed), f"step at {at}: error {error(replayed, computed):.2g}"
        for cache in caches:
            cache.commit(part)
        at += count
    if setting.models.draft is None:
        return "target alike"
    draft = _recorded(setting.models.draft)
    once = draft.unrecorded()
    prompt = ids[:50]
    ahead = draft.draft_ahead(prompt, draft.new_cache(), 8)
    cache, singles = once.new_cache(), []
    logits = once.advance(prompt, cache)
    for _ in ahead:
        singles.append(int(logits.argmax()))
        logits = once.advance(singles[-1:], cache)
    assert [token_id for token_id, _ in ahead] == singles, "the draft's loop"
    return "target and draft alike"


def near_plain(setting: Setting) -> str:
    """Check that logits equal those of torch's own operations, up to rounding."""
    target = _recorded(setting.models.target)
    plain = target.plain()
    plain.capabilities = plain.capabilities.at_width(target.capabilities.step_width)
    ids = random_ids(target.chunk + target.capabilities.step_width, target.shape.vocabulary)
    logits = []
    models: tuple[CudaDecoder, Decoder] = (target, plain)
    for model in models:
        cache = model.new_cache()
        for start in range(0, target.chunk, model.chunk):
            model.prefill(ids[start : start + model.chunk], cache)
        logits.append(model.step(ids[target.chunk :], cache).float().clone())
    found = error(*logits)
    assert found < TOLERANCE, f"error {found:.2g}"
    return f"error {found:.1e}"


def drafters_are_lossless(setting: Setting) -> str:
    """Check greedy decoding with each drafter by itself and with all, cold and warm, against plain decoding."""
    models = setting.models
    if not models.target.capabilities.verifies_drafts:
        raise Skipped("rows don't agree at any width, so that nothing is drafted")
    names = [*(name for name in DRAFTERS if not registry.why_not(name, models)), AUTO, COMBINE]
    sessions = {name: Session(models) for name in names}
    vocabulary, longest = models.target.shape.vocabulary, models.target.shape.max_len - NUM_TOKENS - 1
    chunk = models.target.prefill_width
    cases = [(length, GREEDY) for length in (1, 64, 65, chunk + 1, longest)]
    cases += [(length, Sampling(temperature=0.8, top_p=0.95, seed=length)) for length in (30, chunk + 1)]
    for length, sampling in cases:
        prompt = random_ids(longest, vocabulary)[:length]
        plain = decode(models, prompt, NoDrafter(), NUM_TOKENS, models.target.new_cache(), sampling)
        for name, session in sessions.items():
            drafter = InOrder(session.drafters(name))
            for cache in (models.target.new_cache(), session.cache):
                found = decode(models, prompt, drafter, NUM_TOKENS, cache, sampling)
                assert found == plain, f"{name} behind {length} tokens at temperature {sampling.temperature:g}"
    return f"{', '.join(names)}: equal, greedy and sampled, cold and warm"


def sampling_has_its_distribution(setting: Setting) -> str:
    """Check draws from a known distribution on the device by chi-square."""
    device = setting.device
    logits = torch.linspace(0, 2, CLASSES, device=device).to(setting.models.target.dtype).unsqueeze(0)
    expected = logits[0].double().softmax(-1).cpu() * NUM_DRAWN
    sampling = Sampling(temperature=1.0, seed=1)
    drawn = [next(iter(choose(logits, sampling, position))) for position in range(NUM_DRAWN)]
    counts = torch.bincount(torch.tensor(drawn), minlength=CLASSES).double()
    deviation = float(((counts - expected) ** 2 / expected).sum())
    # The draws are seeded. By chance, 35 would be exceeded in two of ten thousand seeds.
    assert deviation < 35, f"chi-square {deviation:.1f}"
    return f"chi-square {deviation:.1f} of {CLASSES - 1} degrees"


def _recorded(model: LanguageModel) -> CudaDecoder:
    if not isinstance(model, CudaDecoder):
        raise Skipped("this model is not computed by recorded passes")
    return model
