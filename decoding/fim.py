"""Lays out the prompt: which special tokens a model was taught, in which order, and what fits into the budget.

Fill-in-the-middle: Bavarian et al. 2022 (https://arxiv.org/abs/2207.14255). Knows token ids, no tensor.
What changes least comes first, so that keys and values computed once stay valid: repository, context files,
then for a prefix-first model the whole lines above the cursor's line, the suffix, the middle token and the part of
the line that is typed already; for a suffix-first model the suffix, the middle token and the prefix.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from decoding.errors import ModelError
from decoding.protocol import CompletionRequest

Order = Literal["prefix_first", "suffix_first"]
Encode = Callable[[str], list[int]]

SUFFIX_SHARE = 0.3
CONTEXT_SHARE = 0.35
CUT_STEPS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """The names of a model's special tokens; `middle` "" where the prefix token plays its part last."""

    prefix: str
    suffix: str
    middle: str
    order: Order = "prefix_first"
    file_separator: str = ""
    repository: str = ""
    stops: tuple[str, ...] = ()


_QWEN_STOPS = ("<|endoftext|>", "<|im_end|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>")
TEMPLATES: Mapping[str, Template] = {
    "<|fim_prefix|>": Template(
        prefix="<|fim_prefix|>",
        suffix="<|fim_suffix|>",
        middle="<|fim_middle|>",
        file_separator="<|file_sep|>",
        repository="<|repo_name|>",
        stops=(*_QWEN_STOPS, "<|repo_name|>", "<|file_sep|>"),
    ),
    "<fim_prefix>": Template(
        prefix="<fim_prefix>",
        suffix="<fim_suffix>",
        middle="<fim_middle>",
        file_separator="<file_sep>",
        repository="<repo_name>",
        stops=("<|endoftext|>", "<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<file_sep>", "<repo_name>"),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A template with its token ids; where it is None, the model knows no middle and gets the prefix alone."""

    template: Template | None
    ids: Mapping[str, int]
    stop_ids: frozenset[int]


def find_layout(vocabulary: Mapping[str, int], declared: Mapping[str, object], end_ids: Sequence[int]) -> Layout:
    """Choose by the special tokens' names; `declared` is the `tabcast` object of the model's config.json.

    Raises `ModelError` if the declared order is unknown.
    """
    template = next((t for name, t in TEMPLATES.items() if name in vocabulary and t.suffix in vocabulary), None)
    order = declared.get("fim_order")
    if template is not None and order is not None:
        if order not in ("prefix_first", "suffix_first"):
            raise ModelError(f"config.json: tabcast.fim_order must be prefix_first or suffix_first, not {order!r}")
        template = replace(template, order=order)
    names = () if template is None else template.stops
    ids = {name: vocabulary[name] for name in _token_names(template) if name in vocabulary}
    stops = frozenset([*end_ids, *(vocabulary[name] for name in names if name in vocabulary)])
    return Layout(template=template, ids=ids, stop_ids=stops)


class Prompt(NamedTuple):
    """A prompt's tokens; the last `num_typed` are of the cursor's own text, behind the anchor."""

    ids: list[int]
    num_typed: int


def lay_out(request: CompletionRequest, layout: Layout, encode: Encode, budget: int) -> Prompt:
    """The prompt's tokens, at most `budget` of them; never empty.

    Over budget the far end of the prefix is cut, in steps of a quarter of its share, so that the cut stays where it is
    for many keystrokes. Context files are dropped whole from the last.
    """
    template = layout.template
    if template is None:
        ids = _tail(encode(request.prompt), budget) or encode("\n")
        return Prompt(ids, len(ids) - 1)
    suffix = encode(request.suffix[: budget * 8])[: int(budget * SUFFIX_SHARE)]
    head = _file_head(request, layout, encode)[: budget // 4]
    context = _context(request, layout, encode, int(budget * CONTEXT_SHARE))
    room = budget - len(suffix) - len(head) - len(context) - 3
    text = _cut_text(request.prompt, room * 8)
    prefix = encode(text)
    num_typed = len(prefix) - _anchor(text, encode, prefix)
    prefix = _tail(prefix, room)
    begin, middle, end = (_special(layout, name) for name in (template.prefix, template.middle, template.suffix))
    if template.order == "suffix_first":
        return Prompt([*context, *head, *begin, *end, *suffix, *middle, *prefix], len(prefix))
    anchor = max(0, len(prefix) - num_typed)
    ids = [*context, *head, *begin, *prefix[:anchor], *end, *suffix, *middle, *prefix[anchor:]]
    return Prompt(ids, len(prefix) - anchor)


def _context(request: CompletionRequest, layout: Layout, encode: Encode, budget: int) -> list[int]:
    template = layout.template
    if template is None or template.file_separator not in layout.ids:
        return []
    ids = [*_special(layout, template.repository), *encode(request.tabcast.repo + "\n")] if request.tabcast.repo else []
    if not request.tabcast.context:
        return []
    for file in request.tabcast.context:
        more = [*_special(layout, template.file_separator), *encode(f"{file.path}\n{file.text}")]
        if len(ids) + len(more) <= budget:
            ids += more
    return ids


def _file_head(request: CompletionRequest, layout: Layout, encode: Encode) -> list[int]:
    separator = layout.template.file_separator if layout.template else ""
    if not request.tabcast.path or separator not in layout.ids:
        return []
    return [layout.ids[separator], *encode(request.tabcast.path + "\n")]


def _anchor(text: str, encode: Encode, prefix: Sequence[int]) -> int:
    """How many of the prefix's tokens stand before the cursor's line.

    Where a tokenizer joins the newline with what follows, the anchor lies before that newline; where even that is
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


def _cut_text(text: str, characters: int) -> str:
    """Bound the work of the tokenizer on a huge prefix; cut in whole steps for the same reason as `_tail`."""
    if len(text) <= characters:
        return text
    step = max(1, characters // CUT_STEPS)
    return text[-(-(len(text) - characters) // step) * step :]


def _special(layout: Layout, name: str) -> list[int]:
    return [layout.ids[name]] if name in layout.ids else []


def _token_names(template: Template | None) -> tuple[str, ...]:
    if template is None:
        return ()
    return (template.prefix, template.suffix, template.middle, template.file_separator, template.repository)
