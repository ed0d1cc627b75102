"""Makes one answer from the target's tokens: text, the tokens' scores, and its end. Knows no thread."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import NamedTuple

from decoding.models.loading.model_set import ModelSet
from decoding.protocol import CompletionRequest, DrafterStats, ScoredToken
from decoding.speculation.sampling import Score, score
from decoding.speculation.speculate import Round
from decoding.text.detokenize import Detokenizer
from decoding.text.stops import TextStops, is_loop


class TextChunk(NamedTuple):
    """Text that may be shown, and the tokens that are complete with it, if their scores were asked for."""

    text: str
    tokens: tuple[ScoredToken, ...] = ()


class Answer:
    """Counts the tokens of each round and decides when the answer ends.

    Stop tokens are found inside an accepted draft, too.
    """

    def __init__(self, models: ModelSet, request: CompletionRequest, *, num_skipped: int) -> None:
        """The first `num_skipped` bytes were typed already, and are not shown."""
        self._stop_ids = models.layout.stop_ids
        self._max_tokens = request.max_tokens
        self._ends_loops = request.tabcast.line_mode != "free"
        self._token_bytes = models.index.token_bytes
        self._text = Detokenizer(self._token_bytes, num_skipped)
        self._stops = TextStops(request.stop, request.tabcast.line_mode)
        self._is_scored = request.tabcast.confidence or request.logprobs is not None
        self._num_likeliest = request.logprobs or 0
        self._unshown = _Unshown()
        self.token_ids: list[int] = []
        self.num_steps = 0
        self.drafters: dict[str, DrafterStats] = {}
        self.reason = ""

    def take(self, outcome: Round) -> TextChunk:
        """Return the text that may be shown after this round; tokens behind an end are dropped."""
        self.num_steps += 1
        text = ""
        for row, token_id in enumerate(outcome.emitted_ids):
            if token_id in self._stop_ids:
                self.reason = "stop"
                break
            self.token_ids.append(token_id)
            added = self._text.push(token_id)
            if self._is_scored and outcome.logits is not None:
                self._unshown.put(self._scored(added, score(outcome.logits[row], token_id, self._num_likeliest)))
            text += self._stops.push(added)
            self.reason = self._stops.reason or self._limit()
            if self.reason:
                break
        self._count(outcome)
        return TextChunk(text, self._unshown.take(len(text), is_end=bool(self._stops.reason)))

    def flush(self) -> TextChunk:
        """Return the text that was held back in case it began a stop text."""
        text = self._stops.flush()
        return TextChunk(text, self._unshown.take(len(text), is_end=True))

    def _limit(self) -> str:
        if len(self.token_ids) >= self._max_tokens:
            return "length"
        return "repetition" if self._ends_loops and is_loop(self.token_ids) else ""

    def _scored(self, text: str, found: Score) -> ScoredToken:
        likeliest = tuple((self._name(token_id), logprob) for token_id, logprob in found.likeliest)
        return ScoredToken(text=text, logprob=found.logprob, likeliest=likeliest)

    def _name(self, token_id: int) -> str:
        """Return a token as text; one that isn't text gets the form that OpenAI gives it."""
        try:
            return self._token_bytes[token_id].decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in self._token_bytes[token_id])

    def _count(self, outcome: Round) -> None:
        accepted = outcome.num_accepted  # all accepted tokens belong to the leading chain
        for chain in outcome.draft.verified:
            if chain.token_ids:
                before = self.drafters.get(chain.drafter, DrafterStats())
                self.drafters[chain.drafter] = DrafterStats(
                    drafted=before.drafted + len(chain.token_ids), accepted=before.accepted + accepted
                )
            accepted = 0


class _Unshown:
    """Scored tokens whose text is not shown yet: some text is held back, and a stop text may cut a token."""

    def __init__(self) -> None:
        self._tokens: deque[ScoredToken] = deque()
        self._num_characters = 0  # how many characters of the first token are shown already

    def put(self, token: ScoredToken) -> None:
        self._tokens.append(token)

    def take(self, num_shown: int, *, is_end: bool) -> tuple[ScoredToken, ...]:
        """Return the tokens that `num_shown` more characters complete; at the end, also the rest of a cut token."""
        self._num_characters += num_shown
        taken: list[ScoredToken] = []
        while self._tokens and len(self._tokens[0].text) <= self._num_characters:
            taken.append(self._tokens.popleft())
            self._num_characters -= len(taken[-1].text)
        if is_end:
            if self._tokens and self._num_characters:
                taken.append(replace(self._tokens[0], text=self._tokens[0].text[: self._num_characters]))
            self._tokens.clear()
            self._num_characters = 0
        return tuple(taken)
