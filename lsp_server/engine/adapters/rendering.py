"""Lays out a prompt as text, for servers that continue a text and know nothing of its parts.

The order is that of the engine's own prompts (`decoding/text/prompt_layout.py`) in the classic form: what was typed of
the line stands with the text above it, since nobody heals a token there. A begin token is never written: the servers
put it before every prompt themselves. It must not know HTTP.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from decoding.protocol import CompletionRequest, ContextFile, FimTemplate

# chosen: low, as a prompt that is too long is refused or silently cut at its beginning.
CHARS_PER_TOKEN: Final = 2.5
UNKNOWN_CONTEXT_TOKENS: Final = 4096
LEAST_CHARS: Final = 500
SUFFIX_SHARE: Final = 0.3
CONTEXT_SHARE: Final = 0.35
MAX_NAME_CHARS: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """What goes with a request, cut to the server's room."""

    files: tuple[ContextFile, ...]
    prefix: str
    suffix: str


def fitting(request: CompletionRequest, context_tokens: int) -> Texts:
    """Cut a request to a window of so many tokens, 0 where that isn't known; files are left out from the last."""
    room_tokens = (context_tokens or UNKNOWN_CONTEXT_TOKENS) - request.max_tokens
    room = max(LEAST_CHARS, int(room_tokens * CHARS_PER_TOKEN))
    suffix = _first_lines(request.suffix, int(room * SUFFIX_SHARE))
    files, left = [], min(int(room * CONTEXT_SHARE), room - len(suffix) - len(request.prompt))
    for file in request.tabcast.context:
        left -= len(file.path) + len(file.text) + 2
        if left < 0:
            break
        files.append(file)
    used = len(suffix) + sum(len(file.path) + len(file.text) + 2 for file in files)
    return Texts(files=tuple(files), prefix=_last_lines(request.prompt, room - used), suffix=suffix)


def render(request: CompletionRequest, template: FimTemplate | None, context_tokens: int) -> str:
    """Return the prompt as text; the text before the cursor alone where the model has no form for more."""
    texts = fitting(request, context_tokens)
    if template is None:
        return texts.prefix
    named = "".join(_named(template, file.path, file.text) for file in texts.files)
    if named and request.tabcast.repo and template.repository:
        named = f"{template.repository}{_plain(request.tabcast.repo[:MAX_NAME_CHARS], template)}\n{named}"
    shared = named + (_named(template, request.tabcast.path, "") if request.tabcast.path else "")
    first, inner = ("", shared) if template.file_mark else (shared, "")
    prefix = _plain(texts.prefix, template)
    if template.has_leading_space and prefix and not shared:
        prefix = " " + prefix
    prefix, suffix = inner + prefix, _plain(texts.suffix, template)
    begin, middle, end = (_visible(name) for name in (template.prefix, template.middle, template.suffix))
    if template.order == "suffix_first":
        prompt = f"{first}{begin}{end}{suffix}{middle}{prefix}"
    elif template.order == "suffix_then_prefix":
        prompt = f"{first}{end}{suffix}{begin}{prefix}{middle}"
    else:
        prompt = f"{first}{begin}{prefix}{end}{suffix}{middle}"
    return prompt.removeprefix(" ")


def stops(request: CompletionRequest, template: FimTemplate | None, most: int) -> list[str]:
    """Return the texts at which an answer ends, the most important first: some servers take only a few."""
    names = (*template.stops, template.file_separator, *template.parts, template.repository) if template else ()
    ends = [*(["\n"] if request.tabcast.line_mode == "line" else []), *request.stop]
    ends += [_visible(name).strip() for name in names if name]
    return list(dict.fromkeys(ends))[:most]


def _named(template: FimTemplate, path: str, text: str) -> str:
    path, text = _plain(path[-MAX_NAME_CHARS:], template), _plain(text, template)
    if template.file_separator:
        return f"{template.file_separator}{path}\n{text}"
    if not template.file_mark:
        return ""
    return f"{template.file_mark}{path}\n{text if not text or text.endswith(chr(10)) else text + chr(10)}"


def _visible(name: str) -> str:
    """Return a token's name as its tokenizer reads it in a text: SentencePiece writes a space as ▁."""
    return name.replace("▁", " ") if name.startswith("▁") else name


def _plain(text: str, template: FimTemplate) -> str:
    """Break special tokens that stand in a document: the server would take them for the prompt's own."""
    for name in (*template.names, *template.stops):
        seen = _visible(name).strip()
        if seen in text:
            text = text.replace(seen, f"{seen[0]} {seen[1:]}")
    return text


def _last_lines(text: str, room: int) -> str:
    """Return the end of a text, from the beginning of a line where there is one."""
    if len(text) <= room:
        return text
    kept = text[-max(1, room) :]
    return kept[kept.find("\n") + 1 :]


def _first_lines(text: str, room: int) -> str:
    """Return the beginning of a text, to the end of a line where there is one."""
    if len(text) <= room:
        return text
    kept = text[: max(0, room)]
    return kept[: kept.rfind("\n") + 1] or kept
