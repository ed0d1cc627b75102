"""Computes the figures of `tabcast bench decode`: a row a method, from its runs. Pure; knows no model."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from decoding.bench.harness import baselines
from decoding.bench.suites.decode import PLAIN, PLAIN_FASTEST, Run

Gap = Callable[[list[int], int, int], float]
"""By how much the target prefers its own token to another one behind these."""


def rows(
    runs: dict[str, list[list[Run]]], prompts: Sequence[list[int]], gap: Gap | None = None
) -> Iterator[dict[str, Any]]:
    """Yield a row a method: its speed over all prompts, by the median run of each."""
    fastest = _tokens_per_s(runs[PLAIN_FASTEST])
    reference = _tokens_per_s(runs[baselines.GENERATE]) if baselines.GENERATE in runs else None
    expected = [found[0].token_ids for found in runs[PLAIN]]
    for name, by_prompt in runs.items():
        every = [run for found in by_prompt for run in found]
        speed = _tokens_per_s(by_prompt)
        same = [run.token_ids == wanted for found, wanted in zip(by_prompt, expected, strict=True) for run in found]
        yield {
            "method": name,
            "tokens_per_s": round(speed, 1),
            "speedup": round(speed / fastest, 3),
            "speedup_over_transformers": None if reference is None else round(speed / reference, 3),
            **_steps(every),
            **_drafts(every),
            **_shares(every),
            "ms_per_token_by_context": _ms_per_token_by_context(by_prompt, prompts),
            "ms_by_completion_length": _ms_by_completion_length(by_prompt),
            "prefill_ms": round(1e3 * statistics.median(run.prefill_s for run in every), 2),
            "identical_percent": round(100 * sum(same) / len(same), 2),
            "divergence": _divergence(by_prompt, expected, prompts, gap),
        }


def beside_floor(row: dict[str, Any], floor_ms: float | None) -> dict[str, float | None]:
    """Compare a row's steps with `floor_ms`, the least time that one can take: its bytes at the memory's speed."""
    step_ms = row["ms_per_step"]
    if floor_ms is None or not step_ms:
        return {}
    return {"floor_ms_per_step": round(floor_ms, 3), "times_floor": round(step_ms / floor_ms, 3)}


Drafts = Sequence[tuple[int, int, int]]
"""(tokens, accepted, how many tokens had matched before) of each."""


def accepted_by_position(drafts: Drafts) -> list[float]:
    """Return, for each i, the share of drafts with an i-th token whose i-th token was accepted."""
    longest = max((length for length, _, _ in drafts), default=0)
    accepted = [[num_accepted > i for length, num_accepted, _ in drafts if length > i] for i in range(longest)]
    return [round(sum(stood) / len(stood), 4) for stood in accepted]


def accepted_by_match(drafts: Drafts) -> list[list[float]]:
    """Return rows of [matched tokens, drafts, drafted tokens, share of these that was accepted], by match length."""
    found: dict[int, list[int]] = {}
    for length, num_accepted, match_len in drafts:
        counts = found.setdefault(match_len, [0, 0, 0])
        for i, more in enumerate((1, length, num_accepted)):
            counts[i] += more
    return [
        [match_len, n, drafted, round(stood / drafted, 4)] for match_len, (n, drafted, stood) in sorted(found.items())
    ]


def _steps(every: Sequence[Run]) -> dict[str, Any]:
    steps = sum(run.num_steps for run in every)
    later = steps - len(every)  # the first step of each run belongs to the prefill
    decode_s = sum(run.decode_s for run in every)
    return {
        "tokens_per_step": round(sum(run.decoded_tokens + 1 for run in every) / steps, 3) if steps else None,
        "ms_per_step": round(1e3 * decode_s / later, 3) if later > 0 else None,
    }


def _drafts(every: Sequence[Run]) -> dict[str, Any]:
    drafters = {
        drafter: {
            "drafted": sum(run.drafted.get(drafter, 0) for run in every),
            "accepted": sum(run.accepted.get(drafter, 0) for run in every),
        }
        for drafter in sorted({drafter for run in every for drafter in run.drafted})
    }
    drafted = sum(counts["drafted"] for counts in drafters.values())
    draft_s = sum(run.draft_s for run in every)
    accepted = sum(counts["accepted"] for counts in drafters.values())
    return {
        "drafters": drafters,
        "draft_ms_per_token": round(1e3 * draft_s / drafted, 3) if drafted else None,
        "accepted_percent": round(100 * accepted / drafted, 1) if drafted else None,
        "accepted_by_position": accepted_by_position([draft for run in every for draft in run.drafts]),
        "accepted_by_match": accepted_by_match([draft for run in every for draft in run.drafts]),
    }


def _shares(every: Sequence[Run]) -> dict[str, float | None]:
    """Return shares of the whole time; for a baseline, only that of the prefill is known."""
    whole_s = sum(run.prefill_s + run.decode_s for run in every)
    spent = {"prefill": sum(run.prefill_s for run in every), "draft": sum(run.draft_s for run in every)}
    verify = [run.verify_s for run in every if run.verify_s is not None]
    if len(verify) == len(every):
        spent["verify"] = sum(verify)
        spent["other"] = whole_s - sum(spent.values())
    is_known = any(run.num_steps for run in every)
    return {
        f"{name}_percent": round(100 * seconds / whole_s, 1) if is_known or name == "prefill" else None
        for name, seconds in spent.items()
    }


def _ms_per_token_by_context(by_prompt: Sequence[Sequence[Run]], prompts: Sequence[list[int]]) -> list[list[float]]:
    """Return [prompt tokens, median milliseconds a decoded token] of each prompt, by length."""
    return sorted(
        [len(prompt), round(1e3 * statistics.median(run.decode_s / max(1, run.decoded_tokens) for run in found), 3)]
        for prompt, found in zip(prompts, by_prompt, strict=False)
    )


def _ms_by_completion_length(by_prompt: Sequence[Sequence[Run]]) -> list[list[float]]:
    """Return [tokens, milliseconds from the request to the last of them], prefill included: the mean over prompts.

    Our own runs tell each step's time; a baseline's only its first token's and its last one's.
    """
    first = by_prompt[0][0]
    longest = min(run.timeline[-1][0] for found in by_prompt for run in found)
    is_dense = first.num_steps > 0
    lengths = sorted({1, longest, *(2**i for i in range(longest.bit_length()) if is_dense)})
    return [
        [
            length,
            round(
                1e3
                * statistics.mean(statistics.median(_seconds_to(run, length) for run in found) for found in by_prompt),
                3,
            ),
        ]
        for length in lengths
    ]


def _seconds_to(run: Run, length: int) -> float:
    return next(seconds for num_tokens, seconds in run.timeline if num_tokens >= length)


def _tokens_per_s(by_prompt: Sequence[Sequence[Run]]) -> float:
    """Return the tokens a second of the median run of each prompt; the runs of a prompt emit equal tokens."""
    tokens = sum(found[0].decoded_tokens for found in by_prompt)
    return tokens / sum(statistics.median(run.decode_s for run in found) for found in by_prompt)


def _divergence(
    by_prompt: Sequence[Sequence[Run]], expected: Sequence[list[int]], prompts: Sequence[list[int]], gap: Gap | None
) -> dict[str, float] | None:
    """Return where the first continuation that differs does so, and how near a call it was.

    `largest_gap` is that of the clearest call among all continuations that differ, each at its first difference.
    """
    found: list[dict[str, float]] = []
    for number, (runs, wanted) in enumerate(zip(by_prompt, expected, strict=True)):
        ours = runs[0].token_ids
        if ours == wanted:
            continue
        at = next((i for i, (a, b) in enumerate(zip(ours, wanted, strict=False)) if a != b), None)
        place: dict[str, float] = {"prompt": number, "token": min(len(ours), len(wanted)) if at is None else at}
        if gap is not None and at is not None:
            place["logit_gap"] = gap([*prompts[number], *wanted[:at]], wanted[at], ours[at])
        found.append(place)
    if not found:
        return None
    gaps = [place["logit_gap"] for place in found if "logit_gap" in place]
    return {**found[0], **({"largest_gap": max(gaps)} if gaps else {})}
