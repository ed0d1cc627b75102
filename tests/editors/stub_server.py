"""A language server with a fixed answer, so that the editors' own behaviour can be tested to the character.

It completes a line whose beginning is the beginning of a known text, with ranges as Tabcast chooses them: from the
start of the line when only blanks follow the cursor, else from the cursor, over closers that the text brings along.
(Not from the start, but from behind the last character outside the basic plane: VS Code 1.139 shows no item whose
range reaches back over one.)
It must not know anything of Tabcast's own packages.
"""

import argparse
import asyncio
import itertools
import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from lsprotocol import types
from pygls.lsp.server import LanguageServer
from pygls.workspace import TextDocument

TEXTS: Final = (
    "return alpha + beta",
    "for item in items:\n        total += item\n    return total",
    'print("😀", alpha)',
    "yield alpha  # beta",
)
# The end of a text in whose place another comes a moment later.
SECOND_THOUGHT: Final = "# beta"
# What a request by key gets besides: (from the text above, to this one).
ALTERNATIVES: Final = {"return alpha + beta": ("return alpha - beta", "return alpha * beta")}
# The suggestion for a blank line below one that ends with `# body`.
BODY: Final = "    return alpha + beta"
ARGUMENTS: Final = "alpha, beta)"
MANIFEST: Final = Path(__file__).resolve().parents[2] / "editors" / "vscode" / "package.json"
# What Tabcast tells, with all its fields, when its engine doesn't start.
FAILED: Final = {"state": "failed", "percent": 0, "model": "", "device": "", "message": "no memory", "action": "buy"}
# What it tells of an engine that runs the models which come with Tabcast.
READY: Final = FAILED | {"state": "ready", "model": "the shipped pair", "device": "cpu", "message": "", "action": ""}
RECOMMENDED: Final = {
    "name": "coder-1.5b",
    "title": "Coder-1.5B",
    "kind": "Q4_K_M",
    "source": "pull",
    "draft": "none",
    "download_bytes": 1_117_000_000,
    "folder": "/models",
    "memory_bytes": 1_640_000_000,
    "tokens_per_second": 31.4,
    "prompt_tokens_per_second": 400.0,
    "is_busy": False,
    "reason": "the largest that is quick here",
}
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


def edit_at(document: TextDocument, position: types.Position) -> tuple[str, types.Range, str] | None:
    """The text, the range that it takes, and what the range holds before the position."""
    line = document.lines[position.line].rstrip("\n") if position.line < len(document.lines) else ""
    codec = document.position_codec
    column = codec.position_from_client_units(document.lines or [""], position).character if line else 0
    above = document.lines[position.line - 1] if position.line else ""
    is_body = not line.strip() and above.endswith("# body\n") and len(BODY) > column
    found = (BODY, column, 0) if is_body else complete(line[:column], line[column:])
    if found is None:
        return None
    text, num_before, num_after = found
    span = types.Range(
        start=types.Position(position.line, column - num_before), end=types.Position(position.line, column + num_after)
    )
    return text, codec.range_to_client_units(document.lines, span), line[column - num_before : column]


def answer_pop_up(found: tuple[str, types.Range, str] | None) -> types.CompletionList:
    """The text as an entry that takes the word before the cursor."""
    if found is None:
        return types.CompletionList(is_incomplete=True, items=[])
    text, span, typed = found
    num_blanks = len(typed) - len(typed.lstrip())
    start = types.Position(span.start.line, span.start.character + num_blanks)
    text = text[num_blanks:]
    edit = types.TextEdit(range=types.Range(start=start, end=span.end), new_text=text)
    item = types.CompletionItem(label=text, filter_text=text, text_edit=edit, kind=types.CompletionItemKind.Text)
    return types.CompletionList(is_incomplete=True, items=[item])


async def answer_setup(options: argparse.Namespace, wish: Mapping[str, object]) -> dict[str, object]:
    """What the command that sets up a model answers; writes down what was asked for."""
    with options.setup.open("a") as asked:
        asked.write(json.dumps(wish) + "\n")
    while options.hold and options.hold.exists():  # noqa: ASYNC110  the test is another process
        await asyncio.sleep(0.01)
    answer: dict[str, object] = {"outcome": "recommended", "message": "", "machine": None}
    answer |= {"recommendation": RECOMMENDED, "model": "", "completion": "", "config": ""}
    if options.setup_fails:
        return answer | {"outcome": "failed", "message": "no space is left", "recommendation": None}
    if wish["action"] == "run":
        done = {"outcome": "done", "message": "newline", "config": "/home/config.toml"}
        return answer | done | {"model": wish["model"], "completion": "fibonacci(n - 1)"}
    if wish["action"] == "undo":
        return answer | {"outcome": "undone", "message": "is as it was before", "config": "/home/config.toml"}
    return answer | {"recommendation": RECOMMENDED | {"source": options.setup_source}}


def add_commands(server: LanguageServer, options: argparse.Namespace) -> None:
    """Add what the editors' own commands run."""

    @server.command("tabcast.server.why")
    def why() -> dict[str, object]:
        return {"status": READY if options.setup else FAILED, "requests": [], "report": "nothing was asked yet"}

    @server.command("tabcast.server.snooze")
    def snooze(*minutes: float) -> dict[str, object]:
        return {"minutes": round(minutes[0]) if minutes else 5}

    @server.command("tabcast.server.setup")
    async def setup(wish: dict[str, Any]) -> dict[str, object]:
        return await answer_setup(options, wish)


