"""Suggestions judged by grammars: what is right is never dropped, what breaks the code rarely shown."""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path, PurePath

import pytest

import decoding.bench
from lsp_server.documents.store import Cursor, Place, Snapshot, split_lines
from lsp_server.filters import Surroundings
from lsp_server.filters.brackets import left_of
from lsp_server.filters.broken import cut_broken
from lsp_server.filters.end import cut_at_end
from lsp_server.filters.region import cut_region
from lsp_server.languages import grammars
from lsp_server.languages.file_names import language_of
from lsp_server.languages.syntax import unclosed
from lsp_server.languages.table import language_named
from tests.lsp.places import place_at

FOLDER = Path(decoding.bench.__file__).parent / "samples"
SAMPLES = sorted(path for path in FOLDER.iterdir() if grammars.grammar_name(language_of(path)))
needs_grammars = pytest.mark.skipif(not grammars.has_grammar("go"), reason="the grammars aren't installed")


def judged(text: str, place: Place, language: str) -> str:
    return cut_broken(text, Surroundings(place=place, mode="block", language=language))


CASES = [
    # Words that brackets don't tell.
    ("javascript", "function f(a) {\n  |\n}\n", "return return a;", "return"),
    ("javascript", "function f(a) {\n  |\n}\n", "const b = a;", "const b = a;"),
    ("javascript", "const a = |;\n", "b c", "b"),
    ("javascript", "foo(|);\n", "a, b", "a, b"),
    ("typescript", "class A {\n  |\n}\n", "b(): void {\n    c()\n  }", "b(): void {\n    c()\n  }"),
    ("go", "func f() int {\n\t|\n}\n", "return 1 2", "return 1"),
    ("go", "func f() {\n\t|\n\tg()\n}\n", "if a {", "if a {"),
    ("rust", "fn f() -> i32 {\n    |\n}\n", "let let a = 1;", ""),
    ("java", "class A {\n    int f() {\n        |\n    }\n}\n", "return 1;", "return 1;"),
    ("java", "class A {\n    int f() {\n        |\n    }\n}\n", "return return 1;", ""),
    ("c", "int f(void) {\n    |\n}\n", "int a = ;", ""),
    ("csharp", "class A\n{\n    void F()\n    {\n        |\n    }\n}\n", "var a = 1;", "var a = 1;"),
    ("php", "<?php\n\nfunction f($a)\n{\n    |\n}\n", "return return $a;", ""),
    ("ruby", "def f(a)\n  |\nend\n", "a.each do |b|\n    g(b)\n  end", "a.each do |b|\n    g(b)\n  end"),
    (
        "shellscript",
        "f() {\n    |\n}\n",
        'if [ "$1" ]; then\n        g\n    fi',
        'if [ "$1" ]; then\n        g\n    fi',
    ),
    ("shellscript", "f() {\n    |\n}\n", 'if [ "$1" ]; then\n        g\n    done', ""),
    ("css", "a {\n  |\n}\n", "color: red;", "color: red;"),
    ("json", '{\n  "a": |\n}\n', "[1, 2]", "[1, 2]"),
    # A comma leads to the next item, also where the judge reads too few lines to see it.
    ("json", '{|\n  "a": {\n    "b": 1,\n    "c": 2\n  },\n  "d": 1\n}\n', '\n  "e": 1,', '\n  "e": 1,'),
    ("json", '{\n  "a": [\n    1,\n    |\n  ]\n}\n', "2,", "2"),
    ("sql", "SELECT\n  a,\n  |\n  c\nFROM t;\n", "b,", "b,"),
    ("java", "class A {\n    int f() {\n        |\n        g();\n    }\n}\n", "h(),", ""),
    ("javascript", "describe('a', |\n  b();\n});\n", "function () {", "function () {"),
    ("go", "f(a, |\n\tb()\n})\n", "func() {", "func() {"),
    # A file that is being written, with nothing below that ends what is open.
    ("javascript", "describe('a', () => {\n  it('b', () => {\n    |", "expect(c).toBe(1);", "expect(c).toBe(1);"),
    ("javascript", "describe('a', () => {\n  it('b', () => {\n    c();\n  |", "});", "});"),
    ("ruby", "class A\n  def b\n    |", "c = 1", "c = 1"),
    ("ruby", "class A\n  def b\n    c\n  |", "end", "end"),
    # A brace within a line is no header that a body follows.
    ("go", "func f() *C {\n\treturn &|\n}\n", "C{items: make(map[string]item}", "C"),
    ("javascript", "class A {\n  f(a) {\n    this.|\n  }\n}\n", "b.push({ a, c );", "b.push"),
    # What is ended below is not ended twice.
    ("typescript", "function f() {\n  const a|\n  g();\n}\n", " = { b, c }}", " = { b, c }"),
    ("json", '{\n  "a": { |\n}\n', '"b": 1 }}', '"b": 1 }'),
    ("javascript", "function f() {\n  try {\n    a();\n  |\n    b();\n  }\n}\n", "}} finally {", ""),
    ("java", "class A {\n    void f() {\n        g(h.|;\n    }\n}\n", "i).j('\\')", "i).j"),
    # What is written into a string, and into code within one.
    ("shellscript", 'cp "$f" "|"\n', '$t/$(basename "$f").bak', '$t/$(basename "$f").bak'),
    ("shellscript", 'cp "$f" "|"\n', '$t/$(basename "$f".bak', "$t/$"),
    ("typescript", "const a = `${b.|} of ${c}`;\n", "d(e)", "d(e)"),
    ("typescript", "const a = `${b.|} of ${c}`;\n", "d(e", "d"),
    ("java", 'class A {\n    String b = "|";\n}\n', "Don't (yet", "Don't (yet"),
    ("java", 'class A {\n    String b = "|";\n}\n', 'c" + "d', 'c" + "d'),
    # A string that the text itself ends.
    ("json", '{\n  "a": 1,\n  "|\n}\n', 'b": { "c": 2 }}', 'b": { "c": 2 }'),
    ("java", 'class A {\n    void f() {\n        g("|\n    }\n}\n', 'a" + b);', 'a" + b);'),
    ("java", 'class A {\n    void f() {\n        g("|\n    }\n}\n', 'a" + b;', "a"),
    ("java", 'class A {\n    void f() {\n        if (a("|\n    }\n}\n', 'b")) {', 'b")) {'),
    ("ruby", 'def f\n  puts "|\nend\n', '#{a}: #{b}"', '#{a}: #{b}"'),
    ("ruby", 'def f\n  puts "|\nend\n', '#{a}: #{b"', "#{a}: #"),
    # A comment or a text that ends below.
    ("javascript", "a();\n/|\n * B.\n */\nc();\n", "**", "**"),
    ("javascript", "a();\n|\nb();\n/* c */\n", "/* d", ""),
    ("shellscript", "|\na\nEOF\nb\n", "cat <<EOF", "cat <<EOF"),
]


