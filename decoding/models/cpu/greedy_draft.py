"""Drafts several tokens greedily, one after the other, without the interpreter in between."""

from __future__ import annotations

import numpy as np

from decoding.models.cpu.compiling import compiled
from decoding.models.cpu.forward import lead, open_again
from decoding.models.cpu.intrinsics import exponentiate, largest, read_float, write_float
from decoding.models.cpu.job_layout import LOGITS, NUM_LOGIT_ROWS, NUM_ROWS, OUTPUTS, START
from decoding.models.cpu.matmul import padded
from decoding.models.cpu.simd import LANES


@compiled
def draft(state, job, layers, head, eps, mine, tokens, counters, vocabulary, others, least, ids, shares):
    """Run an open job, then one pass for each chosen token but the last; return how many were chosen.

    The first arguments are those of `forward.lead`; `tokens`, (prefill_width,) int64, and `counters` are the arrays
    that the job points to. The head has `vocabulary` outputs; the last ones stand for the tokens `others`, and each one
    before for the token of its number. `ids` (N,) int64 gets the tokens, and `shares` (N,) float32 the probability of
    each; the first that has less than `least` is the last.
    """
    num_chosen = 0
    while True:
        lead(state, job, layers, head, eps, mine)
        token, shares[num_chosen] = likeliest(job[LOGITS], vocabulary, padded(head[OUTPUTS]))
        num_plain = vocabulary - len(others)
        ids[num_chosen] = others[token - num_plain] if token >= num_plain else token
        num_chosen += 1
        if num_chosen == len(ids) or shares[num_chosen - 1] < least:
            return num_chosen
        counters[:] = 0
        tokens[0] = ids[num_chosen - 1]
        job[START] += job[NUM_ROWS]
        job[NUM_ROWS] = job[NUM_LOGIT_ROWS] = 1
        open_again(state)


@compiled
def likeliest(logits, vocabulary, width):
    """Return the first of the largest logits and its probability; the logits are overwritten."""
    for i in range(vocabulary, width):
        write_float(logits + 4 * i, np.float32(-np.inf))
    best = largest(logits, width // LANES)
    token = 0
    while token < vocabulary - 1 and read_float(logits + 4 * token) != best:
        token += 1
    return token, np.float32(1.0) / exponentiate(logits, width // LANES, best)
