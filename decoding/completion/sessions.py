"""Keeps caches that outlive a request: who gets which, how much memory they take, and what text they held.

Knows no request's text and no thread; one session is used by one request at a time.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch

from decoding.drafters import registry
from decoding.drafters.combine import Combined
from decoding.drafters.prompt_lookup import MAX_MATCH, common_prefix_len
from decoding.drafters.registry import SessionState
from decoding.models.language_model import Cache
from decoding.models.loading.model_set import ModelSet
from decoding.policy.policy import Policy
from decoding.protocol import Method
from decoding.speculation.drafting import Drafter
from decoding.storage import policy_state

MAX_OLD_TOKENS = 512
# chosen: with fewer tokens in common another document's cache isn't worth taking.
MIN_SHARED = 64
KEEP_EVERY = 64  # chosen: the policy's state is saved after so many requests, and at the end
SHARE_OF_MEMORY = 0.1
SHARE_OF_DEVICE = 0.25  # chosen: of the device's memory that is free once the models are loaded
MEMORY_IF_UNKNOWN = 4 << 30


class Session:
    """The caches of one token sequence, kept for the next request that begins with the same tokens.

    `document` names whose text it holds.
    """

    def __init__(self, models: ModelSet, policy: Policy | None = None, shared: dict[str, Any] | None = None) -> None:
        """`policy` and `shared` (see `SessionState`) belong to the engine; without them the session makes its own."""
        self.document = ""
        self.cache: Cache = models.target.new_cache()
        self._models = models
        self._policy = policy or new_policy(models)
        self._state = SessionState(cache=self.cache, shared={} if shared is None else shared)
        self._made: dict[str, Drafter] = {}
        self._last_ids: list[int] = []
        self.drafters("")  # made now, so that their memory counts from the beginning
        self._last_prompt_len = 0
        self._is_taken = True

    @property
    def num_bytes(self) -> int:
        """The memory of its keys and values in bytes, the drafters' included."""
        return self.cache.num_bytes + sum(getattr(drafter, "num_bytes", 0) for drafter in self._made.values())

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


def new_policy(models: ModelSet) -> Policy:
    """Make a policy from what is known of these models at first: the times of their steps on this machine."""
    return Policy(models.step_ms, max_chains=models.target.capabilities.max_chains)


def experience_key(models: ModelSet) -> str:
    """Return the key under which the policy's state for these models on this device is saved."""
    target, draft = models.target, models.draft
    device = torch.cuda.get_device_name(target.device) if target.device.type == "cuda" else target.device.type
    drafted = "none" if draft is None else f"{draft.num_parameters}"
    kinds = f"{target.dtype}".removeprefix("torch.")
    return f"{device}, {models.name}, {target.num_parameters}, {kinds}, {type(target).__name__}, draft {drafted}"


def cache_budget_bytes(megabytes: int, device: torch.device) -> int:
    """Return the bytes that the setting `cache_mb` allows; 0 means a tenth of the memory or a quarter of a GPU's."""
    if megabytes:
        return megabytes << 20
    if device.type == "cuda":
        return int(SHARE_OF_DEVICE * torch.cuda.mem_get_info(device)[0])
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no `sysconf`
        memory = MEMORY_IF_UNKNOWN
    return int(SHARE_OF_MEMORY * memory)


class SessionPool:
    """Idle sessions, the least recently used first; they share a memory budget with those that are leased.

    A leased session is never taken away; so the budget may be exceeded by as many requests as take turns.
    """

    def __init__(self, models: ModelSet, *, max_sessions: int, budget_bytes: int, remembers: bool = False) -> None:
        """`remembers` tells whether the policy's state is read from disk and saved there."""
        self._models = models
        self._policy = new_policy(models)
        self._key = experience_key(models) if remembers else ""
        self._num_used = 0
        if self._key:
            self._policy.restore(policy_state.load(self._key))
        self._shared: dict[str, Any] = {}
        self._max_sessions = max_sessions
        self._budget_bytes = budget_bytes
        self._idle: list[Session] = []
        self._leased: list[Session] = []

    def __len__(self) -> int:
        return len(self._idle) + len(self._leased)

    @property
    def num_bytes(self) -> int:
        """The memory of all keys and values in bytes."""
        return sum(session.num_bytes for session in (*self._idle, *self._leased))

    def lease(self, document: str, prompt_ids: Sequence[int]) -> Session:
        """Return the idle session with the longest common beginning, else the document's own, else a new one.

        Another document's session is taken only if most of its cache is shared, or if there is no room for one more:
        two documents with the same context files shall not take turns in one cache.
        """
        session = self._find(document, prompt_ids) or self._new()
        session.document = document
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

    def _find(self, document: str, prompt_ids: Sequence[int]) -> Session | None:
        shared = [session.cache.common_prefix_len(prompt_ids) for session in self._idle]
        # Among equals the document's own session wins, then the most recently used.
        order = [(shared[i], session.document == document, i) for i, session in enumerate(self._idle)]
        num_shared, is_own, best = max(order, default=(0, False, -1))
        if best < 0:
            return None
        enough = min(MIN_SHARED, len(prompt_ids) - 1)
        is_mostly_shared = 2 * num_shared >= len(self._idle[best].cache)
        if num_shared >= enough and (is_own or is_mostly_shared or not self._has_room()):
            return self._idle.pop(best)
        own = next((i for i, session in enumerate(self._idle) if document and session.document == document), None)
        return None if own is None else self._idle.pop(own)

    def _has_room(self) -> bool:
        sizes = [session.num_bytes for session in (*self._idle, *self._leased)]
        return not sizes or (len(sizes) < self._max_sessions and sum(sizes) + max(sizes) <= self._budget_bytes)

    def _new(self) -> Session:
        if not self._has_room() and self._idle:
            return self._idle.pop(0)
        return Session(self._models, self._policy, self._shared)

    def _evict(self) -> None:
        while self._idle and len(self) > 1 and (len(self) > self._max_sessions or self.num_bytes > self._budget_bytes):
            del self._idle[0]
