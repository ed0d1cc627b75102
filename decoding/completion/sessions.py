"""Caches that outlive a request: who gets which, what their memory may be, and what is known of the text they held.

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
# Fewer tokens in common are worth no cache of another document: a step reads as many.
MIN_SHARED = 64
KEEP_EVERY = 64  # requests, and at the end
SHARE_OF_MEMORY = 0.1
SHARE_OF_DEVICE = 0.25  # of what is free once the models are loaded
MEMORY_IF_UNKNOWN = 4 << 30


class Session:
    """The caches of one token sequence, kept for the next request that begins alike.

    `document` names whose text it holds.
    """

    def __init__(self, models: ModelSet, policy: Policy | None = None, shared: dict[str, Any] | None = None) -> None:
        """`policy` and `shared` (see `SessionState`) are those of the engine; of its own where none are given."""
        self.document = ""
        self.cache: Cache = models.target.new_cache()
        self._models = models
        self._policy = policy or new_policy(models)
        self._state = SessionState(cache=self.cache, shared={} if shared is None else shared)
        self._made: dict[str, Drafter] = {}
        self._last_ids: list[int] = []
        self.drafters("")  # so that their memory counts from the beginning
        self._last_prompt_len = 0
        self._is_taken = True

    @property
    def num_bytes(self) -> int:
        """Memory of its keys and values, the drafters' included."""
        return self.cache.num_bytes + sum(getattr(drafter, "num_bytes", 0) for drafter in self._made.values())

    def drafters(self, method: Method) -> list[Drafter]:
        """The drafters of a method, "" being the engine's own; each is made when it is first asked for, and kept."""
        names, _ = registry.choose(method, self._models)
        for name in names:
            if name not in self._made:
                self._made[name] = registry.ENTRIES[name].make(self._models, self._state)
        return [self._made[name] for name in names]

    def notice(self, method: Method) -> str:
        """Which of the drafters that a method names are missing, and why; "" where none is."""
        return registry.choose(method, self._models)[1]

    def drafter(self, method: Method) -> Combined:
        """The drafters of a method as one, asked where the policy expects it to pay."""
        return Combined(self.drafters(method), self._policy)

    def old_text(self, prompt_ids: list[int]) -> Sequence[int]:
        """What stood in the last request or its answer where `prompt_ids` goes another way: likely to be written again.

        Begins a few tokens earlier, so that look-up finds the place; empty where the last request had another text.
        """
        last = self._last_ids
        common = common_prefix_len(last, prompt_ids)
        if common == len(last) or common < min(MIN_SHARED, len(prompt_ids) // 2):
            return ()
        return last[max(0, common - MAX_MATCH) : common + MAX_OLD_TOKENS]

    def remember(self, prompt_ids: Sequence[int], answer_ids: Sequence[int]) -> None:
        """What the last request was, and what was answered as far as it got."""
        self._last_ids = [*prompt_ids, *answer_ids]
        self._last_prompt_len = len(prompt_ids)
        self._is_taken = False

    def take_last(self) -> tuple[Sequence[int], Sequence[int]]:
        """Prompt and answer that `remember` was told; empty the next time."""
        if self._is_taken:
            return (), ()
        self._is_taken = True
        return self._last_ids[: self._last_prompt_len], self._last_ids[self._last_prompt_len :]


def new_policy(models: ModelSet) -> Policy:
    """What is known of these models at first: the times of their steps on this machine."""
    return Policy(models.step_ms, max_chains=models.target.capabilities.max_chains)


def experience_key(models: ModelSet) -> str:
    """Under which name what is learnt of these models on this device is kept."""
    target, draft = models.target, models.draft
    device = torch.cuda.get_device_name(target.device) if target.device.type == "cuda" else target.device.type
    drafted = "none" if draft is None else f"{draft.num_parameters}"
    kinds = f"{target.dtype}".removeprefix("torch.")
    return f"{device}, {models.name}, {target.num_parameters}, {kinds}, {type(target).__name__}, draft {drafted}"


def cache_budget_bytes(megabytes: int, device: torch.device) -> int:
    """What the setting `cache_mb` allows for; 0 is a tenth of the memory, or a quarter of a GPU's that is free."""
    if megabytes:
        return megabytes << 20
    if device.type == "cuda":
        return int(SHARE_OF_DEVICE * torch.cuda.mem_get_info(device)[0])
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        memory = MEMORY_IF_UNKNOWN
    return int(SHARE_OF_MEMORY * memory)


class SessionPool:
    """Idle sessions, the least recently used first; with those that are leased they share a budget of memory.

    What is leased is never taken away; so the budget may be exceeded by as many requests as take turns.
    """

    def __init__(self, models: ModelSet, *, max_sessions: int, budget_bytes: int, remembers: bool = False) -> None:
        """`remembers` is whether what is learnt of drafters is read and kept on disk."""
        self._models = models
        self._policy = new_policy(models)
        self._key = experience_key(models) if remembers else ""
        self._num_used = 0
        if self._key:
            self._policy.restore(policy_state.read(self._key))
        self._shared: dict[str, Any] = {}
        self._max_sessions = max_sessions
        self._budget_bytes = budget_bytes
        self._idle: list[Session] = []
        self._leased: list[Session] = []

    def __len__(self) -> int:
        return len(self._idle) + len(self._leased)

    @property
    def num_bytes(self) -> int:
        """Memory of all keys and values."""
        return sum(session.num_bytes for session in (*self._idle, *self._leased))

    def lease(self, document: str, prompt_ids: Sequence[int]) -> Session:
        """The idle session that shares the longest beginning, else the document's own, else a new one.

        Another document's session is taken only if most of what it holds is shared, or if there is no room for one
        more: two documents with the same context files shall not take turns in one cache.
        """
        session = self._find(document, prompt_ids) or self._new()
        session.document = document
        self._leased.append(session)
        return session

    def give_back(self, session: Session) -> None:
        """The request is over, and whatever it left in the caches is valid."""
        self._leased.remove(session)
        self._idle.append(session)
        self._evict()
        self._num_used += 1
        if self._num_used % KEEP_EVERY == 0:
            self.keep_experience()

    def keep_experience(self) -> None:
        """Write what was learnt of drafters, if it is to be kept."""
        if self._key and self._num_used:
            policy_state.keep(self._key, self._policy.to_json())

    def drop(self, session: Session) -> None:
        """The request failed, and its caches may be half written."""
        self._leased.remove(session)

    def free_idle(self) -> int:
        """Drop all idle sessions, because memory is short; return how many there were."""
        num_freed = len(self._idle)
        self._idle.clear()
        return num_freed

    def _find(self, document: str, prompt_ids: Sequence[int]) -> Session | None:
        shared = [session.cache.common_prefix_len(prompt_ids) for session in self._idle]
        # Of equals the document's own, then the one used last.
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
