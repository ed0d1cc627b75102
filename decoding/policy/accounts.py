"""Keeps a drafter's account: the time that it saved less the time that it took, and its known price. Numbers only.

A drafter is charged what it takes when it is warm and undisturbed, and not what a clock showed this once: code and
tables of a young process are cold, so that a proposal takes several times as long, and a busy machine stops any thread
for milliseconds. Neither says anything of the next proposal. (docs/decisions/drafting-and-policy.md has the figures.)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from decoding.policy.calibration import Reliability
from decoding.policy.step_costs import LEARNING

# Amounts, in steps of one row. measured: with 0.5 and 2 as first and most credit, look-up saved 25 to 30 % of the time
# in simulation; with these 29 to 34 %.
FIRST_CREDIT: Final = 3.0
MOST_CREDIT: Final = 10.0  # a drafter that was good for long is given up after having lost this much
LEAST_CREDIT: Final = -100.0
TUITION: Final = 16.0  # chosen: while nothing is known of their price, proposals are free up to this sum
SECOND_CREDIT: Final = 1.0  # chosen: the credit of a drafter whose debt was forgiven
MOST_FORGIVEN: Final = 3.0

NUM_COLD: Final = 16  # chosen: after so many proposals code and tables are warm
RISE: Final = 1.02  # chosen: the price rises by this factor at most, at a proposal that took longer
FALL: Final = 0.25  # chosen: the price falls by this share of the way to a shorter time
FIRST_PATIENCE: Final = 32  # chosen: a debt is forgiven after so many rounds
GROWING_PATIENCE: Final = 4  # chosen: the next debt takes so many times as long

TRIAL_AFTER: Final = 64  # chosen: a kind of draft that isn't expected to pay is tried after so many omissions
SOONEST_TRIAL: Final = 16  # chosen: a proposal is tried after so many rounds up to `LATEST_TRIAL`, by its price
LATEST_TRIAL: Final = 32
TRIALS: Final = 0.01  # chosen: this share of the time of steps may go into trials of cheap proposals
HOPE: Final = 2.0  # chosen: after a trial that paid, a drafter is expected to save so many times its price

CONTEXTS: Final = ("asked alone", "asked beside")
MAX_MS: Final = 1e6


class Price:
    """The time of a unit (a token or a proposal) in milliseconds, when the process is warm and undisturbed.

    It is the lowest time of the first proposals, and from then on between the lowest and the median of the last ones:
    it falls fast and rises slowly, so that no single measurement can raise it by more than two hundredths.
    """

    __slots__ = ("_is_given", "_num_seen", "ms")

    def __init__(self) -> None:
        self.ms = 0.0  # 0 means unknown
        self._is_given = False
        self._num_seen = 0

    @property
    def is_open(self) -> bool:
        """Whether too little was measured to charge for a unit."""
        return self._num_seen == 0 or (self._num_seen < NUM_COLD and not self._is_given)

    def learn(self, ms: float) -> None:
        """Learn that a unit took so many milliseconds."""
        self._num_seen += 1
        if not self.ms:  # the very first is ignored: it loads code and fills tables
            self.ms = ms if self._num_seen > 1 else 0.0
        elif ms < self.ms:
            self.ms = ms if self._num_seen <= NUM_COLD else self.ms + FALL * (ms - self.ms)
        elif self._num_seen > NUM_COLD or self._is_given:
            self.ms = min(ms, self.ms * RISE)

    def restore(self, ms: object) -> None:
        """Start from a price known from elsewhere, the lowest, unless one was measured here; ignore an invalid value.

        A machine that was busy when one was taken makes it too high, and what is too dear is never asked again.
        """
        if _is_number(ms) and ms and not self._num_seen and (not self.ms or ms < self.ms):  # type: ignore[operator]
            self.ms = float(ms)  # type: ignore[arg-type]
            self._is_given = True


@dataclass(slots=True)
class AnswerAccount:
    """The policy's account of one answer in progress, independent of all others.

    `invested_ms` is the time that reading its prompt took, by drafter. Drafters in `resting` would have too much to
    read for it; those in `asked` were asked at least once.
    """

    language: str = ""
    num_left: int = 0
    num_emitted: int = 0
    invested_ms: dict[str, float] = field(default_factory=dict)
    resting: set[str] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)

    def count(self, num_tokens: int) -> None:
        """Count emitted tokens of the answer."""
        self.num_emitted += num_tokens
        self.num_left -= num_tokens


@dataclass(slots=True)
class Account:
    """All that has been learnt of one drafter, and whether it may be asked.

    `price` is that of a token where each takes a pass of a model (`is_per_token`), and of a whole proposal otherwise;
    `read_price` is that of a token of a prompt. `invested_ms` is the part of the costs that went into reading the
    prompts of answers in progress: until they end, the drafter may earn it. `gain_ms` is the time that it is expected
    to save a round: where nothing else was proposed, and beside other proposals.
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
        """Return an account with its first credit."""
        credit_ms = FIRST_CREDIT * step_ms
        return cls(credit_ms, [credit_ms / 2, credit_ms / 4])

    def know_costs(self, *, is_per_token: bool, token_ms: float, read_ms: float) -> None:
        """Take the costs that were measured when the models were loaded, unless later measurements are known."""
        self.is_per_token = is_per_token
        self.price.restore(token_ms)
        self.read_price.restore(read_ms)

    @property
    def is_in_debt(self) -> bool:
        """Whether it has cost more than it saved, and may not be asked."""
        return self.credit_ms + self.invested_ms <= 0

    def book(self, ms: float, step_ms: float) -> None:
        """Pay in milliseconds that were saved; below 0, pay out those that were spent."""
        self.credit_ms = min(max(self.credit_ms + ms, LEAST_CREDIT * step_ms), MOST_CREDIT * step_ms)
        if self.credit_ms >= FIRST_CREDIT * step_ms:
            self._patience = FIRST_PATIENCE

    def charge(self, ms: float, num_units: int, step_ms: float) -> None:
        """Charge a proposal of so many units by their price; the measured time only teaches the price."""
        is_free = self._is_free(step_ms)
        self.price.learn(ms / num_units)
        if is_free:
            self._tuition_ms += num_units * self.price.ms
        else:
            self.book(-num_units * self.price.ms, step_ms)

    def _is_free(self, step_ms: float) -> bool:
        """Return whether its next proposal is free, because its price isn't known."""
        return self.price.is_open and self._tuition_ms < TUITION * step_ms

    def expect(self, gain_ms: float, context: int) -> None:
        """Learn that its proposal of a round promised to save so many milliseconds."""
        was_trial = self.gain_ms[context] < self.price.ms
        self.gain_ms[context] += LEARNING / 2 * (gain_ms - self.gain_ms[context])
        if was_trial and gain_ms >= self.price.ms:  # one match makes more matches likely
            self.gain_ms[context] = max(self.gain_ms[context], HOPE * self.price.ms)

    def is_worth_asking(self, context: int, step_ms: float) -> bool:
        """Return whether a proposal is expected to save more than it takes, or is due for a trial."""
        if self.gain_ms[context] >= self.price.ms or self._is_free(step_ms):
            return True
        num_rounds = min(max(SOONEST_TRIAL, int(self.price.ms / (TRIALS * step_ms))), LATEST_TRIAL)
        if self.price.is_open:  # the price may be one of a cold process
            num_rounds = SOONEST_TRIAL
        return self.leave_out(CONTEXTS[context], num_rounds)

    def forgive(self, num_rounds: int, step_ms: float) -> None:
        """Forgive a small debt after a time that grows with each debt.

        Without it, a drafter that was misjudged once would wait for the allowance to pay what it never owed. As the
        time grows, a useless drafter is forgiven only a few times in its life.
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
        """Count that a draft isn't worth its time; return whether so many were left out that one is to be tried."""
        self._num_left_out[kind] = self._num_left_out.get(kind, 0) + 1
        if self._num_left_out[kind] <= trial_after:
            return False
        self._num_left_out[kind] = 0
        return True

    def to_json(self, step_ms: float) -> dict[str, Any]:
        """Return what is worth keeping: the price, the gain in steps, and the reliability."""
        return {
            "unit_ms": round(self.price.ms, 6),
            "gain_steps": [round(gain_ms / step_ms, 4) for gain_ms in self.gain_ms],
            "reliability": self.reliability.to_json(),
        }

    def restore(self, value: object, step_ms: float) -> None:
        """Start from a kept state; values of another form are ignored."""
        if not isinstance(value, dict):
            return
        self.reliability.restore(value.get("reliability"))
        self.price.restore(value.get("unit_ms"))
        gains = value.get("gain_steps")
        if isinstance(gains, list) and len(gains) == len(self.gain_ms) and all(map(_is_number, gains)):
            self.gain_ms = [min(gain, MOST_CREDIT) * step_ms for gain in gains]


def _is_number(value: object) -> bool:
    """Return whether a value of a file is a time or a ratio of times that can have been measured."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 <= value < MAX_MS  # type: ignore[operator] # neither NaN nor an integer of any size is
