"""Keeps caches that outlive a request: who gets which, how much memory they take, and what text they held.

Knows no request's text and no thread; one session is used by one request at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from decoding.completion.experience import experience_key, new_policy
from decoding.completion.kept_caches import KeptCaches
from decoding.completion.owners import Owner, Owners
from decoding.drafters import registry
from decoding.drafters.combine import Combined, enrol
from decoding.drafters.draft_model import is_draft_model
from decoding.drafters.prompt_lookup import MAX_MATCH, common_prefix_len
from decoding.drafters.registry import SessionState
from decoding.models.language_model import Cache
from decoding.models.loading.model_set import ModelSet
from decoding.policy.policy import Policy
from decoding.protocol import Method
from decoding.speculation.drafting import Drafter, DraftRequest
from decoding.storage import policy_state

MAX_OLD_TOKENS = 512
# chosen: with fewer tokens in common another cache isn't worth taking or copying from.
MIN_SHARED = 64
# chosen: so many places of a document keep a cache, and so many windows of it; the least recently used goes first.
MAX_BRANCHES = 3
MAX_TRUNKS = 6
KEEP_EVERY = 64  # chosen: the policy's state is saved after so many requests, and at the end


class Session:
    """The caches of one token sequence, kept for the next request that begins with the same tokens.

    `document` names whose text it holds, `owner` who sent it. `is_trunk` tells that this is the document itself, or a
    window of it, read ahead, from which requests branch off. `wanted` tokens were asked for; what the cache holds
    behind them is an answer. Those from `above[0]` up to `above[1]` are the document's text above a cursor.
    """

    def __init__(
        self,
        models: ModelSet,
        policy: Policy | None = None,
        shared: dict[str, Any] | None = None,
        owner: Owner | None = None,
    ) -> None:
        """`policy` and `shared` (see `SessionState`) belong to the engine; without them the session makes its own."""
        self.document = ""
        self.owner = "" if owner is None else owner.name
        self.is_trunk = False
        self.wanted: Sequence[int] = ()
        self.above = (0, 0)
        self.cache: Cache = models.target.new_cache()
        self._models = models
        self._policy = policy or new_policy(models)
        shared = {} if shared is None else shared
        self._state = SessionState(cache=self.cache, shared=shared, texts=shared if owner is None else owner.texts)
        self._made: dict[str, Drafter] = {}
        self._last_ids: list[int] = []
        self.drafters("")  # made now, so that their memory counts from the beginning
        self._last_prompt_len = 0
        self._is_taken = True

    @property
    def num_bytes(self) -> int:
        """The memory of its keys and values in bytes, the drafters' included."""
        return self.cache.num_bytes + sum(getattr(drafter, "num_bytes", 0) for drafter in self._made.values())

    def num_lost(self, num_shared: int) -> int:
        """Return how many tokens that were asked for once are lost if only so many are kept."""
        return max(0, min(len(self.cache), len(self.wanted)) - num_shared)

    def text_above(self, head_ids: Sequence[int]) -> Sequence[int]:
        """Return what it holds of the text above the cursor, if these tokens, and no others, stand before that."""
        start, end = self.above
        if start != len(head_ids) or list(self.wanted[:start]) != list(head_ids):
            return ()
        return self.wanted[start : min(end, self.cache.common_prefix_len(self.wanted))]

    def branch_from(self, other: Session, prompt_ids: Sequence[int]) -> None:
        """Take over what another session has read of this prompt, which stays there, too."""
        self.cache.copy_beginning(other.cache, other.cache.common_prefix_len(prompt_ids))
        for name, drafter in self._made.items():
            known = other._made.get(name)
            if known is not None and hasattr(drafter, "branch_from"):
                drafter.branch_from(known, prompt_ids)
        if other.document == self.document:
            self._last_ids, self._last_prompt_len, self._is_taken = other._last_ids, other._last_prompt_len, True

    def drafters(self, method: Method) -> list[Drafter]:
        """Return the drafters of a method, "" being the engine's own; each is made at first use, and kept."""
        names, _ = registry.choose(method, self._models)
        for name in names:
            if name not in self._made:
                self._made[name] = registry.ENTRIES[name].make(self._models, self._state)
        return [self._made[name] for name in names]

    def notice(self, method: Method) -> str:
        """Return which of a method's drafters are missing, and why; "" where none is."""
        return registry.choose(method, self._models)[1]

    def drafter(self, method: Method) -> Combined:
        """Return the drafters of a method as one, which asks each where the policy expects it to pay."""
        return Combined(self.drafters(method), self._policy)

    def expect(self, prompt_ids: Sequence[int]) -> None:
        """Tell draft models of a prompt that is likely to be asked for, so that they can read it ahead."""
        for drafter in filter(is_draft_model, self._made.values()):
            drafter.begin(DraftRequest(prompt_ids=prompt_ids))

    def read_drafts_ahead(self, ms: float) -> bool:
        """Let draft models read what they lack of the last prompt and its answer, for about so many milliseconds.

        Returns whether there is more to read. Only those read that the policy would ask.
        """
        for drafter in filter(is_draft_model, self._made.values()):
            enrol(self._policy, drafter)
            if self._policy.is_worth_reading_ahead(drafter.name) and drafter.read_ahead(ms):
                return True
        return False

    def old_text(self, prompt_ids: list[int]) -> Sequence[int]:
        """Return the last request's text, with its answer, from the place where `prompt_ids` departs from it.

        That text is likely to be typed again. It begins a few tokens earlier, so that look-up finds the place; it is
        empty where the last request had another text.
        """
        last = self._last_ids
        common = common_prefix_len(last, prompt_ids)
        if common == len(last) or common < min(MIN_SHARED, len(prompt_ids) // 2):
            return ()
        return last[max(0, common - MAX_MATCH) : common + MAX_OLD_TOKENS]

    def remember(self, prompt_ids: Sequence[int], answer_ids: Sequence[int]) -> None:
        """Remember the last request's prompt and its answer, as far as it got."""
        self._last_ids = [*prompt_ids, *answer_ids]
        self._last_prompt_len = len(prompt_ids)
        self._is_taken = False

    def take_last(self) -> tuple[Sequence[int], Sequence[int]]:
        """Return prompt and answer that `remember` was told; empty the next time."""
        if self._is_taken:
            return (), ()
        self._is_taken = True
        return self._last_ids[: self._last_prompt_len], self._last_ids[self._last_prompt_len :]


class SessionPool:
    """Idle sessions, the least recently used first; they share a memory budget with those that are leased.

    A leased session is never taken away; so the budget may be exceeded by as many requests as take turns. What one
    owner's sessions hold is never used for another's requests, so that neither text nor time tells of it.
    """

    def __init__(self, models: ModelSet, *, max_sessions: int, budget_bytes: int, remembers: bool = False) -> None:
        """`remembers` tells whether the policy's state is read from disk and saved there."""
        self.kept: KeptCaches | None = None  # keys and values on disk
        self._models = models
        self._policy = new_policy(models)
        self._key = experience_key(models) if remembers else ""
        self._num_used = 0
        if self._key:
            self._policy.restore(policy_state.load(self._key))
        self._shared: dict[str, Any] = {}
        self._owners = Owners(models)
        self._max_sessions = max_sessions
        self._budget_bytes = budget_bytes
        self._idle: list[Session] = []
        self._leased: list[Session] = []

    def __len__(self) -> int:
        return len(self._idle) + len(self._leased)

    def models_of(self, owner: str) -> ModelSet:
        """Return the models with which an owner's requests are laid out."""
        return self._owners.of(owner).models

    @property
    def num_bytes(self) -> int:
        """The memory of all keys and values in bytes."""
        return sum(session.num_bytes for session in (*self._idle, *self._leased))

    def num_shared(self, prompt_ids: Sequence[int], owner: str = "") -> int:
        """Return how many tokens of a prompt need not be computed: a session of the owner holds them, or the disk."""
        num_kept = 0 if self.kept is None or owner else self.kept.num_kept(prompt_ids)
        return max((num_kept, *(s.cache.common_prefix_len(prompt_ids) for s in self._of(owner))))

    def texts_above(self, document: str, head_ids: Sequence[int], owner: str = "") -> Iterator[Sequence[int]]:
        """Yield what is cached of a document's text above a cursor behind this head, the last used first."""
        for session in reversed(self._of(owner)):
            if document and session.document == document and (text := session.text_above(head_ids)):
                yield text

    def lease(
        self,
        document: str,
        prompt_ids: Sequence[int],
        *,
        above: tuple[int, int] = (0, 0),
        is_trunk: bool = False,
        owner: str = "",
    ) -> Session:
        """Return an idle session that goes on where it was, else another, with what any session holds of the prompt.

        A session goes on if next to nothing in it is lost: at a new place a document gets another cache, and the last
        ones are kept. What sessions share is copied, so that a jump takes nothing from the place where it began, nor
        from the trunk, nor from another document with the same context files.
        """
        shared = {session: session.cache.common_prefix_len(prompt_ids) for session in self._of(owner)}
        source = max(shared, key=lambda session: shared[session], default=None)
        if source in self._idle and shared[source] >= MIN_SHARED:
            self._idle.remove(source)
            self._idle.append(source)  # it is in use, so it is not the next to go
        session = self._take(document, shared, len(prompt_ids), is_trunk=is_trunk) or self._new(owner)
        session.document, session.is_trunk = document, is_trunk
        session.wanted, session.above = prompt_ids, above
        if (
            source is not None
            and source is not session
            and session.cache.can_roll_back
            and shared[source] >= shared.get(session, 0) + MIN_SHARED
        ):
            session.branch_from(source, prompt_ids)
        self._leased.append(session)
        return session

    def give_back(self, session: Session) -> None:
        """Take back the session of a request that is over. Its caches are valid, whatever the request left in them."""
        self._leased.remove(session)
        self._idle.append(session)
        self._evict()
        self._num_used += 1
        if self._num_used % KEEP_EVERY == 0:
            self.keep_experience()

    def let_go_first(self, session: Session) -> None:
        """Let an idle session be the next to go: what it holds is on disk."""
        self._idle.sort(key=lambda idle: idle is not session)

    def keep_experience(self) -> None:
        """Save the policy's state, if it is to be saved."""
        if self._key and self._num_used:
            policy_state.save(self._key, self._policy.to_json())

    def drop(self, session: Session) -> None:
        """Drop the session of a request that failed, since its caches may be half written."""
        self._leased.remove(session)

    def free_idle(self) -> int:
        """Drop all idle sessions, because memory is short; return how many there were."""
        num_freed = len(self._idle)
        self._idle.clear()
        return num_freed

    def _of(self, owner: str) -> list[Session]:
        """Return the sessions of an owner, the least recently used first."""
        return [session for session in (*self._idle, *self._leased) if session.owner == owner]

    def _take(self, document: str, shared: Mapping[Session, int], prompt_len: int, *, is_trunk: bool) -> Session | None:
        """Take the owner's session that goes on here, else the document's oldest if it has enough, else none."""
        best = max(shared.values(), default=0)
        idle = [s for s in self._idle if s in shared and s.is_trunk == is_trunk]
        mine = [s for s in idle if document and s.document == document]
        going_on = []
        for session in mine if is_trunk else idle:
            is_own, enough = session in mine, min(MIN_SHARED, prompt_len - 1)
            loses_little = session.num_lost(shared[session]) <= MIN_SHARED
            if loses_little and shared[session] > best - MIN_SHARED and (is_own or shared[session] >= enough):
                going_on.append((shared[session], is_own, self._idle.index(session), session))
        # Among equals the document's own session wins, then the most recently used.
        found = max(going_on, key=lambda item: item[:3])[-1] if going_on else None
        if found is None and len(mine) >= (MAX_TRUNKS if is_trunk else MAX_BRANCHES):
            found = mine[0]
        if found is not None:
            self._idle.remove(found)
        return found

    def _has_room(self) -> bool:
        sizes = [session.num_bytes for session in (*self._idle, *self._leased)]
        return not sizes or (len(sizes) < self._max_sessions and sum(sizes) + max(sizes) <= self._budget_bytes)

    def _new(self, owner: str) -> Session:
        if not self._has_room() and self._idle:
            oldest = self._next_to_go()
            self._idle.remove(oldest)
            if oldest.owner == owner:
                return oldest
        known = self._owners.of(owner)
        return Session(known.models, self._policy, self._shared, known)

    def _evict(self) -> None:
        while self._idle and len(self) > 1 and (len(self) > self._max_sessions or self.num_bytes > self._budget_bytes):
            self._idle.remove(self._next_to_go())

    def _next_to_go(self) -> Session:
        """Return the least recently used idle session of the owner who has the most."""
        num_held = Counter(session.owner for session in (*self._idle, *self._leased))
        return max(self._idle, key=lambda session: num_held[session.owner])
