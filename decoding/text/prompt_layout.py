"""Lays out the prompt: the special tokens that a model was taught (see `FimTemplate`), and what fits into the budget.

Fill-in-the-middle: Bavarian et al. 2022 (https://arxiv.org/abs/2207.14255). Knows token ids, no tensor.
What changes least comes first, so that keys and values computed once stay valid: repository, context files,
then for a prefix-first model the whole lines above the cursor's line, the suffix, the middle token and the part of
the line that is typed already (in the classic layout that part stands before the suffix); for a suffix-first model the
suffix, the middle token and the prefix.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from decoding.errors import ConfigError, ModelError
from decoding.protocol import CompletionRequest, FimTemplate, find_template
from decoding.text.fim_changes import change_template

Encode = Callable[[str], list[int]]

SUFFIX_SHARE = 0.3
CONTEXT_SHARE = 0.35
CUT_STEPS = 4
# chosen: of a huge text so many characters are tokenised at first for each token that there is room for, and more if
# that is not enough. A text that fits is never cut.
CHARACTERS_PER_TOKEN = 8
WIDENING = 4
# chosen: a cut may split a few tokens that the tokenizer would join. If a part exceeds the room by more than so many
# tokens, the whole text doesn't fit either.
FEW_TOKENS = 16
LEAST_BEFORE = 8  # chosen: less text before a cursor says less than what stands behind it
MAX_NAME_CHARACTERS = 4096
MAX_CONTEXT_FILES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A template with its token ids. Where it is None, the model can't fill in the middle and gets the prefix alone.

    `is_anchored`: the typed head of the line stands behind the middle token, not before the suffix, which is the
    classic place. It makes a difference only where the middle token comes last. `begin_ids` start every text of this
    model.
    """

    template: FimTemplate | None
    ids: Mapping[str, int]
    stop_ids: frozenset[int]
    is_anchored: bool = True
    begin_ids: tuple[int, ...] = ()


def find_layout(
    vocabulary: Mapping[str, int],
    declared: Mapping[str, Any],
    end_ids: Sequence[int],
    *,
    begin_ids: Sequence[int] = (),
    model_name: str = "",
    chosen: Mapping[str, Any] | None = None,
) -> Layout:
    """Choose the layout by the special tokens' names.

    Args:
        vocabulary: token to id.
        declared: the `tabcast` object of the model's config.json, whose `fim_order` overrides the table's.
        end_ids: the model's own end tokens.
        begin_ids: tokens that start every text.
        model_name: tells apart families with tokens of equal names.
        chosen: the user's own fields of the template, which override all others.

    Raises:
        ModelError: the declared order is unknown.
        ConfigError: the user's fields can't be used.
    """
    template = find_template(vocabulary, model_name)
    if template is not None and (order := declared.get("fim_order")) is not None:
        try:
            template = change_template(template, {"order": order}, vocabulary, "config.json: tabcast.fim_order")
        except ConfigError as error:
            raise ModelError(str(error)) from None
    if chosen:
        template = change_template(template, chosen, vocabulary, "user's settings")
    ids = {name: vocabulary[name] for name in (template.names if template else ()) if name in vocabulary}
    stops = frozenset(vocabulary[name] for name in (template.stops if template else ()) if name in vocabulary)
    return Layout(template=template, ids=ids, stop_ids=stops.union(end_ids, ids.values()), begin_ids=tuple(begin_ids))


class Prompt(NamedTuple):
    """A prompt's tokens; the `num_typed` before `cursor` belong to the line that is being typed.

    `cursor` is the prompt's end except in the classic layout, where suffix and middle token follow. The tokens from
    `above[0]` up to `above[1]` are those of the lines above the cursor's line; empty where they don't stand alone.
    """

    ids: list[int]
    num_typed: int
    cursor: int
    above: tuple[int, int] = (0, 0)


