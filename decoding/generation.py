"""Implements `decoding.generate`: lossless speculation for a loaded model of transformers, without an engine.

Any causal language model will do; `models/transformers/model.py` adapts it. Afterwards the model is as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from decoding.drafters.draft_model import DraftModel
from decoding.drafters.in_order import InOrder
from decoding.drafters.prompt_lookup import PromptLookup
from decoding.errors import ModelError, RequestError
from decoding.models.probing.row_invariance import probe
from decoding.models.transformers import cache
from decoding.models.transformers.model import GenericModel
from decoding.speculation.drafting import Drafter, DraftRequest
from decoding.speculation.sampling import Sampling
from decoding.speculation.speculate import speculate

KEPT_AS = "_tabcast"


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """An answer, whose `str` is its text. `reason` is why it ended: "stop", "length" or "context"."""

    text: str
    token_ids: tuple[int, ...]
    reason: str
    num_steps: int
    num_drafted: int
    num_accepted: int

    def __str__(self) -> str:
        return self.text


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: str | Sequence[int],
    *,
    draft: PreTrainedModel | None = None,
    max_new_tokens: int = 128,
    stop: str | Sequence[str] = (),
    sampling: Sampling | None = None,
    speculative: bool = True,
) -> Generated:
    """Continue a prompt, several tokens a step where drafts are right; the output is what it would be without them.

    Args:
        model: a causal language model, on any device and in any dtype.
        tokenizer: the model's own.
        prompt: text, or token ids.
        draft: a smaller model with the same tokenizer; prompt lookup in the text so far drafts in any case.
        max_new_tokens: at most so many.
        stop: texts that end the answer and are no part of it. The model's own end tokens do, too.
        sampling: how tokens are chosen; greedily if None.
        speculative: False decodes token by token, for comparison.

    Raises:
        RequestError: the prompt is empty, or leaves no room in the model's context.
        ModelError: the model, or the draft model, can't be used.
    """
    ids = tokenizer.encode(prompt) if isinstance(prompt, str) else list(prompt)
    if not ids or max_new_tokens < 1:
        raise RequestError("the prompt needs a token, and max_new_tokens must be 1 or more")
    sampling = sampling or Sampling()
    stops = [stop] if isinstance(stop, str) else list(stop)
    with ExitStack() as stack:
        target = stack.enter_context(_borrowed(model, len(tokenizer), len(ids) + max_new_tokens))
        if target.shape.max_len <= len(ids):
            raise RequestError(f"the prompt has {len(ids)} tokens, and the model's context ends at that")
        drafters: list[Drafter] = [PromptLookup()] if speculative else []
        if draft is not None and speculative and target.capabilities.verifies_drafts:
            small = stack.enter_context(_borrowed(draft, len(tokenizer), len(ids) + max_new_tokens))
            if small.notice:
                raise ModelError(f"as a draft that won't do: {small.notice}")
            drafters.append(DraftModel(small, small.new_cache()))
        drafter = InOrder(drafters)
        drafter.begin(DraftRequest(prompt_ids=ids, max_tokens=max_new_tokens, sampling=sampling))
        rounds = stack.enter_context(closing(speculate(target, target.new_cache(), ids, drafter, sampling)))  # type: ignore[type-var]
        stack.enter_context(closing(drafter))
        return _collect(rounds, tokenizer, stops, _end_ids(model), max_new_tokens)


def _collect(
    rounds: Iterator[Any], tokenizer: PreTrainedTokenizerBase, stops: Sequence[str], end_ids: set[int], max_tokens: int
) -> Generated:
    answer = Generated(text="", token_ids=(), reason="", num_steps=0, num_drafted=0, num_accepted=0)
    ids: list[int] = []
    for outcome in rounds:
        if not outcome.emitted_ids:
            continue
        answer = replace(
            answer,
            num_steps=answer.num_steps + 1,
            num_drafted=answer.num_drafted + len(outcome.draft.leading.token_ids),
            num_accepted=answer.num_accepted + outcome.num_accepted,
        )
        for token_id in outcome.emitted_ids:
            if token_id in end_ids:
                return replace(answer, text=_text(tokenizer, ids), token_ids=tuple(ids), reason="stop")
            ids.append(token_id)
            text = _text(tokenizer, ids) if stops else ""
            if found := [text.index(end) for end in stops if end in text]:
                return replace(answer, text=text[: min(found)], token_ids=tuple(ids), reason="stop")
            if len(ids) == max_tokens:
                return replace(answer, text=_text(tokenizer, ids), token_ids=tuple(ids), reason="length")
    return replace(answer, text=_text(tokenizer, ids), token_ids=tuple(ids), reason="context")


@contextmanager
def _borrowed(model: PreTrainedModel, vocabulary: int, max_len: int) -> Iterator[GenericModel]:
    """Adapt the model to our interface, with our attention meanwhile. Probed capabilities are kept on the model."""
    usual, was_training = model.config._attn_implementation, model.training
    key = (model.device, model.dtype, vocabulary)
    try:
        known = getattr(model, KEPT_AS, None)
        if known is None or known[0] != key:
            wrapped = GenericModel(model, vocabulary=vocabulary, max_len=2**31)
            if not wrapped.notice:
                probe(wrapped)
            known = (key, wrapped, wrapped.shape)
            setattr(model, KEPT_AS, known)
        elif known[1].can_roll_back:
            model.eval().set_attn_implementation(cache.NAME)
        wrapped = known[1]
        wrapped.shape = replace(known[2], max_len=min(max_len, known[2].max_len))
        yield wrapped
    finally:
        if model.config._attn_implementation != usual:
            model.set_attn_implementation(usual)
        model.train(was_training)


def _end_ids(model: PreTrainedModel) -> set[int]:
    for settings in (model.generation_config, model.config):
        ends = getattr(settings, "eos_token_id", None)
        if ends is not None:
            return set(ends) if isinstance(ends, (list, tuple)) else {int(ends)}
    return set()


def _text(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=True))
