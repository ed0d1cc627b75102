"""Chooses the target's own token at each position from its logits. Pure functions on tensors.

At temperature 0 it is the largest logit. Above, the noise of a token at a position depends on (seed, stream, position,
token) alone, so that a choice is the same whichever step computed it: a drafted token is accepted exactly where the
target would have sampled it, and sampled output is equal with and without drafts. Rejection sampling (Leviathan et al.
2023, https://arxiv.org/abs/2211.17192) promises the same distribution only; here there is no residual to draw from, and
no second or third random number that could be confused with the first.

Gumbel-max trick: Gumbel 1954; Maddison et al. 2014 (https://arxiv.org/abs/1411.0030). Counter-based noise: Salmon et
al. 2011 ("Parallel random numbers: as easy as 1, 2, 3"), with the mixing function of SplitMix64 (Steele et al. 2014,
"Fast splittable pseudorandom number generators"). Nucleus: Holtzman et al. 2019 (https://arxiv.org/abs/1904.09751).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

# So many tokens nearly always hold `top_p` of the probability. To sort the whole vocabulary takes ten times as long.
NUCLEUS = 256
NUM_UNIFORM_BITS = 52  # half a unit more is still exact in float64, so that a uniform number is never 0 or 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """The parameters by which one answer is chosen. `temperature` 0 is greedy.

    `top_k` keeps the likeliest tokens, 0 all of them; `top_p` keeps of those the likeliest whose probabilities sum to
    it. `seed` and `stream` name the noise: the answers to one request have streams of their own. `branch` is for greedy
    answers that shall differ: at position `branch_at` the token of that rank is taken, 0 being the likeliest.
    `never_ids` are numbers within the vocabulary that are no tokens.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    stream: int = 0
    branch: int = 0
    branch_at: int = 0
    never_ids: tuple[int, ...] = ()


class Score(NamedTuple):
    """Natural logarithms of the probabilities of a chosen token and of the likeliest ones, in falling order."""

    logprob: float
    likeliest: tuple[tuple[int, float], ...] = ()


def choose(logits: Tensor, sampling: Sampling, position: int) -> Iterable[int]:
    """Return the target's token after each row. On a CPU sampled tokens are drawn lazily, as they are asked for.

    Args:
        logits: (T, V) float, row i predicts the token at `position` + i; those of `never_ids` are overwritten.
        sampling: how to choose.
        position: absolute position of the first predicted token.
    """
    if sampling.never_ids:
        _bar(logits, sampling.never_ids)
    if sampling.temperature > 0:
        drawn = ((row, position + i) for i, row in enumerate(logits))
        if logits.device.type == "cpu":
            return (sample(row, sampling, at) for row, at in drawn)
        return _sample_all(list(drawn), sampling)
    chosen = _likeliest(logits)
    if sampling.branch and 0 <= (at := sampling.branch_at - position) < len(chosen):
        chosen[at] = _of_rank(logits[at], sampling.branch)
    return chosen


def _likeliest(logits: Tensor) -> list[int]:
    """Return the first largest entry of each row; numpy wakes no threads, which would cost more than they save."""
    if logits.device.type == "cpu" and logits.dtype == torch.float32:
        return list(map(int, logits.numpy().argmax(axis=-1)))
    ids: list[int] = logits.argmax(dim=-1).tolist()
    return ids


@torch.inference_mode()
def barred(logits: Tensor, allowed_ids: Sequence[int]) -> Tensor:
    """Return `logits` (…, V) with −inf for all tokens that are not allowed."""
    allowed = torch.tensor(allowed_ids, dtype=torch.int64, device=logits.device)
    return torch.full_like(logits, -torch.inf).index_copy_(-1, allowed, logits[..., allowed])


@torch.inference_mode()
def _bar(logits: Tensor, ids: Sequence[int]) -> None:
    """Bar tokens in place, in each row (…, V)."""
    logits.index_fill_(-1, torch.tensor(ids, dtype=torch.int64, device=logits.device), -torch.inf)


@torch.inference_mode()
def sample(logits: Tensor, sampling: Sampling, position: int) -> int:
    """Draw the token at `position` from the softmax of `logits` (V,), cut to top-k and top-p.

    Rows are looked at one by one, each in the same shape: a vectorised exponential or sum over several rows may round
    the same row differently, depending on which row it is.
    """
    token_id, is_short = _draw(logits, sampling, position, NUCLEUS)
    if is_short:
        token_id, _ = _draw(logits, sampling, position, len(logits))
    return int(token_id)


