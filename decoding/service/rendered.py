"""Takes apart prompts that a client has laid out itself, with the tokens for filling in the middle written as text.

Zed's `open_ai_compatible_api` and other clients do so; the engine lays the parts out anew, by its own model's tokens.
Knows requests, and neither tokenizers nor sockets.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from decoding.protocol import FIM_TEMPLATES, CompletionOptions, CompletionRequest, FimTemplate

# chosen: what clients stop at beside texts of their user's, by its beginning: the engine ends at its own tokens.
_MARKS: Final = ("<|", "<fim", "<PRE>", "<SUF>", "<MID>", "[PREFIX]", "[SUFFIX]", "<｜")


def unrendered(request: CompletionRequest) -> CompletionRequest:
    """Return a request whose prompt was laid out by its client with its parts; any other as it is.

    A prompt is taken for one only if it begins and ends as a family's prompts do, and the request brings neither a
    suffix nor anything of ours.
    """
    if request.suffix or request.tabcast != CompletionOptions():
        return request
    for template in FIM_TEMPLATES.values():
        if (parts := _parts(request.prompt, template)) is not None:
            stop = tuple(text for text in request.stop if not text.startswith(_MARKS))
            return replace(request, prompt=parts[0], suffix=parts[1], stop=stop)
    return request


def _parts(prompt: str, template: FimTemplate) -> tuple[str, str] | None:
    """Return what stands before and behind the cursor, None for a prompt that isn't of this family."""
    begin, end, middle = (_seen(name) for name in (template.prefix, template.suffix, template.middle))
    text = prompt.strip(" ") if template.has_leading_space else prompt
    if template.order == "prefix_first":
        if not (text.startswith(begin) and middle and text.endswith(middle) and end in text):
            return None
        prefix, _, suffix = text[len(begin) : -len(middle)].partition(end)
    elif template.order == "suffix_then_prefix":
        if not (text.startswith(end) and begin in text and text.endswith(middle)):
            return None
        suffix, _, prefix = text[len(end) : len(text) - len(middle)].rpartition(begin)
    else:
        head = begin + end
        if not (text.startswith(head) and middle and middle in text):
            return None
        suffix, _, prefix = text[len(head) :].partition(middle)
    if template.has_leading_space:  # clients put spaces around these tokens
        prefix, suffix = prefix.removeprefix(" ").removesuffix(" "), suffix.removesuffix(" ")
    return prefix, suffix


def _seen(name: str) -> str:
    """Return a token's name as clients write it; SentencePiece writes a space as ▁."""
    return name.removeprefix("▁")
