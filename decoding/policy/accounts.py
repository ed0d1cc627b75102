"""A drafter's account: the time that it saved less the time that it took, and what it is known to take. Numbers only.

A drafter is charged what it takes when it is warm and undisturbed, and not what a clock showed this once: code and
tables of a young process are cold, so that a proposal takes several times as long, and a busy machine stops any thread
for milliseconds. Neither says anything of the next proposal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Final

from decoding.policy.calibration import Reliability
from decoding.policy.step_costs import LEARNING

# Shares of a step of one row.
FIRST_CREDIT: Final = 3.0
MOST_CREDIT: Final = 10.0  # a drafter that was good for long is given up after having lost this
LEAST_CREDIT: Final = -100.0
TUITION: Final = 16.0  # the first proposals of a process are free up to here, where nothing is known of their price
SECOND_CREDIT: Final = 1.0  # what a drafter begins with whose debt was forgiven
MOST_FORGIVEN: Final = 3.0

NUM_COLD: Final = 16  # proposals after which code and tables are warm
RISE: Final = 1.02  # of the price, at a proposal that took longer
FALL: Final = 0.25  # of the way to the time of a proposal that took less
FIRST_PATIENCE: Final = 32  # rounds in debt until it is forgiven
GROWING_PATIENCE: Final = 4  # times as many the next time

TRIAL_AFTER: Final = 64  # a kind of draft that isn't expected to pay is tried after having been left out so often
SOONEST_TRIAL: Final = 16  # the same of a proposal, by what it costs
LATEST_TRIAL: Final = 32
TRIALS: Final = 0.01  # of the time of steps may go into trials of what costs little
HOPE: Final = 2.0  # times its price: what a drafter is expected to save whose trial was worth it

CONTEXTS: Final = ("asked alone", "asked beside")
MAX_MS: Final = 1e6


class Price:
    """What a unit takes when the process is warm and nobody disturbs it.

    It is the lowest time of the first proposals, and from then on between the lowest and the median of the last ones:
    it falls fast and rises slowly, so that no single measurement can raise it by more than two hundredths.
    """

    __slots__ = ("_is_given", "_num_seen", "ms")

    def __init__(self) -> None:
        self.ms = 0.0  # nothing is known
        self._is_given = False
        self._num_seen = 0

    @property
    def is_open(self) -> bool:
        """Whether too little was seen to charge anybody for it."""
        return self._num_seen == 0 or (self._num_seen < NUM_COLD and not self._is_given)

    def learn(self, ms: float) -> None:
        """A unit took so long."""
        self._num_seen += 1
        if not self.ms:  # the very first reads code and fills tables: it says nothing of any other
            self.ms = ms if self._num_seen > 1 else 0.0
        elif ms < self.ms:
            self.ms = ms if self._num_seen <= NUM_COLD else self.ms + FALL * (ms - self.ms)
        elif self._num_seen > NUM_COLD or self._is_given:
            self.ms = min(ms, self.ms * RISE)

    def restore(self, ms: object) -> None:
        """Go on from what is known from elsewhere, if nothing is here; what is no time is passed over."""
        if _is_number(ms) and ms and not self.ms and not self._num_seen:
            self.ms = float(ms)  # type: ignore[arg-type]
            self._is_given = True


@dataclass(slots=True)
class AnswerAccount:
    """What a policy keeps of one answer under way, whatever becomes of the others.

    `invested_ms` is, by drafter, what reading its prompt took. Those in `resting` have too much to read for it; those
    in `asked` have been asked once at least.
    """

    language: str = ""
    num_left: int = 0
    num_emitted: int = 0
    invested_ms: dict[str, float] = field(default_factory=dict)
    resting: set[str] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)

    def count(self, num_tokens: int) -> None:
        """Take in that so many tokens were emitted."""
        self.num_emitted += num_tokens
        self.num_left -= num_tokens


@dataclass(slots=True)
class Account:
    """What has been learnt of one drafter, and whether it may be asked. Times are shares of `step_ms` where named so.

    `price` is of a token where each takes a pass of a model (`is_per_token`), and of a proposal elsewhere;
    `read_price` is of a token of a prompt.
    `invested_ms` of what is booked went into reading the prompts of answers under way: until they end, the drafter may
    earn it.
    `gain_ms` is what it is expected to save a round: where nothing else was proposed, and beside what was.
    """

    credit_ms: float
    gain_ms: list[float]
    is_per_token: bool = False
    price: Price = field(default_factory=Price)
    read_price: Price = field(default_factory=Price)
    reliability: Reliability = field(default_factory=Reliability)
    invested_ms: float = 0.0
    num_asked: int = 0
    _num_left_out: dict[str, int] = field(default_factory=dict)
    _tuition_ms: float = 0.0
    _in_debt_since: int | None = None
    _patience: int = FIRST_PATIENCE

    @classmethod
    def opened(cls, step_ms: float) -> Account:
        """An account with its first credit."""
        credit_ms = FIRST_CREDIT * step_ms
        return cls(credit_ms, [credit_ms / 2, credit_ms / 4])

    def know_costs(self, *, is_per_token: bool, token_ms: float, read_ms: float) -> None:
        """Take what was measured when the models were loaded, unless this or an earlier process has found more."""
        self.is_per_token = is_per_token
        self.price.restore(token_ms)
        self.read_price.restore(read_ms)

    @property
    def is_in_debt(self) -> bool:
        """Whether it has cost more than it brought, and may not be asked."""
        return self.credit_ms + self.invested_ms <= 0

    def book(self, ms: float, step_ms: float) -> None:
        """Pay in what was saved, or out, below 0, what was spent."""
        self.credit_ms = min(max(self.credit_ms + ms, LEAST_CREDIT * step_ms), MOST_CREDIT * step_ms)
        if self.credit_ms >= FIRST_CREDIT * step_ms:
            self._patience = FIRST_PATIENCE

    def charge(self, ms: float, num_units: int, step_ms: float) -> None:
        """A proposal of so many units took so long; what is charged is their price."""
        is_free = self._is_free(step_ms)
        self.price.learn(ms / num_units)
        if is_free:
            self._tuition_ms += num_units * self.price.ms
        else:
            self.book(-num_units * self.price.ms, step_ms)

    def _is_free(self, step_ms: float) -> bool:
        """Whether its next proposal is paid by nobody, as its price isn't known."""
        return self.price.is_open and self._tuition_ms < TUITION * step_ms

    def expect(self, gain_ms: float, context: int) -> None:
        """What it proposed in a round promised to save so much."""
        was_trial = self.gain_ms[context] < self.price.ms
        self.gain_ms[context] += LEARNING / 2 * (gain_ms - self.gain_ms[context])
        if was_trial and gain_ms >= self.price.ms:  # where one match is, there are more
            self.gain_ms[context] = max(self.gain_ms[context], HOPE * self.price.ms)

    def is_worth_asking(self, context: int, step_ms: float) -> bool:
        """Whether a proposal is expected to save what it takes, or is to be tried now and then."""
        if self.gain_ms[context] >= self.price.ms or self._is_free(step_ms):
            return True
        num_rounds = min(max(SOONEST_TRIAL, int(self.price.ms / (TRIALS * step_ms))), LATEST_TRIAL)
        if self.price.is_open:  # it may be a cold one
            num_rounds = SOONEST_TRIAL
        return self.leave_out(CONTEXTS[context], num_rounds)

    def forgive(self, num_rounds: int, step_ms: float) -> None:
        """Let it try anew after some time in a small debt, which grows from one time to the next.

        Without it, a drafter that was misjudged once would wait for the allowance to pay what it never owed. As the
        time grows, one that is useless gets this a few times in its life.
        """
        if not self.is_in_debt:
            self._in_debt_since = None
            return
        if self._in_debt_since is None:
            self._in_debt_since = num_rounds
        waited = num_rounds - self._in_debt_since
        if waited >= self._patience and self.credit_ms > -MOST_FORGIVEN * step_ms:
            self._patience *= GROWING_PATIENCE
            self._in_debt_since = None
            self.credit_ms = SECOND_CREDIT * step_ms

    def leave_out(self, kind: str, trial_after: int = TRIAL_AFTER) -> bool:
        """Count that a draft isn't worth its time; whether it has been so long that one is to be tried."""
        self._num_left_out[kind] = self._num_left_out.get(kind, 0) + 1
        if self._num_left_out[kind] <= trial_after:
            return False
        self._num_left_out[kind] = 0
        return True

    def to_json(self, step_ms: float) -> dict[str, Any]:
        """What is worth keeping: the price, the gain in steps, and how far its word can be taken."""
        return {
            "unit_ms": round(self.price.ms, 6),
            "gain_steps": [round(gain_ms / step_ms, 4) for gain_ms in self.gain_ms],
            "reliability": self.reliability.to_json(),
        }

    def restore(self, value: object, step_ms: float) -> None:
        """Go on from what was kept; what has another form is passed over."""
        if not isinstance(value, dict):
            return
        self.reliability.restore(value.get("reliability"))
        self.price.restore(value.get("unit_ms"))
        gains = value.get("gain_steps")
        if isinstance(gains, list) and len(gains) == len(self.gain_ms) and all(map(_is_number, gains)):
            self.gain_ms = [min(gain, MOST_CREDIT) * step_ms for gain in gains]


def _is_number(value: object) -> bool:
    """Whether a value of a file is a time or a ratio of times that can have been measured."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and 0 <= value < MAX_MS  # type: ignore[operator, arg-type]