@torch.inference_mode()
def _sample_all(rows: Sequence[tuple[Tensor, int]], sampling: Sampling) -> list[int]:
    """Draw from all rows at their positions before the host reads any: one copy from the device serves all."""
    drawn = [torch.stack(_draw(row, sampling, position, NUCLEUS)) for row, position in rows]
    found = zip(rows, torch.stack(drawn).tolist(), strict=True)
    return [sample(row, sampling, at) if is_short else token_id for (row, at), (token_id, is_short) in found]


def _draw(logits: Tensor, sampling: Sampling, position: int, most: int) -> tuple[Tensor, Tensor]:
    """Return the token, and whether the `most` likeliest tokens are too few to hold `top_p`: int64, on the device."""
    values = logits.to(torch.float64, copy=True).div_(sampling.temperature)
    is_short = torch.zeros((), dtype=torch.int64, device=logits.device)
    ids: Tensor | None = None
    if 0 < sampling.top_k < len(values):
        values, ids = values.topk(sampling.top_k)
    if sampling.top_p < 1:
        values, kept, is_short = _nucleus(values, sampling.top_p, most)
        ids = kept if ids is None else ids[kept]
    best = (values + gumbel(sampling, position, len(logits), ids, logits.device)).argmax()
    return (best if ids is None else ids.take(best)), is_short


def score(logits: Tensor, token_id: int, num_likeliest: int = 0) -> Score:
    """Return log-probabilities at temperature 1 under `logits` (V,), before top-k and top-p, alike in every row."""
    values = logits.to(torch.float64, copy=True)
    values -= values.logsumexp(dim=-1)
    if not num_likeliest:
        return Score(float(values[token_id]))
    best = values.topk(min(num_likeliest, len(values)))
    return Score(float(values[token_id]), tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True)))


def gumbel(
    sampling: Sampling, position: int, vocabulary: int, ids: Tensor | None = None, device: torch.device | str = "cpu"
) -> Tensor:
    """Return standard Gumbel noise, float64, of the tokens `ids` (N,) at a position; without `ids` of all (V,)."""
    name = f"{sampling.seed}/{sampling.stream}/{position}".encode()
    key = int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little", signed=True)
    states = _states(vocabulary, str(device)) if ids is None else ids * _GOLDEN
    uniform = (_mix(states + key) & (2**NUM_UNIFORM_BITS - 1)).double().add_(0.5).mul_(2.0**-NUM_UNIFORM_BITS)
    noise: Tensor = uniform.log_().neg_().log_().neg_()
    return noise


def _of_rank(logits: Tensor, rank: int) -> int:
    """Return the token of a rank in `logits` (V,), 0 being the likeliest; the likeliest where fewer are allowed."""
    best = logits.clone().topk(min(rank + 1, len(logits)))
    return int(best.indices[-1] if best.values[-1] > -torch.inf else best.indices[0])


def _nucleus(values: Tensor, top_p: float, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the fewest largest `values` (N,) whose softmax sums to `top_p`, at least one, and their indices.

    There are at most `most`, in falling order, those behind the fewest being −inf; and whether they are too few.
    """
    normaliser = values.logsumexp(dim=-1)
    kept, order = values.topk(most) if most < len(values) else values.sort(descending=True)
    cumulative = (kept - normaliser).exp_().cumsum(dim=-1)
    kept[1:].masked_fill_(cumulative[:-1] >= top_p, -torch.inf)
    return kept, order, ((cumulative[-1] < top_p) & (most < len(values))).long()


def _signed(word: int) -> int:
    """Return a 64-bit word as torch's int64 holds it; products wrap around alike."""
    return word - 2**64 if word >= 2**63 else word


_GOLDEN, _FIRST, _SECOND = (_signed(w) for w in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


@lru_cache(maxsize=8)
def _states(vocabulary: int, device: str) -> Tensor:
    return torch.arange(vocabulary, device=device) * _GOLDEN


def _mix(words: Tensor) -> Tensor:
    """Apply SplitMix64's output function in place; int64 shifts carry the sign, which the masks remove."""
    words ^= (words >> 30) & (2**34 - 1)
    words *= _FIRST
    words ^= (words >> 27) & (2**37 - 1)
    words *= _SECOND
    words ^= (words >> 31) & (2**33 - 1)
    return words