def second_thoughts() -> Callable[[str, Callable[[], None]], str]:
    """A function that gives a text as it is at first, tells so a moment later, and then gives another."""
    num_asked = itertools.count()

    def think_again(text: str, tell: Callable[[], None]) -> str:
        if not text.endswith(SECOND_THOUGHT):
            return text
        if next(num_asked):
            return text.replace(SECOND_THOUGHT, "# gamma")
        asyncio.get_running_loop().call_later(0.05, tell)  # behind the answer
        return text

    return think_again


def partial_tokens(server: LanguageServer) -> list[str]:
    """Collect the tokens for parts of results, for which pygls' type of this request has no place."""
    tokens: list[str] = []
    structure = server.protocol.structure_message

    def structured(data: dict[str, Any]) -> Any:
        if data.get("method") == types.TEXT_DOCUMENT_INLINE_COMPLETION:
            tokens[:] = filter(None, [data["params"].get("partialResultToken")])
        return structure(data)

    server.protocol.structure_message = structured  # type: ignore[method-assign]
    return tokens


async def sent_in_parts(
    server: LanguageServer, tokens: list[str], items: list[types.InlineCompletionItem], held: Path | None
) -> list[types.InlineCompletionItem]:
    """Send all items but those for who takes no parts: the first at once, the others when `held` is no file."""
    if not tokens:
        return items
    token = tokens.pop()
    server.protocol.notify(types.PROGRESS, types.ProgressParams(token, items[:1]))
    while held is not None and held.exists():  # noqa: ASYNC110, ASYNC240  the test is another process
        await asyncio.sleep(0.01)
    server.protocol.notify(types.PROGRESS, types.ProgressParams(token, items[1:]))
    return []


def build_server(options: argparse.Namespace) -> LanguageServer:
    """A server that answers every request at once, or as soon as `options.hold` is no file.

    A fickle one never gives the same answer twice.
    """
    notebooks = types.NotebookDocumentSyncOptions([types.NotebookDocumentFilterWithNotebook(notebook="*")])
    server = LanguageServer("stub", options.version, notebook_document_sync=notebooks)
    num_asked, think_again, tokens = itertools.count(), second_thoughts(), partial_tokens(server)

    @server.feature(types.INITIALIZED)
    def initialized(_params: types.InitializedParams) -> None:
        is_understood = "tabcastStatus" in str(server.client_capabilities.experimental)
        if options.engine_fails and is_understood:
            server.protocol.notify("tabcast/status", FAILED)
        if options.setup and is_understood:
            server.protocol.notify("tabcast/status", READY)

    @server.feature(types.TEXT_DOCUMENT_INLINE_COMPLETION, types.InlineCompletionOptions())
    async def inline_completion(params: types.InlineCompletionParams) -> types.InlineCompletionList:
        found = edit_at(server.workspace.get_text_document(params.text_document.uri), params.position)
        while options.hold and options.hold.exists():  # noqa: ASYNC110  the test is another process
            await asyncio.sleep(0.01)
        if found is None:
            return types.InlineCompletionList(items=[])
        text, span, _ = found
        if options.fickle and (number := next(num_asked)):
            text = text.replace("beta", f"gamma{number}")
        text = think_again(text, partial(server.protocol.notify, "tabcast/refresh", {"uri": params.text_document.uri}))
        texts = [text]
        if params.context.trigger_kind == types.InlineCompletionTriggerKind.Invoked:
            texts += [
                text.replace(known, other) for known in ALTERNATIVES for other in ALTERNATIVES[known] if known in text
            ]
        items = [types.InlineCompletionItem(insert_text=text, range=span) for text in texts]
        return types.InlineCompletionList(items=await sent_in_parts(server, tokens, items, options.hold_others))

    @server.feature(types.TEXT_DOCUMENT_COMPLETION, types.CompletionOptions(trigger_characters=["."]))
    async def completion(params: types.CompletionParams) -> types.CompletionList:
        return answer_pop_up(edit_at(server.workspace.get_text_document(params.text_document.uri), params.position))

    add_commands(server, options)
    return server


def main() -> None:
    """Serve over standard input and output; the editors' configurations start it as `… lsp`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hold", type=Path)
    parser.add_argument("--hold-others", type=Path, help="all texts but the first wait until this is no file")
    parser.add_argument("--fickle", action="store_true")
    parser.add_argument("--version", default=json.loads(MANIFEST.read_text())["version"])
    parser.add_argument("--engine-fails", action="store_true")
    parser.add_argument("--setup", type=Path, help="show the shipped pair, and keep what setups are asked for here")
    parser.add_argument("--setup-source", default="pull")
    parser.add_argument("--setup-fails", action="store_true")
    parser.add_argument("command", choices=["lsp"])
    parser.add_argument("--device")
    parser.add_argument("--draft")
    build_server(parser.parse_args()).start_io()


if __name__ == "__main__":
    main()
