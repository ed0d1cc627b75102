"""Drafts from n-grams that the target itself generates while it guesses ahead.

Lookahead decoding: Fu et al. 2024 (https://arxiv.org/abs/2402.02057). A window of guesses stands behind the text as a
probe, which the target evaluates beside each step: its choice behind each guess is a better guess for the next round
(Jacobi iteration). The choices of successive rounds at successive positions form n-grams that are likely together; they
are pooled by their first token and proposed when that token has been emitted.

The paper's window is one masked block of several levels. Here a level is a chain of its own, so that every row sees
what it would see if it were the text.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence

from decoding.speculation.drafting import PER_PROPOSAL, PROBE, PROBES, Chain, Draft, DraftRequest, Outcome
from decoding.text.token_healing import Healing

WINDOW = 6
NGRAM = 4
GUESSES = 3
MAX_KEYS = 4096


class LookaheadDrafter:
    """A pool of n-grams that outlives the request, and a window of guesses that doesn't."""

    name = "lookahead"
    cost = PER_PROPOSAL
    needs = frozenset({PROBES})
    num_unread = 0

    def __init__(self, *, window: int = WINDOW, ngram: int = NGRAM, guesses: int = GUESSES) -> None:
        """Set the method's sizes, named as in the paper.

        Args:
            window: W, the guessed tokens in each probe.
            ngram: N, the tokens of an n-gram, at least 2: its first is its key and the others are a draft.
            guesses: G, the n-grams kept of each key and the most proposed at once.
        """
        assert window >= 1
        assert ngram >= 2
        assert guesses >= 1
        self._window, self._ngram, self._guesses = window, ngram, guesses
        self._pool: OrderedDict[int, deque[tuple[int, ...]]] = OrderedDict()
        self._healing: Healing | None = None
        self._ids: list[int] = []
        self._num_prompt = 0
        self._levels: deque[dict[int, int]] = deque(maxlen=ngram)

    def begin(self, request: DraftRequest) -> None:
        """Start with new guesses; the pool stays."""
        self._ids = list(request.prompt_ids)
        self._num_prompt = len(self._ids)
        self._healing = request.healing
        self._levels.clear()
        self._levels.append(self._seeded({}))

    def propose(self, budget: int) -> Draft:
        """Propose the n-grams that begin with the last token, the latest first, and the window as a probe."""
        window = Chain(self._guess(), self.name, role=PROBE)
        known = [ngram[:budget] for ngram in self._known(self._ids[-1]) if budget > 0 and self._may_follow(ngram)]
        return Draft((*(Chain(ngram, self.name) for ngram in dict.fromkeys(known)), window))

    def observe(self, outcome: Outcome) -> None:
        """Append emitted tokens, take the target's choices as the next window, and pool the new n-grams."""
        start = len(self._ids)  # the position behind the text that the probe followed
        self._ids += outcome.emitted_ids
        if not outcome.probe_ids:
            self._levels.append(self._seeded(self._levels[-1]))
            return
        chosen = dict(enumerate(outcome.probe_ids[0], start))
        for position in chosen:
            self._pool_ngram(position, chosen)
        self._levels.append(self._seeded(chosen))

    def close(self) -> None:
        """Do nothing: the pool stays for the next request."""

    def _guess(self) -> tuple[int, ...]:
        level = self._levels[-1]
        return tuple(level[len(self._ids) + i] for i in range(self._window))

    def _seeded(self, level: dict[int, int]) -> dict[int, int]:
        """Return the level with a guess for each position of the window, from earlier text where it has none."""
        end = len(self._ids)
        return {
            end + i: level.get(end + i, self._ids[(end - self._window + i) % len(self._ids)])
            for i in range(self._window)
        }

    def _pool_ngram(self, last: int, chosen: dict[int, int]) -> None:
        """Pool the n-gram that ends at position `last`: each token from one round later than the one before it."""
        levels = [*self._levels, chosen][-self._ngram :]
        places = range(last - len(levels) + 1, last + 1)
        if len(levels) < self._ngram or any(place not in level for place, level in zip(places, levels, strict=True)):
            return
        key, *rest = (level[place] for place, level in zip(places, levels, strict=True))
        chains = self._pool.setdefault(key, deque(maxlen=self._guesses))
        self._pool.move_to_end(key)
        chain = tuple(rest)
        if chain in chains:
            chains.remove(chain)
        chains.appendleft(chain)
        if len(self._pool) > MAX_KEYS:
            self._pool.popitem(last=False)

    def _known(self, token_id: int) -> Sequence[tuple[int, ...]]:
        return self._pool.get(token_id, ())

    def _may_follow(self, chain: tuple[int, ...]) -> bool:
        """Return whether healing allows the first token."""
        if self._healing is None:
            return True
        allowed = self._healing.allowed_next(self._ids[self._num_prompt :])
        return allowed is None or chain[0] in allowed