@needs_grammars
@pytest.mark.parametrize(("language", "text", "written", "expected"), CASES)
def test_what_is_left_of_a_text(language: str, text: str, written: str, expected: str) -> None:
    before, after = text.split("|", 1)
    lines = tuple(split_lines(before + after))
    cursor = Cursor(before.count("\n"), len(before.rpartition("\n")[2]))
    snapshot = Snapshot(uri="", version=1, revision=1, language=language, lines=lines, encoding="utf-8")
    assert judged(written, snapshot.place(cursor), language) == expected


def holes(path: Path) -> Iterator[tuple[str, str, str, Place]]:
    """Yield what stands before a cursor, what is missing there, what stands behind it, and the place."""
    code, language = path.read_text(), language_of(PurePath(path))
    lines = code.split("\n")
    start = 0
    for line in lines:
        width = len(line) - len(line.lstrip())
        for column in sorted(
            {width, *(found.end() for found in re.finditer(r"\w+\s?|[^\w\s]\s?", line))} - {len(line)}
        ):
            if not line.strip() or column < width:
                continue
            before, rest = code[: start + column], code[start + column :]
            mode = "block" if column == width else "line"
            empty = place_of(before, "", language)
            text = cut_at_end(rest, Surroundings(place=empty, mode=mode, language=language))  # type: ignore[arg-type]
            found = unclosed(text, language)
            ends_open = found.text or (found.openers and not (text.endswith("{") and set(found.openers) == {"{"}))
            if text.strip() and not ends_open and len(text) < len(rest.rstrip()):
                after = rest[len(text) :]
                yield before, text, after, place_of(before, after, language)
        start += len(line) + 1


