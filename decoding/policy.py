"""Which drafter is asked, and for how many tokens, from measured costs and running acceptance. Numbers only.

A round that verifies K drafted tokens, each of which stands with probability a if those before it do, emits
1 + a + a² + … + a^K tokens (Leviathan et al. 2022, https://arxiv.org/abs/2211.17192, section 3.1); the length is chosen
that gives the most tokens a millisecond. That is an estimate. So that no text can make drafting cost more than it
brings, a drafter lives on an account of the time it saved: what its drafts saved is paid in, what it took, on this
machine's clock and with the host's work, is paid out. With an empty account it isn't asked; a small allowance lets it
try again now and then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

DRAFT_MODEL = "draft"  # the drafter whose time depends on how much it drafts

# Shares of a step of one row.
ALLOWANCE = 0.01  # paid in at each round: the most that a useless drafter costs in the long run
FIRST_CREDIT = 0.5
MOST_CREDIT = 2.0  # a drafter that was good for long is given up after having lost this
LEAST_CREDIT = -100.0

FORGETTING = 0.97  # of acceptance, at each draft
LEARNING = 0.1  # of costs, at each observation
MAX_SURPRISE = 2.0  # a measured time beyond this factor is taken as this factor: the machine was busy with others
TRIAL_AFTER = 64  # what isn't expected to pay is tried with one token after having been left out so often

PRIOR_WEIGHT = 6.0  # drafted tokens that a prior counts as
# Acceptance at first: of look-up by how many tokens matched, of a model (0), which proposes only what it is sure of.
# -1 is for the tokens that a model was asked for, and counts those that it would not propose as refused.
ASKED = -1
PRIOR_ACCEPTANCE = {-1: 0.6, 0: 0.8, 1: 0.2, 2: 0.4, 3: 0.5, 4: 0.6, 5: 0.65, 6: 0.7, 7: 0.75, 8: 0.85}
LONGEST_MATCH = max(PRIOR_ACCEPTANCE)

FEW_TOKENS = 8  # that a model reads along with its first step, at no cost worth counting
FIRST_ANSWER_TOKENS = 24.0


def expected_accepted(acceptance: float, length: int) -> float:
    """How many of `length` drafted tokens stand on average, each with probability `acceptance` if those before do."""
    if acceptance >= 1:
        return float(length)
    return acceptance * (1 - acceptance**length) / (1 - acceptance)


def best_length(acceptance: float, step_ms: Sequence[float], limit: int, *, token_ms: float = 0.0) -> tuple[int, float]:
    """The number of drafted tokens with the most tokens a millisecond, and that rate; 0 is plain decoding.

    Args:
        acceptance: of each drafted token.
        step_ms: item K is the time of a step that verifies K drafted tokens.
        limit: the largest number.
        token_ms: to draft one token.
    """
    best, best_rate = 0, 1 / step_ms[0]
    for length in range(1, min(limit, len(step_ms) - 1) + 1):
        emitted = 1 + expected_accepted(acceptance, length)
        rate = emitted / (step_ms[length] + token_ms * length)
        if rate > best_rate:
            best, best_rate = length, rate
    return best, best_rate


def interpolate(measured: Mapping[int, float]) -> list[float]:
    """Times of all widths from 1 on, from those of a few."""
    widths = sorted(measured)
    times: list[float] = []
    for rows in range(1, widths[-1] + 1):
        low = max((width for width in widths if width <= rows), default=widths[0])
        high = min(width for width in widths if width >= rows)
        share = (rows - low) / (high - low) if high > low else 0.0
        times.append(measured[low] + share * (measured[high] - measured[low]))
    return times


def _tempered(ratio: float) -> float:
    """How far a measured time is from the expected one, as much of it as is believed."""
    return min(max(ratio, 1 / MAX_SURPRISE), MAX_SURPRISE)


class StepCosts:
    """The time of a step by its number of rows, as measured at loading and corrected by each step since."""

    def __init__(self, measured: Mapping[int, float]) -> None:
        self._ms = interpolate(measured or {1: 1.0})
        # More rows don't take less time; where they seemed to, the machine was busy with others.
        for rows in range(len(self._ms) - 1, 0, -1):
            self._ms[rows - 1] = min(self._ms[rows - 1 : rows + 1])

    def table(self) -> Sequence[float]:
        """Item K is the time of K + 1 rows."""
        return self._ms

    def learn(self, num_rows: int, ms: float) -> None:
        """A longer context and a busy machine change all widths, and the one that was seen a little more."""
        if not 0 < num_rows <= len(self._ms) or ms <= 0:
            return
        ratio = _tempered(ms / self._ms[num_rows - 1])
        common = ratio ** (LEARNING * 0.8)
        self._ms = [known * common for known in self._ms]
        self._ms[num_rows - 1] *= ratio ** (LEARNING * 0.2)


class Acceptance:
    """How often drafted tokens stand, by how many tokens matched (0 for a model's draft); older drafts count less."""

    def __init__(self) -> None:
        self._counts: dict[int, tuple[float, float]] = {}
        self._num_left_out: dict[int, int] = {}

    def rate(self, match_len: int) -> float:
        """The probability that a drafted token stands if those before it do."""
        stood, judged = self._counts.get(match_len, (0.0, 0.0))
        prior = PRIOR_ACCEPTANCE[min(match_len, LONGEST_MATCH)]
        return (stood + PRIOR_WEIGHT * prior) / (judged + PRIOR_WEIGHT)

    def learn(self, match_len: int, num_drafted: int, num_accepted: int) -> None:
        """Tokens behind the first that was refused were not judged."""
        stood, judged = self._counts.get(match_len, (0.0, 0.0))
        seen = num_accepted + (num_accepted < num_drafted)
        self._counts[match_len] = (stood * FORGETTING + num_accepted, judged * FORGETTING + seen)
        self._num_left_out[match_len] = 0

    def leave_out(self, match_len: int) -> bool:
        """Count that a draft isn't worth verifying; whether it has been so long that one is to be tried."""
        self._num_left_out[match_len] = self._num_left_out.get(match_len, 0) + 1
        return self._num_left_out[match_len] > TRIAL_AFTER


@dataclass(slots=True)
class _Known:
    """What has been learnt of one drafter. `unit_ms` is for a token of a model, and for a proposal of others.

    `invested_ms` of what is booked went into reading the prompt of this answer: until it ends, the drafter may earn it.
    """

    acceptance: Acceptance
    credit_ms: float
    unit_ms: float
    is_model: bool
    invested_ms: float = 0.0
    num_asked: int = 0


class Policy:
    """Decides for all requests of an engine, and learns from each of their rounds."""

    def __init__(self, step_ms: Mapping[int, float], draft_step_ms: Mapping[int, float] | None = None) -> None:
        """Times of the target's step and of the draft model's pass, by number of rows."""
        self._steps = StepCosts(step_ms)
        self._draft_step_ms = dict(draft_step_ms or {})
        self._known: dict[str, _Known] = {}
        self._answer_tokens = FIRST_ANSWER_TOKENS

    @property
    def plain_rate(self) -> float:
        """Tokens a millisecond without drafts."""
        return 1 / self._steps.table()[0]

    def ask(self, drafter: str, limit: int, *, num_unread: int = 0, num_left: int = 0) -> tuple[int, float]:
        """How many tokens to ask a drafter for, 0 for not at all, and the tokens a millisecond that this promises.

        Args:
            drafter: its name.
            limit: what the step has room for.
            num_unread: tokens that it has to read before it can propose any.
            num_left: the most tokens that this answer can still get.
        """
        known = self._of(drafter)
        if limit < 1 or known.credit_ms + known.invested_ms <= 0:
            return 0, 0.0
        if not known.is_model:
            return limit, 0.0
        length, rate = best_length(known.acceptance.rate(ASKED), self._steps.table(), limit, token_ms=known.unit_ms)
        if num_unread > FEW_TOKENS:
            if known.credit_ms <= 0:
                return 0, 0.0
            num_expected = min(float(num_left), self._answer_tokens)
            saved_ms = (1 / self.plain_rate - 1 / rate) * num_expected
            return (length, rate) if saved_ms > num_unread * self._read_ms() else (0, 0.0)
        if length == 0 and known.acceptance.leave_out(ASKED):
            return 1, rate
        return length, rate

    def cut(self, drafter: str, match_len: int, num_drafted: int) -> tuple[int, float]:
        """How many tokens of a draft to verify, and the tokens a millisecond that this promises."""
        acceptance = self._of(drafter).acceptance
        length, rate = best_length(acceptance.rate(match_len), self._steps.table(), num_drafted)
        if length == 0 and num_drafted and acceptance.leave_out(match_len):
            return 1, rate
        return length, rate

    def paid(self, drafter: str, ms: float, *, num_asked: int, num_drafted: int, num_unread: int = 0) -> None:
        """A drafter took so long over a proposal, reading included."""
        known = self._of(drafter)
        known.num_asked = num_asked
        if known.is_model and num_drafted == 0:
            known.acceptance.learn(ASKED, 1, 0)
        if ms <= 0:
            return
        if num_unread > FEW_TOKENS:
            known.invested_ms += ms
            self._book(known, -ms)
            return
        # A model looked at one token more where it was not sure of it.
        num_units = num_drafted + (num_drafted < num_asked) if known.is_model else 1
        expected_ms = num_units * (known.unit_ms or ms)
        known.unit_ms = expected_ms / num_units * _tempered(ms / expected_ms) ** LEARNING
        self._book(known, -min(ms, MAX_SURPRISE * expected_ms))

    def verified(self, drafter: str, match_len: int, num_drafted: int, num_accepted: int) -> None:
        """A draft was verified, and so much of it stood: a step saved for each, and a wider step paid for all."""
        known, table = self._of(drafter), self._steps.table()
        known.acceptance.learn(match_len, num_drafted, num_accepted)
        if known.is_model:
            known.acceptance.learn(ASKED, num_drafted + (num_drafted < known.num_asked), num_accepted)
        wider_ms = table[min(num_drafted, len(table) - 1)] - table[0]
        self._book(known, num_accepted * table[0] - wider_ms)

    def stepped(self, num_rows: int, ms: float) -> None:
        """A step took so long."""
        self._steps.learn(num_rows, ms)
        for known in self._known.values():
            self._book(known, ALLOWANCE * self._steps.table()[0])

    def ended(self, num_tokens: int) -> None:
        """An answer had so many tokens."""
        self._answer_tokens += LEARNING * (num_tokens - self._answer_tokens)
        for known in self._known.values():
            known.invested_ms = 0.0

    def _of(self, drafter: str) -> _Known:
        if drafter not in self._known:
            is_model = drafter == DRAFT_MODEL
            unit_ms = self._draft_step_ms.get(1, 0.0) if is_model else 0.0
            credit_ms = FIRST_CREDIT * self._steps.table()[0]
            self._known[drafter] = _Known(Acceptance(), credit_ms, unit_ms, is_model)
        return self._known[drafter]

    def _book(self, known: _Known, ms: float) -> None:
        step_ms = self._steps.table()[0]
        known.credit_ms = min(max(known.credit_ms + ms, LEAST_CREDIT * step_ms), MOST_CREDIT * step_ms)

    def _read_ms(self) -> float:
        """Of a draft model, for one token of a prompt."""
        widest = max(self._draft_step_ms, default=0)
        return self._draft_step_ms[widest] / widest if widest else 0.0
