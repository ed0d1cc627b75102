"""Which drafters are asked, and how much of what they propose is verified, from measured costs and reliability.

A round that verifies drafted tokens, of which the i-th stands with probability p_i if those before it do, emits
1 + p_1 + p_1 p_2 + … tokens (Leviathan et al. 2022, https://arxiv.org/abs/2211.17192, section 3.1, there with one p);
the length is chosen that gives the most tokens a millisecond. That is an estimate. So that no text can make drafting
cost more than it brings, a drafter lives on an account of the time it saved: what its drafts saved is paid in, what it
takes, on this machine's clock and with the host's work, is paid out. With an empty account it isn't asked; a small
allowance, which those in debt share, lets it try again now and then.

Numbers only: it knows neither drafters nor models but by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from decoding.policy.accounts import Account
from decoding.policy.calibration import ASKED, PRIOR_ASKED
from decoding.policy.step_costs import LEARNING, StepCosts

# The drafters whose time depends on how much they draft, a pass of a model for each token.
MODELS: Final = frozenset({"draft", "self"})

# Of a step of one row, paid in at each round, to all in debt together: the most that useless drafters cost in the long
# run.
ALLOWANCE = 0.01

VERSION: Final = 2  # of what is kept

FEW_TOKENS = 8  # that a model reads along with its first step, at no cost worth counting
READING_PAYS = 2.0  # what a model is expected to save must be so many times what reading the prompt takes it
FIRST_ANSWER_TOKENS = 24.0
MOST_BETWEEN = 0.5  # of a step: what a round is believed to take besides
SURE = 0.9  # of the most tokens that a round can bring: who promises so many needs no second opinion


def best_length(
    beliefs: Sequence[float], step_ms: Sequence[float], *, token_ms: float = 0.0, round_ms: float = 0.0
) -> tuple[int, float]:
    """The number of drafted tokens with the most tokens a millisecond, and that rate; 0 is plain decoding.

    Args:
        beliefs: the probability of each drafted token that it stands if those before it do.
        step_ms: item K is the time of a step that verifies K drafted tokens.
        token_ms: to draft one token.
        round_ms: what a round takes besides its step, whatever its length.
    """
    best, best_rate = 0, 1 / (step_ms[0] + round_ms)
    emitted = alive = 1.0
    for length, belief in enumerate(beliefs[: len(step_ms) - 1], 1):
        alive *= belief
        emitted += alive
        rate = emitted / (step_ms[length] + token_ms * length + round_ms)
        if rate > best_rate:
            best, best_rate = length, rate
    return best, best_rate


class Policy:
    """Decides for all requests of an engine, and learns from each of their rounds."""

    def __init__(
        self,
        step_ms: Mapping[int, float],
        draft_step_ms: Mapping[int, float] | None = None,
        *,
        max_chains: int = 1,
    ) -> None:
        """Times of the target's step and of the draft model's pass, by number of rows.

        `max_chains` is how many chains one pass of the target takes; 1 where each is a step of its own.
        """
        self.max_chains = max_chains
        self.language = ""
        self._steps = StepCosts(step_ms)
        self._draft_step_ms = dict(draft_step_ms or {})
        self._accounts: dict[str, Account] = {}
        self._settled_at = 0
        self._answer_tokens = FIRST_ANSWER_TOKENS
        self._num_rounds = 0
        self._round_ms = 0.0
        table = self._steps.table()
        self._sure_rate = SURE * max(rows * table[0] / ms for rows, ms in enumerate(table, 1))

    @property
    def plain_rate(self) -> float:
        """Tokens a millisecond without drafts."""
        return 1 / (self._steps.table()[0] + self._round_ms)

    @property
    def sure_rate(self) -> float:
        """Tokens a millisecond of a draft beside which no other needs to be asked for."""
        return self._sure_rate / (self._steps.table()[0] + self._round_ms)

    def is_awake(self, drafter: str) -> bool:
        """Whether its account allows for asking it."""
        account = self._of(drafter)
        self._settle()
        return not account.is_in_debt

    def ask(
        self, drafter: str, limit: int, *, num_unread: int = 0, num_left: int = 0, best_rate: float = 0.0
    ) -> tuple[int, float]:
        """How many tokens to ask a drafter for, 0 for not at all, and the tokens a millisecond that this promises.

        Args:
            drafter: its name.
            limit: what the step has room for.
            num_unread: tokens that it has to read before it can propose any.
            num_left: the most tokens that this answer can still get.
            best_rate: tokens a millisecond of what others propose already.
        """
        if limit < 1 or not self.is_awake(drafter):
            return 0, 0.0
        known = self._of(drafter)
        if not known.is_model and num_unread <= FEW_TOKENS:
            context = best_rate > self.plain_rate
            return (limit if known.is_worth_asking(context, self._steps.table()[0]) else 0), 0.0
        belief = known.reliability.rate(ASKED, PRIOR_ASKED, self.language)
        length, rate = best_length(
            [belief] * limit, self._steps.table(), token_ms=known.price.ms, round_ms=self._round_ms
        )
        if num_unread > FEW_TOKENS:
            num_expected = min(float(num_left), self._answer_tokens)
            saved_ms = (1 / self.plain_rate - 1 / rate) * num_expected
            pays = known.credit_ms > 0 and saved_ms > READING_PAYS * num_unread * self._read_ms()
            return (length if known.is_model else limit, rate) if pays else (0, 0.0)
        if length == 0 and known.leave_out(ASKED):
            return 1, rate
        return length, rate

    def beliefs(self, drafter: str, match_len: int, scores: Sequence[float], num_tokens: int) -> list[float]:
        """The probability of each token of a draft that it stands if those before it do."""
        return self._of(drafter).reliability.beliefs(match_len, scores, num_tokens, self.language)

    def cut(self, beliefs: Sequence[float]) -> tuple[int, float]:
        """How many tokens of a draft to verify, and the tokens a millisecond that this promises."""
        return best_length(beliefs, self._steps.table(), round_ms=self._round_ms)

    def is_to_be_tried(self, drafter: str, match_len: int) -> bool:
        """Count that a draft isn't worth verifying; whether it has been so long that a token of one is to be tried."""
        return self._of(drafter).leave_out(f"match {match_len}")

    def rate(self, num_rows: int, num_emitted: float) -> float:
        """Tokens a millisecond of a step of so many rows that emits so many on average."""
        table = self._steps.table()
        return num_emitted / (table[min(num_rows, len(table)) - 1] + self._round_ms)

    def paid(self, drafter: str, ms: float, *, num_asked: int, num_drafted: int, num_unread: int = 0) -> None:
        """A drafter took so long over a proposal, reading included."""
        known = self._of(drafter)
        known.num_asked = num_asked
        if known.is_model and num_drafted == 0:
            known.reliability.count(ASKED, 0, 1, self.language)
        if ms <= 0:
            return
        if num_unread > FEW_TOKENS:
            known.invested_ms += ms
            self._book(known, -ms)
            return
        # A model looked at one token more where it was not sure of it.
        num_units = max(1, num_drafted + (num_drafted < num_asked)) if known.is_model else 1
        known.charge(ms, num_units, self._steps.table()[0])

    def promised(self, drafter: str, rate: float, best_rate: float) -> None:
        """What it proposed promises so many tokens a millisecond, where others had proposed the best so far."""
        known, plain = self._of(drafter), self.plain_rate
        before = max(best_rate, plain)
        gain_ms = (rate / before - 1) / plain if rate > before else 0.0
        context = best_rate > plain
        known.expect(gain_ms, context)

    def probed(self, drafter: str, num_rows: int, *, is_own_step: bool) -> None:
        """Rows were computed only for a drafter to learn from: in a step of their own, or beside others."""
        table = self._steps.table()
        ms = table[min(num_rows, len(table)) - 1]
        self._book(self._of(drafter), -ms if is_own_step else table[0] - ms)

    def verified(
        self, drafter: str, match_len: int, num_drafted: int, num_accepted: int, *, scores: Sequence[float] = (),
        num_rows: int = 0, is_leading: bool = True,
    ) -> None:  # fmt: skip
        """A draft was verified, and so much of it stood: a step saved for each, and a wider step paid for all.

        `num_rows` are the drafted ones of the whole step, 0 if these are all. Of several chains the leading one is
        charged for all of them, and the others only learn.
        """
        known, table = self._of(drafter), self._steps.table()
        known.reliability.learn(match_len, scores, num_accepted, num_drafted, self.language)
        if known.is_model:
            known.reliability.count(ASKED, num_accepted, num_drafted + (num_drafted < known.num_asked), self.language)
        if is_leading:
            wider_ms = table[min(num_rows or num_drafted, len(table) - 1)] - table[0]
            self._book(known, num_accepted * (table[0] + self._round_ms) - wider_ms)

    def stepped(self, num_rows: int, ms: float) -> None:
        """A step took so long."""
        self._num_rounds += 1
        self._steps.learn(num_rows, ms)

    def passed_over(self) -> None:
        """A round without a look at anything."""
        self._num_rounds += 1

    def rested(self, ms: float) -> None:
        """So long it took from one round to the next; other requests' turns may lie in between."""
        longest = self._steps.table()[0] * MOST_BETWEEN
        self._round_ms += LEARNING / 2 * (min(ms, longest) - self._round_ms)

    def ended(self, num_tokens: int) -> None:
        """An answer had so many tokens."""
        self._answer_tokens += LEARNING * (num_tokens - self._answer_tokens)
        for known in self._accounts.values():
            known.invested_ms = 0.0

    def to_json(self) -> dict[str, Any]:
        """What is worth keeping until the next start: no text, and of times only those of an undisturbed machine."""
        step_ms = self._steps.table()[0]
        drafters = {name: account.to_json(step_ms) for name, account in self._accounts.items()}
        return {"version": VERSION, "answer_tokens": round(self._answer_tokens, 2), "drafters": drafters}

    def take(self, value: object) -> None:
        """Go on from what was kept; what has another form is passed over, and so is another version."""
        if not isinstance(value, dict) or value.get("version") != VERSION:
            return
        tokens, drafters = value.get("answer_tokens"), value.get("drafters")
        if isinstance(tokens, int | float) and 0 < tokens < 1e5:
            self._answer_tokens = float(tokens)
        for name, kept in drafters.items() if isinstance(drafters, dict) else ():
            self._of(str(name)).restore(kept, self._steps.table()[0])

    def _of(self, drafter: str) -> Account:
        if drafter not in self._accounts:
            unit_ms = self._draft_step_ms.get(1, 0.0) if drafter == "draft" else 0.0
            step_ms = self._steps.table()[0]
            self._accounts[drafter] = Account.opened(step_ms, is_model=drafter in MODELS, unit_ms=unit_ms)
        return self._accounts[drafter]

    def _settle(self) -> None:
        """Pay out the allowance of the rounds since this was last done, in equal parts to those in debt."""
        num_rounds = self._num_rounds - self._settled_at
        if num_rounds == 0:
            return
        self._settled_at = self._num_rounds
        step_ms = self._steps.table()[0]
        in_debt = [account for account in self._accounts.values() if account.is_in_debt]
        for account in in_debt:
            account.book(num_rounds * ALLOWANCE * step_ms / len(in_debt), step_ms)
        for account in self._accounts.values():
            account.forgive(self._num_rounds, step_ms)

    def _book(self, account: Account, ms: float) -> None:
        account.book(ms, self._steps.table()[0])

    def _read_ms(self) -> float:
        """Of a draft model, for one token of a prompt."""
        widest = max(self._draft_step_ms, default=0)
        return self._draft_step_ms[widest] / widest if widest else 0.0
