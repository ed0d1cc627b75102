"""Every command that a message or a page names is one that the command line takes."""

import ast
import io
import re
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from decoding.command_line import _parser
from lsp_server.cli.parser import ENGINE_SIDE, TEAM_ACTIONS, build_parser

REPOSITORY = Path(__file__).parents[2]
# In a sentence a command stands between such marks; in a page between backticks.
IN_SENTENCE = re.compile(r"'tabcast ([a-z][^'\n]*)'")
IN_PAGE = re.compile(r"`tabcast ([a-z][^`\n]*)`")
# What no argument may be is no hint but a part of one: alternatives, dots, options that may be left out.
NO_COMMAND = re.compile(r"[|…\[\]$;>]|\.\.\.")
WORD = "NAME"


def sentences(path: Path) -> Iterator[str]:
    """The texts of a module; what is filled in stands as a word."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else WORD for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def hints() -> list[str]:
    found = set()
    for package in ("decoding", "lsp_server"):
        for path in (REPOSITORY / package).rglob("*.py"):
            found |= {hint for text in sentences(path) for hint in IN_SENTENCE.findall(text)}
    for page in [REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")]:
        found |= set(IN_PAGE.findall(page.read_text(encoding="utf-8")))
    return sorted(hint.replace("{name}", WORD) for hint in found if not NO_COMMAND.search(hint))


@pytest.mark.parametrize("hint", hints())
def test_the_command_line_takes_what_hints_name(hint: str) -> None:
    words = hint.split()
    if words[0] == "engine" and len(words) > 1 and words[1] in TEAM_ACTIONS:
        words = [TEAM_ACTIONS[words[1]][0], *words[2:]]
    parser = (
        _parser(words[0])
        if words[0] in (*ENGINE_SIDE, "uninstall", *(name for name, _ in TEAM_ACTIONS.values()))
        else build_parser()
    )
    told = io.StringIO()
    try:
        with redirect_stderr(told), redirect_stdout(told):
            parser.parse_args(words)
    except SystemExit:
        # A sentence may name a command without its arguments, and never one that isn't there.
        problem = told.getvalue()
        assert not re.search("invalid choice|unrecognized arguments", problem), problem
