"""Registers the drafters by name: what each needs of an engine, and how one is made for a session.

A new drafter is one entry here and one name in `protocol/methods.py`. Knows no request and no policy.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from decoding.config import datastores_directory
from decoding.datastore.files import Datastores
from decoding.drafters.draft_model import DraftModel
from decoding.drafters.heads import HeadsDrafter
from decoding.drafters.lookahead import LookaheadDrafter
from decoding.drafters.parallel import ParallelDrafter
from decoding.drafters.prompt_lookup import PromptLookup
from decoding.drafters.self_draft import self_draft, skip_layers
from decoding.drafters.suffix import SuffixDrafter
from decoding.drafters.suffix_automaton import LiveText
from decoding.models.language_model import Cache, skips_layers
from decoding.models.loading.model_set import ModelSet
from decoding.protocol import AUTO, COMBINE, DRAFTERS, Method, drafter_names
from decoding.speculation.drafting import Drafter
from decoding.text.prompt_layout import before_cursor

# The drafters of `auto` by the kind of device; docs/decisions/drafting-and-policy.md has the figures.
BEST: Final[Mapping[str, tuple[str, ...]]] = {"cpu": ("lookup", "heads", "draft")}
BEST_ELSEWHERE: Final = ("lookup", "suffix", "heads", "draft")  # where rows cost next to nothing
# The drafter that searches datastores.
SEARCHES_CODE: Final = "suffix"
# The key of `SessionState.texts` for the texts that `suffix` has learnt.
LIVE_TEXT: Final = "live text"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionState:
    """What a drafter may use of its session: the target's cache, to read, and values shared by all sessions.

    `shared` is for what a drafter has once for an engine, under its own name, for example an index of a workspace.
    `texts` is for what it learns of texts: all sessions of one owner have it, and no others.
    """

    cache: Cache
    shared: dict[str, Any] = field(default_factory=dict)
    texts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """A drafter's entry: `make` makes one for a session; `why_not` says why these models have none, or ""."""

    make: Callable[[ModelSet, SessionState], Drafter]
    why_not: Callable[[ModelSet], str] = lambda models: ""


def _draft_model(models: ModelSet, _session: SessionState) -> Drafter:
    assert models.draft is not None
    return DraftModel(
        models.draft,
        models.draft.new_cache(),
        step_ms=models.draft_step_ms,
        shorten=partial(before_cursor, models.layout),
    )


def _parallel(models: ModelSet, _session: SessionState) -> Drafter:
    assert models.parallel is not None
    return ParallelDrafter(models.parallel, models.parallel.model.new_cache())


def _heads(models: ModelSet, _session: SessionState) -> Drafter:
    assert models.heads is not None
    return HeadsDrafter(models.heads)


def _self_draft(models: ModelSet, session: SessionState) -> Drafter:
    """Make a drafter on one reduced model for the whole engine, chosen on Python that is at hand: this file."""
    if "self" not in session.shared:
        assert skips_layers(models.target)
        session.shared["self"] = skip_layers(models.target, models.encode(inspect.getsource(sys.modules[__name__])))
    return self_draft(session.shared["self"])


def _suffix(models: ModelSet, session: SessionState) -> Drafter:
    """Make a drafter on texts and datastores of the engine; a benchmark that removes them from `shared` starts anew."""
    shared, vocabulary = session.shared, models.tokenizer.get_vocab

    def live() -> LiveText:
        found: LiveText = session.texts.setdefault(LIVE_TEXT, LiveText())
        return found

    stores = shared.setdefault("datastores", Datastores(datastores_directory(), vocabulary))
    return SuffixDrafter(live, stores.current)


ENTRIES: Final[Mapping[str, Entry]] = {
    "lookup": Entry(lambda models, session: PromptLookup()),
    "suffix": Entry(_suffix),
    "draft": Entry(_draft_model, lambda models: "" if models.draft else "there is no draft model"),
    "parallel": Entry(_parallel, lambda models: "" if models.parallel else "there is no parallel draft"),
    "heads": Entry(_heads, lambda models: "" if models.heads else "there are no heads"),
    "lookahead": Entry(lambda models, session: LookaheadDrafter()),
    "self": Entry(_self_draft, lambda models: "" if skips_layers(models.target) else "its layers can't be left out"),
}


def why_not(name: str, models: ModelSet) -> str:
    """Return why an engine with these models has no such drafter, "" where it has."""
    if name not in ENTRIES:
        return "this version has none"
    if not models.target.capabilities.verifies_drafts:
        return "this model verifies no drafts"
    return ENTRIES[name].why_not(models)


def choose(method: Method, models: ModelSet) -> tuple[tuple[str, ...], str]:
    """Return the names of the drafters that a method means here, and a sentence on those missing, or "".

    "" is the method of the engine's settings.
    """
    method = method or models.method
    named = drafter_names(method)
    if method == AUTO:
        wanted = BEST.get(models.target.device.type, BEST_ELSEWHERE)
    else:
        wanted = tuple(DRAFTERS) if method == COMBINE else named
    missing = {name: reason for name in wanted if (reason := why_not(name, models))}
    notice = "; ".join(f"drafter {name} is left out: {missing[name]}" for name in named if name in missing)
    return tuple(name for name in wanted if name not in missing), notice
