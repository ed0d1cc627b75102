"""Runs `tabcast bench replay`: types what a commit inserted, and counts the keys that suggestions would have saved.

The user types the gold text key by key on an empty line; at each pause a completion is asked for, unless the text on
the screen agrees with what was typed. One key accepts the whole suggestion, its first line or its first word, if the
gold text agrees with it and it has three characters at least (research of JetBrains: ratio of completed code). With a
clock, a suggestion that is not there before the next key doesn't count. Knows no model: it is given a function that
suggests.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial

import numpy as np

from decoding.bench.harness.data import ReplayRow
from decoding.bench.metrics import accuracy, quality

MIN_ACCEPTED = 3
# measured: quantiles (10, 25, 50, 75, 90 %) of the gaps between edits in a recorded session of 92 minutes.
KEY_GAPS_MS = (21.0, 67.0, 116.0, 257.0, 898.0)
WORD = re.compile(r"\s*(?:\w+|[^\w\s]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedOffer:
    """A suggestion, "" for none, what it cost, and whether it fits its place."""

    text: str
    ms: float
    num_tokens: int = 0
    num_steps: int = 0
    verdict: quality.Verdict | None = None


Suggest = Callable[[int], ReplayedOffer]
"""What is suggested behind so many characters of the gold text."""


def _first_line(text: str) -> str:
    end = text.find("\n", len(text) - len(text.lstrip("\n")))
    return text if end < 0 else text[:end]


def _first_word(text: str) -> str:
    found = WORD.match(text)
    return found[0] if found else ""


MODES: dict[str, Callable[[str], str]] = {
    "whole": lambda text: text,
    "first line": _first_line,
    "first word": _first_word,
}


@dataclass(slots=True)
class Typing:
    """One insertion, typed in one mode.

    `kept_rates` and `verdicts` have an entry for each suggestion that was shown.
    """

    repository: str = ""
    commit: str = ""
    num_completed: int = 0
    num_typed: int = 0
    accept_keys: int = 0
    num_accepted: int = 0
    kept_rates: list[float] = field(default_factory=list)
    verdicts: list[quality.Verdict] = field(default_factory=list)
    offers: list[ReplayedOffer] = field(default_factory=list)

    @property
    def completed_percent(self) -> float:
        """Return the ratio of completed code: the share of entered characters that suggestions brought."""
        return 100 * self.num_completed / (self.num_completed + self.num_typed)

    @property
    def saved_percent(self) -> float:
        """Return the share of keys saved against typing everything; accepting costs one key."""
        return 100 * (1 - (self.num_typed + self.accept_keys) / (self.num_completed + self.num_typed))


Replayed = dict[tuple[str, bool], Typing]
"""A row's typing, by mode and whether there was a clock."""


def place(row: ReplayRow) -> tuple[str, str]:
    """Return the typed text and the text behind it, which has the insertion's last line end, as on a new line."""
    if row.gold.endswith("\n"):
        return row.gold[:-1], "\n" + row.suffix
    return row.gold, row.suffix


def type_out(gold: str, suggest: Suggest, part: Callable[[str], str], gaps_ms: Sequence[float] | None = None) -> Typing:
    """Type `gold`; `part` is what a key accepts of a suggestion, `gaps_ms` the time to the next key at each place."""
    typing = Typing()
    position, on_screen, is_accepted = 0, "", False
    while position < len(gold):
        if not on_screen.strip():
            offer = suggest(position)
            typing.offers.append(offer)
            is_in_time = gaps_ms is None or offer.ms < gaps_ms[position]
            on_screen = offer.text if is_in_time else ""
            is_accepted = False
            if on_screen.strip():
                typing.kept_rates.append(accuracy.kept_rate(on_screen, gold[position:]))
                typing.verdicts += [offer.verdict] if offer.verdict is not None else []
        piece = part(on_screen)
        if len(piece) >= MIN_ACCEPTED and gold.startswith(piece, position):
            typing.accept_keys += 1
            typing.num_accepted += not is_accepted
            is_accepted = True
            typing.num_completed += len(piece)
            position, on_screen = position + len(piece), on_screen[len(piece) :]
        else:
            on_screen = on_screen[1:] if on_screen.startswith(gold[position]) else ""
            typing.num_typed += 1
            position += 1
    return typing


