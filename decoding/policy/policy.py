"""Decides which drafters are asked, and how many of their tokens are verified, from measured costs and reliability.

A round that verifies drafted tokens, of which the i-th is accepted with probability p_i if those before it are, emits 1
+ p_1 + p_1 p_2 + … tokens (Leviathan et al. 2023, https://arxiv.org/abs/2211.17192, section 3.1, there with one p); the
length is chosen that gives the most tokens a millisecond. That is an estimate. So that no text can make drafting cost
more than it saves, each drafter has an account: the time that its drafts saved is paid in, the time that it takes, on
this machine's clock and with the host's work, is paid out. With an empty account it isn't asked; a small allowance,
which those in debt share, lets it try again now and then. An answer in progress has an account too (`AnswerAccount`),
so that several can be computed in turns. Numbers only: it knows nothing of drafters and models but their names and
costs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from decoding.policy.accounts import Account, AnswerAccount
from decoding.policy.calibration import ASKED, checked_language
from decoding.policy.step_costs import LEARNING, StepCosts

# chosen: this share of a step of one row is paid in at each round, to all drafters in debt together. It bounds the cost
# of useless drafters in the long run; measured: below 2 % in simulation.
ALLOWANCE = 0.01

VERSION: Final = 2  # the version of the kept state
MAX_DRAFTERS: Final = 32  # so many drafters are read from a kept state

FEW_TOKENS = 8  # chosen: a model reads so many tokens along with its first step, at no cost worth counting
READING_PAYS = 2.0  # chosen: a model must be expected to save so many times the cost of reading the prompt
FIRST_ANSWER_TOKENS = 24.0
MOST_BETWEEN = 0.5  # chosen: the gap between two rounds counts for this share of a step at most
SURE = 0.9  # chosen: if a draft promises this share of the most tokens of a round, no other drafter is asked


def best_length(
    beliefs: Sequence[float], step_ms: Sequence[float], *, token_ms: float = 0.0, round_ms: float = 0.0
) -> tuple[int, float]:
    """Return the number of drafted tokens with the most tokens a millisecond, and that rate; 0 is plain decoding.

    Args:
        beliefs: the probability that each drafted token is accepted if those before it are.
        step_ms: item K is the time of a step that verifies K drafted tokens.
        token_ms: the time to draft one token.
        round_ms: the time of a round besides its step, whatever its length.
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
        *,
        max_chains: int = 1,
    ) -> None:
        """Start from the times of the target's step, by number of rows.

        `max_chains` is how many chains one pass of the target takes; 1 where each is a step of its own.
        """
        self.max_chains = max_chains
        self._steps = StepCosts(step_ms)
        self._accounts: dict[str, Account] = {}
        self._settled_at = 0
        self._answer_tokens = FIRST_ANSWER_TOKENS
        self._num_rounds = 0
        self._round_ms = 0.0
        table = self._steps.table()
        self._sure_rate = SURE * max(rows * table[0] / ms for rows, ms in enumerate(table, 1))

    @property
    def plain_rate(self) -> float:
        """The tokens a millisecond without drafts."""
        return 1 / (self._steps.table()[0] + self._round_ms)

    @property
    def sure_rate(self) -> float:
        """The tokens a millisecond of a draft beside which no other drafter needs to be asked."""
        return self._sure_rate / (self._steps.table()[0] + self._round_ms)

    def enrol(self, drafter: str, *, is_per_token: bool = False, token_ms: float = 0.0, read_ms: float = 0.0) -> None:
        """Register a drafter's costs, which later measurements correct.

        Args:
            drafter: its name.
            is_per_token: whether each token takes a pass of a model; if not, all proposals take equally long.
            token_ms: the time of such a pass, 0 if unknown.
            read_ms: the time to read one token of a prompt, 0 if unknown.
        """
        self._of(drafter).know_costs(is_per_token=is_per_token, token_ms=token_ms, read_ms=read_ms)

    def open_answer(self, language: str = "", max_tokens: int = 0) -> AnswerAccount:
        """Open the account of an answer of at most so many tokens; `end_answer` must follow."""
        return AnswerAccount(language=checked_language(language), num_left=max_tokens)

    def is_awake(self, answer: AnswerAccount, drafter: str) -> bool:
        """Return whether a drafter's account allows asking it, and it doesn't rest until the end of this answer."""
        self._settle()
        return drafter not in answer.resting and not self._of(drafter).is_in_debt

    def ask(
        self, answer: AnswerAccount, drafter: str, limit: int, *, num_unread: int = 0, best_rate: float = 0.0
    ) -> tuple[int, float]:
        """Return how many tokens to ask a drafter for, 0 for none, and the tokens a millisecond that this promises.

        Args:
            answer: for which it is asked; a drafter that has too much to read for it rests until it ends.
            drafter: its name.
            limit: what the step has room for.
            num_unread: tokens that it has to read before it can propose any.
            best_rate: tokens a millisecond of what others propose already.
        """
        if limit < 1 or not self.is_awake(answer, drafter):
            return 0, 0.0
        account, step_ms = self._of(drafter), self._steps.table()
        # A model that hasn't read the prompt: reading takes long, and is paid back only over the rest of the answer. If
        # the answer is too short for that, it is even more so in later rounds, so the drafter rests.
        if num_unread > FEW_TOKENS:
            length, rate = self._length(account, limit, answer.language)
            num_expected = min(float(answer.num_left), self._answer_tokens)
            saved_ms = (1 / self.plain_rate - 1 / rate) * num_expected
            if account.credit_ms > 0 and saved_ms > READING_PAYS * num_unread * account.read_price.ms:
                return (length if account.is_per_token else limit), rate
            answer.resting.add(drafter)
            return 0, 0.0
        # A drafter that copies: a proposal takes as long at any length, so it is asked for all or nothing.
        if not account.is_per_token:
            context = best_rate > self.plain_rate
            is_new = drafter not in answer.asked  # asked once in each answer: the last text says little of this one
            answer.asked.add(drafter)
            return (limit if is_new or account.is_worth_asking(context, step_ms[0]) else 0), 0.0
        # A model that drafts token by token: the length is a trade-off. Where none pays, a token is tried now and then.
        length, rate = self._length(account, limit, answer.language)
        if length == 0 and account.leave_out(ASKED):
            return 1, rate
        return length, rate

    def is_worth_reading_ahead(self, drafter: str) -> bool:
        """Return whether a model that has read the text already would be asked, as far as is known."""
        account = self._of(drafter)
        return (
            account.is_per_token and not account.is_in_debt and self._length(account, len(self._steps.table()))[0] > 0
        )

    def beliefs(
        self, answer: AnswerAccount, drafter: str, match_len: int, scores: Sequence[float], num_tokens: int
    ) -> list[float]:
        """Return for each token of a draft the probability that it is accepted if those before it are."""
        return self._of(drafter).reliability.beliefs(match_len, scores, num_tokens, answer.language)

    def best_cut(self, beliefs: Sequence[float]) -> tuple[int, float]:
        """Return how many tokens of a draft to verify, and the tokens a millisecond that this promises."""
        return best_length(beliefs, self._steps.table(), round_ms=self._round_ms)

    def should_retry(self, drafter: str, match_len: int) -> bool:
        """Count that a draft isn't worth verifying; return whether, after so many, one token is to be tried."""
        return self._of(drafter).leave_out(f"match {match_len}")

    def rate(self, num_rows: int, num_emitted: float) -> float:
        """Return the tokens a millisecond of a step of so many rows that emits so many on average."""
        table = self._steps.table()
        return num_emitted / (table[min(num_rows, len(table)) - 1] + self._round_ms)

    def record_draft_cost(
        self, answer: AnswerAccount, drafter: str, ms: float, *, num_asked: int, num_drafted: int, num_unread: int = 0
    ) -> None:
        """Charge a drafter for a proposal that took `ms`, reading included."""
        account = self._of(drafter)
        account.num_asked = num_asked
        if account.is_per_token and num_drafted == 0:
            account.reliability.learn_asked(0, 0, num_asked, answer.language)
        if ms <= 0:
            return
        if num_unread > FEW_TOKENS:
            account.read_price.learn(ms / num_unread)
            answer.invested_ms[drafter] = answer.invested_ms.get(drafter, 0.0) + ms
            account.invested_ms += ms
            self._book(account, -ms)
            return
        # Where a model stopped early, it had computed one more token of which it was not sure.
        num_units = max(1, num_drafted + (num_drafted < num_asked)) if account.is_per_token else 1
        account.charge(ms, num_units, self._steps.table()[0])

    def record_gain(self, drafter: str, rate: float, best_rate: float) -> None:
        """Learn that a proposal promised so many tokens a millisecond, where others had promised `best_rate`."""
        plain = self.plain_rate
        before = max(best_rate, plain)
        gain_ms = (rate / before - 1) / plain if rate > before else 0.0
        self._of(drafter).expect(gain_ms, best_rate > plain)

    def record_probe(self, drafter: str, num_rows: int, *, is_own_step: bool) -> None:
        """Charge a drafter for rows that it alone learns from: in a step of their own, or beside others."""
        table = self._steps.table()
        ms = table[min(num_rows, len(table)) - 1]
        self._book(self._of(drafter), -ms if is_own_step else table[0] - ms)

    def record_verification(
        self, answer: AnswerAccount, drafter: str, match_len: int, num_drafted: int, num_accepted: int, *,
        scores: Sequence[float] = (), num_rows: int = 0, is_leading: bool = True,
    ) -> None:  # fmt: skip
        """Pay for a verified draft: a step saved for each accepted token, less the extra time of the wider step.

        `num_rows` are the drafted ones of the whole step, 0 if these are all. Of several chains the leading one is
        charged for all of them, and the others only learn.
        """
        account, table = self._of(drafter), self._steps.table()
        account.reliability.learn(match_len, scores, num_accepted, num_drafted, answer.language)
        if account.is_per_token:
            account.reliability.learn_asked(num_accepted, num_drafted, account.num_asked, answer.language)
        if is_leading:
            wider_ms = table[min(num_rows or num_drafted, len(table) - 1)] - table[0]
            self._book(account, num_accepted * (table[0] + self._round_ms) - wider_ms)

    def record_step(self, num_rows: int, ms: float) -> None:
        """Learn how long a step took, and count its round."""
        self._num_rounds += 1
        self._steps.learn(num_rows, ms)

    def skip_round(self) -> None:
        """Count a round in which no drafter was looked at."""
        self._num_rounds += 1

    def record_gap(self, ms: float) -> None:
        """Learn the time from one round to the next; other requests' turns may lie in between."""
        longest = self._steps.table()[0] * MOST_BETWEEN
        self._round_ms += LEARNING / 2 * (min(ms, longest) - self._round_ms)

    def end_answer(self, answer: AnswerAccount) -> None:
        """Settle an answer's investments, and learn how long it was. A second call does nothing."""
        if answer.num_emitted:
            self._answer_tokens += LEARNING * (answer.num_emitted - self._answer_tokens)
        for drafter, ms in answer.invested_ms.items():
            self._of(drafter).invested_ms -= ms
        answer.invested_ms.clear()
        answer.num_emitted = 0

    def to_json(self) -> dict[str, Any]:
        """Return what is worth keeping until the next start: no text, and only times of an undisturbed machine."""
        step_ms = self._steps.table()[0]
        drafters = {name: account.to_json(step_ms) for name, account in self._accounts.items()}
        return {"version": VERSION, "answer_tokens": round(self._answer_tokens, 2), "drafters": drafters}

    def restore(self, value: object) -> None:
        """Start from a kept state; values of another form, and other versions, are ignored."""
        if not isinstance(value, dict) or value.get("version") != VERSION:
            return
        tokens, drafters = value.get("answer_tokens"), value.get("drafters")
        if isinstance(tokens, int | float) and 0 < tokens < 1e5:
            self._answer_tokens = float(tokens)
        for name, kept in list(drafters.items())[:MAX_DRAFTERS] if isinstance(drafters, dict) else ():
            self._of(str(name)).restore(kept, self._steps.table()[0])

    def _of(self, drafter: str) -> Account:
        if drafter not in self._accounts:
            self._accounts[drafter] = Account.opened(self._steps.table()[0])
        return self._accounts[drafter]

    def _length(self, account: Account, limit: int, language: str = "") -> tuple[int, float]:
        """Return how many tokens of a model are expected to pay, by how many of those asked for were accepted."""
        beliefs = account.reliability.asked_beliefs(limit, language)
        token_ms = account.price.ms if account.is_per_token else 0.0
        return best_length(beliefs, self._steps.table(), token_ms=token_ms, round_ms=self._round_ms)

    def _settle(self) -> None:
        """Pay out the allowance of the rounds since the last call, in equal parts to those in debt."""
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