def place_of(before: str, after: str, language: str) -> Place:
    lines = tuple(split_lines(before + after))
    snapshot = Snapshot(uri="", version=1, revision=1, language=language, lines=lines, encoding="utf-8")
    return snapshot.place(Cursor(before.count("\n"), len(before.rpartition("\n")[2])))


@needs_grammars
def test_the_samples_are_without_errors() -> None:
    for path in SAMPLES:
        assert grammars.is_without_errors(path.read_text().removeprefix("<?php"), language_of(path)), path.name


def test_what_really_stood_there_is_never_dropped() -> None:
    """In thirteen languages, with grammars and without, wherever a cursor may stand."""
    num, dropped = 0, []
    for path in SAMPLES:
        for before, text, _, place in holes(path):
            num += 1
            if judged(text, place, language_of(path)) != text:
                dropped.append((path.name, before[-40:], text))
    assert num > 1_000
    assert len(dropped) < num / 200, dropped


def broken_forms(text: str, random_: random.Random) -> Iterator[str]:
    """Yield a text without a closer, an opener, a word or a quote, and with one too many."""
    for pattern in (r"[)\]}]", r"[(\[{]", r"\w+", r"[\"'`]"):
        if places := [*re.finditer(pattern, text)]:
            found = random_.choice(places)
            yield text[: found.start()] + text[found.end() :]
            yield f"{text[: found.end()]} {text[found.start() :]}"


@needs_grammars
def test_few_texts_that_break_the_code_are_shown() -> None:
    num, shown = 0, []
    for path in SAMPLES:
        language, random_ = language_of(path), random.Random(1)
        for before, text, after, place in islice(holes(path), 0, None, 6):
            for form in broken_forms(text, random_):
                whole = (before + form + left_of(place, form) + after[len(place.tail) :]).removeprefix("<?php")
                around = (before + after).removeprefix("<?php")
                if not form.strip() or grammars.is_without_errors(whole, language) is not False:
                    continue
                if not grammars.is_without_errors(around, language):
                    continue  # what may be shown in code that is broken already isn't told by this
                num += 1
                left = judged(form, place, language)
                code = (before + left + left_of(place, left) + after[len(place.tail) :]).removeprefix("<?php")
                if left and not grammars.is_without_errors(code, language):
                    shown.append((path.name, before[-40:], left))
    assert num > 250
    assert len(shown) < num / 6, (num, len(shown), shown)


def test_without_grammars_brackets_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grammars, "GRAMMARS", {"go": ("no_such_grammar", "language")})
    grammars._parser.cache_clear()
    assert not grammars.has_grammar("go")
    assert grammars.is_without_errors("a(", "go") is None
    assert judged("f(a", place_at("func g() {\n\t|\n}"), "go") == "f"
    assert judged("f(a)", place_at("func g() {\n\t|\n}"), "go") == "f(a)"
    grammars._parser.cache_clear()


@needs_grammars
@pytest.mark.parametrize(
    "code", ["const a = {b: [1, {c: (d) => { return '" * 2_000, "(" * 50_000, "\0" * 5_000, "\ud800"]
)
def test_a_parse_of_rubbish_ends(code: str) -> None:
    assert grammars.is_without_errors(code, "typescript") in (False, None)


@needs_grammars
def test_a_parser_serves_again_after_an_error() -> None:
    assert grammars.is_without_errors("let a = (;", "javascript") is False
    assert grammars.is_without_errors("let a = 1;", "javascript") is True


def test_a_region_holds_headers_and_ends_of_what_stands_around_but_no_bodies() -> None:
    before = "class A {\n  f() {\n    x();\n  }\n  g() {\n" + "    y();\n" * 200 + "    if (b) {\n      |"
    after = "\n    }\n" + "    z();\n" * 30 + "  }\n  h() {\n    w();\n  }\n}\nk();\n"
    head, tail = before.split("|")
    region = cut_region(place_of(head + tail, after, "javascript"), language_named("javascript"), 2)
    assert region.before == "class A {\n  g() {\n    y();\n    if (b) {\n      "
    assert region.after == "\n    }\n    z();\n  }\n}"


def test_every_grammar_is_installed_with_the_program() -> None:
    project = tomllib.loads((Path(decoding.__file__).parent.parent / "pyproject.toml").read_text())["project"]
    named = {re.split(r"[>=]", requirement)[0] for requirement in project["dependencies"]}
    assert {module.replace("_", "-") for module, _ in grammars.GRAMMARS.values()} | {"tree-sitter"} <= named
