"""A language server with a fixed answer, so that the editors' own behaviour can be tested to the character.

It completes a line whose beginning is the beginning of a known text, with ranges as Tabcast chooses them: from the
start of the line when only blanks follow the cursor, else from the cursor, over closers that the text brings along.
(Not from the start, but from behind the last character outside the basic plane: VS Code 1.139 shows no item whose
range reaches back over one.)
It must not know anything of Tabcast's own packages.
"""

import argparse
import asyncio
import re
from typing import Final

from lsprotocol import types
from pygls.lsp.server import LanguageServer

TEXTS: Final = (
    "return alpha + beta",
    "for item in items:\n        total += item\n    return total",
    'print("😀", alpha)',
)
# What a request by key gets besides: (from the text above, to this one).
ALTERNATIVES: Final = {"return alpha + beta": ("return alpha - beta", "return alpha * beta")}
ARGUMENTS: Final = "alpha, beta)"
ASTRAL_HEAD: Final = re.compile("(?:.*[\U00010000-\U0010ffff])?")


def complete(head: str, tail: str) -> tuple[str, int, int] | None:
    """The text for a line cut at the cursor, and how far its range reaches back and forward, in characters."""
    typed = head.lstrip()
    known = next((text for text in TEXTS if typed and text.startswith(typed) and text != typed), None)
    if known and not tail.strip():
        kept = len(ASTRAL_HEAD.findall(head)[0])
        return (head[: len(head) - len(typed)] + known)[kept:], len(head) - kept, 0
    if head.endswith("(") and tail.startswith(")"):
        return known[len(typed) :] if known else ARGUMENTS, 0, 1
    return None


def build_server(delay_ms: int) -> LanguageServer:
    """A server that answers every request after the same time."""
    server = LanguageServer("stub", "1")

    def find(uri: str, position: types.Position) -> tuple[str, types.Range, str] | None:
        """The text, the range that it takes, and what the range holds before the position."""
        document = server.workspace.get_text_document(uri)
        line = document.lines[position.line].rstrip("\n") if position.line < len(document.lines) else ""
        codec = document.position_codec
        column = codec.position_from_client_units(document.lines or [""], position).character if line else 0
        found = complete(line[:column], line[column:])
        if found is None:
            return None
        text, num_before, num_after = found
        span = types.Range(
            start=types.Position(position.line, column - num_before),
            end=types.Position(position.line, column + num_after),
        )
        return text, codec.range_to_client_units(document.lines, span), line[column - num_before : column]

    @server.feature(types.TEXT_DOCUMENT_INLINE_COMPLETION, types.InlineCompletionOptions())
    async def inline_completion(params: types.InlineCompletionParams) -> types.InlineCompletionList:
        found = find(params.text_document.uri, params.position)
        await asyncio.sleep(delay_ms / 1000)
        if found is None:
            return types.InlineCompletionList(items=[])
        text, span, _ = found
        texts = [text]
        if params.context.trigger_kind == types.InlineCompletionTriggerKind.Invoked:
            texts += [
                text.replace(known, other) for known in ALTERNATIVES for other in ALTERNATIVES[known] if known in text
            ]
        items = [types.InlineCompletionItem(insert_text=text, range=span) for text in texts]
        return types.InlineCompletionList(items=items)

    @server.feature(types.TEXT_DOCUMENT_COMPLETION, types.CompletionOptions())
    async def completion(params: types.CompletionParams) -> types.CompletionList:
        found = find(params.text_document.uri, params.position)
        if found is None:
            return types.CompletionList(is_incomplete=True, items=[])
        text, span, typed = found
        num_blanks = len(typed) - len(typed.lstrip())
        start = types.Position(span.start.line, span.start.character + num_blanks)
        text = text[num_blanks:]
        edit = types.TextEdit(range=types.Range(start=start, end=span.end), new_text=text)
        item = types.CompletionItem(label=text, filter_text=text, text_edit=edit, kind=types.CompletionItemKind.Text)
        return types.CompletionList(is_incomplete=True, items=[item])

    return server


def main() -> None:
    """Serve over standard input and output; the editors' configurations start it as `… lsp`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--delay-ms", type=int, default=0)
    parser.add_argument("command", choices=["lsp"])
    arguments = parser.parse_args()
    build_server(arguments.delay_ms).start_io()


if __name__ == "__main__":
    main()
