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
ARGUMENTS: Final = "alpha, beta)"
ASTRAL_HEAD: Final = re.compile("(?:.*[\U00010000-\U0010ffff])?")


def complete(head: str, tail: str) -> tuple[str, int, int] | None:
    """The text for a line cut at the cursor, and how far its range reaches back and forward, in characters."""
    typed = head.lstrip()
    if not tail.strip():
        for text in TEXTS:
            if typed and text.startswith(typed) and text != typed:
                kept = len(ASTRAL_HEAD.findall(head)[0])
                return (head[: len(head) - len(typed)] + text)[kept:], len(head) - kept, 0
    elif head.endswith("(") and tail.startswith(")"):
        return ARGUMENTS, 0, 1
    return None


def build_server(delay_ms: int) -> LanguageServer:
    """A server that answers every request after the same time."""
    server = LanguageServer("stub", "1")

    @server.feature(types.TEXT_DOCUMENT_INLINE_COMPLETION, types.InlineCompletionOptions())
    async def inline_completion(params: types.InlineCompletionParams) -> types.InlineCompletionList:
        document = server.workspace.get_text_document(params.text_document.uri)
        line = document.lines[params.position.line].rstrip("\n") if params.position.line < len(document.lines) else ""
        codec = document.position_codec
        column = codec.position_from_client_units(document.lines or [""], params.position).character if line else 0
        found = complete(line[:column], line[column:])
        await asyncio.sleep(delay_ms / 1000)
        if found is None:
            return types.InlineCompletionList(items=[])
        text, num_before, num_after = found
        span = types.Range(
            start=types.Position(params.position.line, column - num_before),
            end=types.Position(params.position.line, column + num_after),
        )
        span = codec.range_to_client_units(document.lines, span)
        return types.InlineCompletionList(items=[types.InlineCompletionItem(insert_text=text, range=span)])

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