def replay(
    rows: Sequence[ReplayRow],
    suggest: Callable[[ReplayRow, int], ReplayedOffer],
    gaps_ms: Sequence[float],
    special: Sequence[str] = (),
) -> Iterator[Replayed]:
    """Type each row in all modes with and without a clock; a row at a time, so that an interrupted run keeps some.

    A place is asked for once: its suggestion and the time that it took serve all modes.
    `special` are the names of the model's special tokens.
    """
    for number, row in enumerate(rows):
        ask = cache(partial(_judged, row, suggest, special))
        gold, _ = place(row)
        of_row: Replayed = {}
        drawn = np.random.default_rng(number).choice(np.array(gaps_ms), size=len(gold)).tolist()
        for has_clock in (False, True):
            for mode, part in MODES.items():
                typing = type_out(gold, ask, part, drawn if has_clock else None)
                typing.repository, typing.commit = row.repository, row.commit
                of_row[mode, has_clock] = typing
        yield of_row


def _judged(
    row: ReplayRow, suggest: Callable[[ReplayRow, int], ReplayedOffer], special: Sequence[str], position: int
) -> ReplayedOffer:
    offer = suggest(row, position)
    if not offer.text.strip():
        return offer
    gold, suffix = place(row)
    before = row.prefix + gold[:position]
    verdict = quality.judge(before, offer.text, suffix, special, is_python=row.path.endswith(".py"))
    return replace(offer, verdict=verdict)


def summarise(done: Sequence[Replayed], settings: str) -> Iterator[dict[str, object]]:
    """Yield a row for each mode, repository (and all of them) and clock."""
    names = sorted({typing.repository for of_row in done for typing in of_row.values()})
    for has_clock in (False, True):
        for mode in MODES:
            typings = [of_row[mode, has_clock] for of_row in done]
            for name in [*names, *(["all"] if len(names) > 1 else [])]:
                chosen = [typing for typing in typings if name in (typing.repository, "all")]
                yield {
                    "method": f"{mode}, {name}" + (", clock" if has_clock else ""),
                    **_row(chosen),
                    "settings": settings,
                }


def _row(typings: Sequence[Typing]) -> dict[str, object]:
    offers = [offer for typing in typings for offer in typing.offers]
    kept = [(rate, typing.commit) for typing in typings for rate in typing.kept_rates]
    times = [offer.ms for offer in offers]
    steps = sum(offer.num_steps for offer in offers)
    commits = [typing.commit for typing in typings]
    return {
        "count": len(typings),
        **_interval("completed_percent", [typing.completed_percent for typing in typings], commits),
        **_interval("keystrokes_saved_percent", [typing.saved_percent for typing in typings], commits),
        "accepts_per_100_shown": round(100 * sum(t.num_accepted for t in typings) / len(kept), 1) if kept else None,
        **_interval("kept_percent", [100 * rate for rate, _ in kept], [commit for _, commit in kept]),
        "shown": len(kept),
        "asked": len(offers),
        **quality.summarise([verdict for typing in typings for verdict in typing.verdicts]),
        "tokens_per_step": round(sum(offer.num_tokens for offer in offers) / steps, 2) if steps else None,
        **{f"p{share}_ms": round(accuracy.percentile(times, share / 100)) for share in (50, 90, 95, 99)},
    }


def _interval(name: str, values: Sequence[float], commits: Sequence[str]) -> dict[str, object]:
    if not values:
        return {name: None}
    found = accuracy.mean_interval(values, commits)
    return {name: round(found.mean, 1), f"{name}_interval": [round(found.low, 1), round(found.high, 1)]}
