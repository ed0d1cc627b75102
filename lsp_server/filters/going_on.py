"""Guesses how unfinished code at a cursor may go on: what a line may wait for, so that a parser can read the rest.

It must not know grammars, nor judge.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

from lsp_server.languages.language import Language
from lsp_server.languages.syntax import opens_block, unclosed
from lsp_server.languages.table import language_named

# chosen: so many ways are tried, which takes some 4 ms where none is right.
MAX_TRIES: Final = 24
_CLOSER_OF: Final = {"(": ")", "[": "]", "{": "}"}
# In all forms `{}` stands for what closes the line's brackets, and `z` for a name.
_BRACES: Final = (
    *(
        "{}",
        "{};",
        "z{}",
        "z{};",
        "{} {{",
        "z{} {{",
        "() => {{",
        "z() {{}}",
        " z{};",
        " z z() {{}}",
        "z{},",
        "z{} {{}}",
    ),
    *("{} {{}}", " = z{};", "() {{", "(){}", " z z;", ": z{};", " z{} {{}}", "{},", "z() {{", "() {{}}", "{} => {{}}"),
    *(" z {{", "func() {{", "z{}:", "; z; z{} {{}}", "; z{} {{}}", " in z {{}}", ": z{},", " {{ z }}", "|| {{"),
)
_WORDS: Final = (
    *("{}", "z{}", " z{}", "{}\nend", "z{}\nend", " z{}\nend", " do\nend", "; then\n:\nfi", "{}; then\n:\nfi"),
    *(" z ]; then\n:\nfi", " ]; then\n:\nfi", " ]]; then\n:\nfi", "; do\n:\ndone", " in z; do\n:\ndone", "\n:\nfi"),
    *("\n:\ndone", "() {{\n:\n}}", "{} {{\n:\n}}", "\nesac", " in\nesac", " = z{}", "z = z{}", "{},", "z{},", "{} }}"),
)
_DATA: Final = (*("{}", "1{}", "1,", ": 1{}", ": 1,", '"z": 1{}', '"z": 1,', "{},", ",", " z;", "z: z;", ": z;"),)
# What may stand in front of code on the cursor's line: a value, an argument, an operator, a name, an entry.
STAND_INS: Final = (
    *("z", "z, ", ", z", " z ", "z: z", " + ", "z.", "z z", " z, ", "z;", "1", '"z": 1, ', ', "z": 1', "1, "),
)
_WORD_ENDS: Final = ("\nend", "\nfi", "\ndone", "\nesac")


def closing(openers: str) -> str:
    """Return what closes some open brackets, the innermost first."""
    return "".join(_CLOSER_OF[opener] for opener in reversed(openers))


def continuations(line: str, language: str) -> Iterator[str]:
    """Yield the ways in which an unfinished line may go on, its string ended first; none within a comment."""
    known, found = language_named(language), unclosed(line, language)
    if not found.text or found.text in known.string_of:
        end_of_string = known.string_of[found.text][0].end if found.text else ""
        forms, ends = _forms(known), (closing(found.openers), "")
        ways = dict.fromkeys(end_of_string + form.format(end) for end in ends for form in forms)
        yield from islice(ways, MAX_TRIES)


def body_ends(text: str, language: str) -> Iterator[str]:
    """Yield what may end the body that a text begins with its last line; nothing if it begins none."""
    last = text.rstrip().rpartition("\n")[2]
    if opens_block(last, language):
        braces = closing(unclosed(last, language).openers)
        yield from ("\n" + braces,) if braces else ()
        yield from _WORD_ENDS if language_named(language).body == "words" else ()


def num_open_words(code: str, language: Language) -> int:
    """Return how many blocks that end with a word are begun in some code, less those that are ended."""
    lines = code.split("\n")
    begun = sum(bool(language.header_end.search(line)) and not language.goes_on.match(line) for line in lines)
    return begun - sum(bool(language.block_end.match(line)) for line in lines)


def _forms(language: Language) -> tuple[str, ...]:
    if language.body == "words":
        return _WORDS
    is_data = "[" in language.statements_in or not language.line_comments
    return _DATA if is_data else _BRACES
