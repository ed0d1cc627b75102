"""Which drafters are asked, and how much of what they propose is verified, from measured costs and reliability.

A round that verifies drafted tokens, of which the i-th stands with probability p_i if those before it do, emits
1 + p_1 + p_1 p_2 + … tokens (Leviathan et al. 2022, https://arxiv.org/abs/2211.17192, section 3.1, there with one p);
the length is chosen that gives the most tokens a millisecond. That is an estimate. So that no text can make drafting
cost more than it brings, a drafter lives on an account of the time it saved: what its drafts saved is paid in, what it
takes, on this machine's clock and with the host's work, is paid out. With an empty account it isn't asked; a small
allowance, which those in debt share, lets it try again now and then.

An answer under way has an account too (`AnswerAccount`), so that several can be at work in turns.

Numbers only: it knows drafters and models by nothing but their names and costs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from decoding.policy.accounts import Account, AnswerAccount
from decoding.policy.calibration import ASKED, PRIOR_ASKED, checked_language
from decoding.policy.step_costs import LEARNING, StepCosts

# Of a step of one row, paid in at each round, to all in debt together: the most that useless drafters cost in the long
# run.
ALLOWANCE = 0.01

VERSION: Final = 2  # of what is kept
MAX_DRAFTERS: Final = 32  # that are taken from there

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
        *,
        max_chains: int = 1,
    ) -> None:
        """Begin with the times of the target's step, by number of rows.

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
        """Tokens a millisecond without drafts."""
        return 1 / (self._steps.table()[0] + self._round_ms)

    @property
    def sure_rate(self) -> float:
        """Tokens a millisecond of a draft beside which no other needs to be asked for."""
        return self._sure_rate / (self._steps.table()[0] + self._round_ms)

    def enrol(self, drafter: str, *, is_per_token: bool = False, token_ms: float = 0.0, read_ms: float = 0.0) -> None:
        """Know what a drafter costs, of which more will be learnt.

        Args:
            drafter: its name.
            is_per_token: whether each token takes it a pass of a model; if not, a proposal takes as long as any other.
            token_ms: such a pass, 0 if unknown.
            read_ms: to read one token of a prompt, 0 if unknown.
        """
        self._of(drafter).know_costs(is_per_token=is_per_token, token_ms=token_ms, read_ms=read_ms)

    def open_answer(self, language: str = "", max_tokens: int = 0) -> AnswerAccount:
        """Begin an answer of at most so many tokens; `end_answer` is to follow."""
        return AnswerAccount(language=checked_language(language), num_left=max_tokens)

    def is_awake(self, answer: AnswerAccount, drafter: str) -> bool:
        """Whether its account allows for asking it, and it doesn't rest until the end of this answer."""
        self._settle()
        return drafter not in answer.resting and not self._of(drafter).is_in_debt

    def ask(
        self, answer: AnswerAccount, drafter: str, limit: int, *, num_unread: int = 0, best_rate: float = 0.0
    ) -> tuple[int, float]:
        """How many tokens to ask a drafter for, 0 for not at all, and the tokens a millisecond that this promises.

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
        if num_unread > FEW_TOKENS:
            length, rate = self._length(answer, account, limit)
            num_expected = min(float(answer.num_left), self._answer_tokens)
            saved_ms = (1 / self.plain_rate - 1 / rate) * num_expected
            if account.credit_ms > 0 and saved_ms > READING_PAYS * num_unread * account.read_price.ms:
                return (length if account.is_per_token else limit), rate
            answer.resting.add(drafter)
            return 0, 0.0
        if not account.is_per_token:
            context = best_rate > self.plain_rate
            is_new = drafter not in answer.asked  # the last text says little of this one
            answer.asked.add(drafter)
            return (limit if is_new or account.is_worth_asking(context, step_ms[0]) else 0), 0.0
        length, rate = self._length(answer, account, limit)
        if length == 0 and account.leave_out(ASKED):
            return 1, rate
        return length, rate

    def beliefs(
        self, answer: AnswerAccount, drafter: str, match_len: int, scores: Sequence[float], num_tokens: int
    ) -> list[float]:
        """The probability of each token of a draft that it stands if those before it do."""
        return self._of(drafter).reliability.beliefs(match_len, scores, num_tokens, answer.language)

    def best_cut(self, beliefs: Sequence[float]) -> tuple[int, float]:
        """How many tokens of a draft to verify, and the tokens a millisecond that this promises."""
        return best_length(beliefs, self._steps.table(), round_ms=self._round_ms)

    def should_retry(self, drafter: str, match_len: int) -> bool:
        """Count that a draft isn't worth verifying; whether it has been so long that a token of one is to be tried."""
        return self._of(drafter).leave_out(f"match {match_len}")

    def rate(self, num_rows: int, num_emitted: float) -> float:
        """Tokens a millisecond of a step of so many rows that emits so many on average."""
        table = self._steps.table()
        return num_emitted / (table[min(num_rows, len(table)) - 1] + self._round_ms)

    def record_draft_cost(
        self, answer: AnswerAccount, drafter: str, ms: float, *, num_asked: int, num_drafted: int, num_unread: int = 0
    ) -> None:
        """Charge a drafter for a proposal that took so long, reading included."""
        account = self._of(drafter)
        account.num_asked = num_asked
        if account.is_per_token and num_drafted == 0:
            account.reliability.count(ASKED, 0, 1, answer.language)
        if ms <= 0:
            return
        if num_unread > FEW_TOKENS:
            account.read_price.learn(ms / num_unread)
            answer.invested_ms[drafter] = answer.invested_ms.get(drafter, 0.0) + ms
            account.invested_ms += ms
            self._book(account, -ms)
            return
        # A model looked at one token more where it was not sure of it.
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
        """Pay for what stood of a draft: a step saved for each token, less the wider step that all of them took.

        `num_rows` are the drafted ones of the whole step, 0 if these are all. Of several chains the leading one is
        charged for all of them, and the others only learn.
        """
        account, table = self._of(drafter), self._steps.table()
        account.reliability.learn(match_len, scores, num_accepted, num_drafted, answer.language)
        if account.is_per_token:
            num_asked = num_drafted + (num_drafted < account.num_asked)
            account.reliability.count(ASKED, num_accepted, num_asked, answer.language)
        if is_leading:
            wider_ms = table[min(num_rows or num_drafted, len(table) - 1)] - table[0]
            self._book(account, num_accepted * (table[0] + self._round_ms) - wider_ms)

    def record_step(self, num_rows: int, ms: float) -> None:
        """Learn what a step took, and count its round."""
        self._num_rounds += 1
        self._steps.learn(num_rows, ms)

    def skip_round(self) -> None:
        """Count a round in which nobody was looked at."""
        self._num_rounds += 1

    def record_gap(self, ms: float) -> None:
        """Learn how long it took from one round to the next; other requests' turns may lie in between."""
        longest = self._steps.table()[0] * MOST_BETWEEN
        self._round_ms += LEARNING / 2 * (min(ms, longest) - self._round_ms)

    def end_answer(self, answer: AnswerAccount) -> None:
        """Settle what was invested for an answer, and learn how long it was. A second call does nothing."""
        if answer.num_emitted:
            self._answer_tokens += LEARNING * (answer.num_emitted - self._answer_tokens)
        for drafter, ms in answer.invested_ms.items():
            self._of(drafter).invested_ms -= ms
        answer.invested_ms.clear()
        answer.num_emitted = 0

    def to_json(self) -> dict[str, Any]:
        """What is worth keeping until the next start: no text, and of times only those of an undisturbed machine."""
        step_ms = self._steps.table()[0]
        drafters = {name: account.to_json(step_ms) for name, account in self._accounts.items()}
        return {"version": VERSION, "answer_tokens": round(self._answer_tokens, 2), "drafters": drafters}

    def restore(self, value: object) -> None:
        """Go on from what was kept; what has another form is passed over, and so is another version."""
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

    def _length(self, answer: AnswerAccount, account: Account, limit: int) -> tuple[int, float]:
        """How many tokens of a model are expected to pay, by how many of those asked for have stood."""
        belief = account.reliability.rate(ASKED, PRIOR_ASKED, answer.language)
        token_ms = account.price.ms if account.is_per_token else 0.0
        return best_length([belief] * limit, self._steps.table(), token_ms=token_ms, round_ms=self._round_ms)

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