def build_prompt(request: CompletionRequest, layout: Layout, encode: Encode, budget: int) -> Prompt:
    """Return the prompt's tokens, at most `budget` of them; never empty.

    Over budget the far end of the prefix is cut, in steps of a quarter of its share, so that the cut stays where it is
    for many keystrokes. Context files are dropped whole from the last.
    """
    template = layout.template
    budget -= len(layout.begin_ids)
    if template is None:
        prefix = encode(_needed_end(request.prompt, budget, encode))
        ids = [*layout.begin_ids, *(_tail(prefix, budget) or encode("\n"))]
        return Prompt(ids, len(ids) - len(layout.begin_ids) - 1, len(ids))
    suffix = _first_ids(request.suffix, int(budget * SUFFIX_SHARE), encode)
    shared = [*_context(request, layout, encode, int(budget * CONTEXT_SHARE))]
    shared += _file_head(request, layout, encode)[: budget // 4]
    room = budget - len(suffix) - len(shared) - 3
    text = _needed_end(request.prompt, room, encode)
    if template.has_leading_space and text and not shared:
        text = " " + text
    prefix = encode(text)
    num_typed = len(prefix) - _anchor(text, encode, prefix)
    prefix = _tail(prefix, room)
    begin, middle, end = (_special(layout, name) for name in (template.prefix, template.middle, template.suffix))
    # File separators that are tokens go before everything; marks that are text go within the prefix.
    first, inner = ([], shared) if template.file_mark else (shared, [])
    first = [*layout.begin_ids, *first]
    if template.order == "suffix_first":
        ids = [*first, *begin, *end, *suffix, *middle, *inner, *prefix]
        return Prompt(ids, len(prefix), len(ids))
    anchor = max(0, len(prefix) - num_typed)
    above, typed = prefix[:anchor], prefix[anchor:]
    if template.order == "suffix_then_prefix":
        before, behind = [*first, *end, *suffix, *begin, *inner, *above], middle
    else:
        before, behind = [*first, *begin, *inner, *above], [*end, *suffix, *middle]
    if layout.is_anchored:
        ids = [*before, *behind, *typed]
        return Prompt(ids, len(typed), len(ids), (len(before) - len(above), len(before)))
    return Prompt([*before, *typed, *behind], len(typed), len(before) + len(typed))


def build_laid_out(
    parts: Sequence[str], layout: Layout, encode: Encode, token_id: Callable[[str], int | None]
) -> list[int]:
    """Return the tokens of a prompt that its caller laid out: texts and names of special tokens in turn, a text first.

    Only the names become special tokens: whatever stands in a text is text.
    """
    ids = list(layout.begin_ids)
    for number, part in enumerate(parts):
        special = token_id(part) if number % 2 else None
        ids += encode(part) if special is None else [special]
    return ids or encode("\n")


def before_cursor(layout: Layout, prompt_ids: Sequence[int]) -> list[int]:
    """Return the text before the cursor of a prompt in this layout, as if nothing stood behind it.

    It only grows while somebody types, where in the prompt the suffix stands behind text that changes. With next to
    nothing before the cursor it is the whole prompt.
    """
    ids, template = list(prompt_ids), layout.template
    if template is None:
        return ids
    begin, middle, end = (
        _last_index(ids, layout.ids.get(name)) for name in (template.prefix, template.middle, template.suffix)
    )
    if end is None:
        return ids
    behind_suffix = begin if begin is not None and begin > end else middle
    if behind_suffix is None or behind_suffix < end:
        return ids
    found = list(ids)
    singles = [(place, place + 1) for place in (begin, middle) if place is not None]
    for start, stop in sorted([(end, behind_suffix), *singles], reverse=True):
        del found[start:stop]
    return found if len(found) >= LEAST_BEFORE else ids


def _last_index(ids: Sequence[int], token_id: int | None) -> int | None:
    backwards = ids[::-1]
    return len(ids) - 1 - backwards.index(token_id) if token_id in backwards else None


def _context(request: CompletionRequest, layout: Layout, encode: Encode, budget: int) -> list[int]:
    """Return repository and context files, as many as fit; the last ones are left out first."""
    template, options = layout.template, request.tabcast
    if template is None or not options.context:
        return []
    ids: list[int] = []
    if options.repo and template.repository in layout.ids:
        ids = [*_special(layout, template.repository), *encode(options.repo[:MAX_NAME_CHARACTERS] + "\n")]
    for file in options.context[:MAX_CONTEXT_FILES]:
        room = budget - len(ids)
        too_many = room + FEW_TOKENS
        is_long = len(file.text) > too_many * CHARACTERS_PER_TOKEN
        if is_long and len(_first_ids(file.text, too_many, encode)) == too_many:
            continue  # its beginning alone takes more than the room
        more = _named(template, layout, encode, file.path, file.text)
        if len(more) <= room:
            ids += more
    return ids


def _file_head(request: CompletionRequest, layout: Layout, encode: Encode) -> list[int]:
    path = request.tabcast.path
    return _named(layout.template, layout, encode, path, "") if layout.template and path else []


def _named(template: FimTemplate, layout: Layout, encode: Encode, path: str, text: str) -> list[int]:
    """Return a file behind its path, in the model's own way; nothing if the model has no such way."""
    path = path[-MAX_NAME_CHARACTERS:]
    if template.file_separator in layout.ids:
        return [layout.ids[template.file_separator], *encode(f"{path}\n{text}")]
    if not template.file_mark:
        return []
    # The next file's mark must begin a line.
    text = text if not text or text.endswith("\n") else text + "\n"
    return encode(f"{template.file_mark}{path}\n{text}")


def _anchor(text: str, encode: Encode, prefix: Sequence[int]) -> int:
    """Return how many of the prefix's tokens stand before the cursor's line.

    Where a tokenizer joins the newline with the text behind it, the anchor lies before that newline; where even that is
    within a token, all of the prefix stands before it.
    """
    line_start = text.rfind("\n") + 1
    for cut in (line_start, line_start - 1):
        above = encode(text[:cut]) if cut > 0 else []
        if list(prefix[: len(above)]) == above:
            return len(above)
    return len(prefix)


def _tail(ids: list[int], room: int) -> list[int]:
    if len(ids) <= room:
        return ids
    step = max(1, room // CUT_STEPS)
    return ids[-(-(len(ids) - room) // step) * step :]


def _needed_end(text: str, room: int, encode: Encode) -> str:
    """Return the end of a text that fills the room with tokens, or all of a text that fits."""
    characters = room * CHARACTERS_PER_TOKEN
    while len(text) > characters:
        part = _cut_text(text, characters)
        if len(encode(part)) >= room:
            return part
        characters *= WIDENING
    return text


def _first_ids(text: str, count: int, encode: Encode) -> list[int]:
    """Return the first tokens of a text, `count` at the most."""
    characters = count * CHARACTERS_PER_TOKEN
    while len(text) > characters:
        ids = encode(text[:characters])
        # The last few tokens may differ from those of the whole text, because the cut may split a token.
        if len(ids) >= count + FEW_TOKENS:
            return ids[:count]
        characters = max(WIDENING * characters, FEW_TOKENS * CHARACTERS_PER_TOKEN)
    return encode(text)[:count]


def _cut_text(text: str, characters: int) -> str:
    """Bound the tokenizer's work on a huge prefix. Cuts are in whole steps, so that they stay for many keystrokes."""
    if len(text) <= characters:
        return text
    step = max(1, characters // CUT_STEPS)
    return text[-(-(len(text) - characters) // step) * step :]


def _special(layout: Layout, name: str) -> list[int]:
    return [layout.ids[name]] if name in layout.ids else []
