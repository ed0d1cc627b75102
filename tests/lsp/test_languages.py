"""What the table of languages says, seen through the rules that read it; `|` is the cursor."""

from __future__ import annotations

from pathlib import PurePath

import pytest

from lsp_server.completion.trigger import decide
from lsp_server.filters import Surroundings, filter_text
from lsp_server.filters.brackets import bracket_checker
from lsp_server.filters.rewriting import rewrite
from lsp_server.languages.file_names import language_of
from lsp_server.languages.syntax import inside, opens_block, without_comment
from lsp_server.languages.table import LANGUAGES, is_known, language_named
from tests.lsp.places import place_at

# A header without its body, for each way to begin one.
HEADERS = [
    ("shellscript", "for f in *; do|\n"),
    ("shellscript", "if [ -f a ]; then|\n"),
    ("shellscript", "deploy() {|\n"),
    ("ruby", "def a(w)|\n"),
    ("lua", "local function f()|\n"),
    ("lua", "if a then|\n"),
    ("yaml", "services:|\n"),
    ("html", "<ul>|\n"),
    ("html", '<div class="a">|\n'),
    ("vue", "<template>|\n"),
    ("elixir", "def f(x) do|\n"),
    ("makefile", "clean:|\n"),
    ("rust", "fn name(x: &'static str) -> usize {|\n"),
    ("rust", "    Some(x) =>|\n"),
    ("go", "func main() {|\n"),
    ("julia", "function f(x)|\n"),
    ("haskell", "main = do|\n"),
    ("ocaml", "let f x =|\n"),
    ("sql", "create function f() returns int as|\n"),
    ("pascal", "begin|\n"),
    ("vb", "If a Then|\n"),
    ("fortran", "do i = 1, 10|\n"),
    ("matlab", "for i = 1:10|\n"),
    ("perl", "sub f {|\n"),
    ("r", "f <- function(x) {|\n"),
    ("php", "function f($a) {|\n"),
    ("powershell", "function Get-It {|\n"),
    ("erlang", "f(X) ->|\n"),
    ("swift", "items.map { x in|\n"),
    ("kotlin", "items.map { x ->|\n"),
    ("cmake", "foreach(a IN LISTS b)|\n"),
    ("latex", "\\begin{itemize}|\n"),
    ("vim", "function! s:go()|\n"),
    ("verilog", "always @(posedge clk) begin|\n"),
    ("gdscript", "func _ready():|\n"),
    ("nim", "proc f(x: int) =|\n"),
    ("javascript", "function area(w, h) {|}"),
    ("javascript", "items.forEach((x) => {|});"),
    ("css", "a {|}"),
    ("java", "class A {|}"),
]

NO_HEADERS = [
    ("shellscript", 'echo "done"|\n'),
    ("ruby", "def a = 1; end|\n"),
    ("ruby", "x = 1|\n"),
    ("html", "<br>|\n"),
    ("html", "<img src='a'/>|\n"),
    ("html", "</ul>|\n"),
    ("html", "<p>text</p>|\n"),
    ("lua", "local x = f()|\n"),
    ("go", "x := 1|\n"),
    ("javascript", "const {|} = a;"),
    ("javascript", "const s = `${|}`;"),
    ("yaml", "a: 1|\n"),
    ("python", "x = {|}"),
]


@pytest.mark.parametrize(("language", "text"), HEADERS)
def test_a_body_is_asked_for_behind_a_header(language: str, text: str) -> None:
    assert decide(place_at(text), is_invoked=False, language=language).mode == "block"


@pytest.mark.parametrize(("language", "text"), NO_HEADERS)
def test_a_line_is_asked_for_elsewhere(language: str, text: str) -> None:
    assert decide(place_at(text), is_invoked=False, language=language).mode == "line"


OPEN = [
    ("sql", "-- (not open\n|", "", ""),
    ("lua", "-- it's (\nf(|", "(", ""),
    ("lua", "s = [[ ( |", "", "[["),
    ("haskell", "foldl' f (|", "(", ""),
    ("haskell", "{- it's ( |", "", "{-"),
    ("ini", "; a (\n[x]\na = don't (\n|", "", ""),
    ("markdown", "Dear (all, it's\n```js\nf(|", "", ""),
    ("plaintext", "a :( and [0,1)\n|", "", ""),
    ("latex", "$[0,1)$ it's\n|", "", ""),
    ("html", "<p>it's (here\n|", "", ""),
    ("html", "<!-- it's\n|", "", "<!--"),
    ("rust", "fn f<'a>(x: &'a str) {\n|", "{", ""),
    ("rust", "let c = '\\''; g(|", "(", ""),
    ("rust", 'let s = r#"a " ( |', "", 'r#"'),
    ("go", "s := `a\\`\nf(|", "(", ""),
    ("javascript", "const s = `a ${f(`b`)} (`;\ng(|", "(", ""),
    ("javascript", "const s = `a ${|", "{", "`"),
    ("javascript", "const s = `a ${b} ( |", "", "`"),
    ("javascript", "x = s.replace(/['\"(]/g, '');\nf(|", "(", ""),
    ("typescript", "a / b; c = '(' / 2; f(|", "(", ""),
    ("shellscript", "echo it\\'s ${#a} $#\nf() {\n|", "{", ""),
    ("shellscript", "cat <<EOF\nit's (\nEOF\nf() {\n|", "{", ""),
    ("shellscript", "cat <<-EOF\nit's (\n|", "", "<<"),
    ("ruby", 'x = "a #{b("c")} ("\nf(|', "(", ""),
    ("ruby", "x = <<~EOS\n  it's (\nEOS\nf(|", "(", ""),
    ("clojure", "(defn f [x]\n  ; it's (\n  (|", "((", ""),
    ("perl", "if ($x) { # it's\n|", "{", ""),
    ("php", "$s = <<<EOT\nit's (\nEOT;\nf(|", "(", ""),
    ("sql", "select 'it''s (' from (|", "(", ""),
    ("csharp", 'var s = @"a\\"; f(|', "(", ""),
    ("cpp", 'auto s = R"(a " ()"; char c = \'"\'; f(|', "(", ""),
    ("elm", "{- ( -} f (|", "(", ""),
    ("vb", "' it (\nf(|", "(", ""),
    ("erlang", "% it's (\nf(|", "(", ""),
    ("matlab", "x = a' * b'; % (\nf(|", "(", ""),
    ("made-up", "x = 'a' # it's (\nf(|", "(", ""),
]


@pytest.mark.parametrize(("language", "text", "brackets", "mark"), OPEN)
def test_what_is_open_follows_the_language(language: str, text: str, brackets: str, mark: str) -> None:
    found = inside(tuple(text.partition("|")[0].split("\n")), language)
    assert (found.brackets, found.text) == (brackets, mark)


def test_a_comment_at_a_line_s_end_is_no_code() -> None:
    assert without_comment("if x: # why", "python") == "if x: "
    assert without_comment("s = '#'", "python") == "s = '#'"
    assert opens_block("if (x) { // why", "javascript")
    assert not opens_block("x = 1 # {", "ruby")


BODIES = [
    ("ruby", "def a(w)|\n", "\n  return w\nend\n\ndef b", "\n  return w\nend"),
    ("ruby", "def a(w)|\nend\n", "\n  return w\nend\n", "\n  return w"),
    ("lua", "local function f()|\n", "\n  return 1\nend\n\nf()", "\n  return 1\nend"),
    ("shellscript", "for f in *; do|\n", '\n  echo "$f"\ndone\necho', '\n  echo "$f"\ndone'),
    ("html", "<ul>|\n", "\n  <li>a</li>\n</ul>\n<p>", "\n  <li>a</li>\n</ul>"),
    ("go", "func f() int {\n|\n}", "\treturn 1\n}\n\nfunc g", "\treturn 1"),
    ("go", "func f() int {\n|\n}", "func main() {\n\tf()\n}", ""),
    ("go", "func f() int {\n|\n", "\treturn 1\n}\n\nfunc g", "\treturn 1\n}"),
    ("javascript", "function f(a) {|}", "\n  return a;\n", "\n  return a;\n"),
    ("javascript", "  f(a) {|}", "\n    return a;\n  ", "\n    return a;\n  "),
    ("javascript", "  f(a) {|}", "\n    return a;", ""),
    ("css", "a {|}", " color: red; ", " color: red;"),
    ("typescript", "const a = f(|\n", "\n  1,\n  2,\n);\nconst b", "\n  1,\n  2,\n);"),
    ("typescript", "const a = |\n", "f(\n  1,\n  2,\n);\nconst b", "f(\n  1,\n  2,\n);"),
    ("typescript", "if |\n", "(a) {\n  b();\n}\n", "(a) {"),
    ("python", "x = |\n", "foo(\n    1,\n)\ny = 2", "foo(\n    1,\n)"),
    ("python", "return |\n", "x\n", "x"),
    # Labels may stand at their header's indentation.
    ("go", "switch a {\n|\n}\n", "case 1:\n\tb()\ncase 2:\n\tc()\n}\n", "case 1:\n\tb()\ncase 2:\n\tc()"),
    ("go", "switch a {\n|\nd()\n", "case 1:\n\tb()\n}\nd()", "case 1:\n\tb()\n}"),
    (
        "c",
        "  switch (a) {\n  |\n  }\n",
        "case 1:\n    b();\n  default:\n    c();\n  }\n}",
        "case 1:\n    b();\n  default:\n    c();",
    ),
    ("cpp", "class A {\n|\n};\n", "public:\n  void f();\n};\n", "public:\n  void f();"),
    ("ruby", "case a\n|\nend\n", "when 1 then b\nwhen 2 then c\nend\nd", "when 1 then b\nwhen 2 then c"),
    ("shellscript", "case $a in\n|\nesac\n", "b)\n  c\n  ;;\nesac\n", "b)\n  c\n  ;;"),
    (
        "python",
        "match a:\n    |\n",
        "case 1:\n        b\n    case 2:\n        c\nd",
        "case 1:\n        b\n    case 2:\n        c",
    ),
    ("python", "match a:\n    case 1:\n        b\n    |\n", "case 2:\n        c\nd", "case 2:\n        c"),
    ("go", "if a {\n|\n}\n", "b()\n}\n", ""),
    # The body of a header that waits for one is deeper, whatever the model writes.
    ("python", "for a in b:\n    if a:\n|\n    else:\n        d()\n", "    c(a)\n\ne()\n", "        c(a)"),
    ("python", "for a in b:\n    |\n", "c(a)\n    d(a)\n", "c(a)\n    d(a)"),
    ("python", "def f(b):\n    for a in b:\n    |\n", "if a:\n        c(a)\n    d(a)\n", "    if a:\n            c(a)"),
    ("python", "if a:\n    b()\n|\nc()\n", "else:\n    d()\nc()\n", "else:\n    d()"),
    ("python", "for a in b:\n\tif a:\n|\n", "\tc(a)\n", "\t\tc(a)"),
    ("rust", "impl A {\n    |\n}", "fn a() {\n        1\n    }\n\n    fn b() {", "fn a() {\n        1\n    }"),
]


@pytest.mark.parametrize(("language", "text", "written", "expected"), BODIES)
def test_a_body_ends_with_its_end(language: str, text: str, written: str, expected: str) -> None:
    place = place_at(text)
    mode = decide(place, is_invoked=True, language=language).mode
    assert mode is not None
    around = Surroundings(place=place, mode=mode, language=language)
    assert filter_text(rewrite(written, place, language), around).text == expected


INDENTED = [
    # A line that has its level already gets no more blanks.
    ("function add(a, b) {\n  |\n}", "  return a + b;", "return a + b;"),
    ("int sum(int a) {\n  |\n}", "  int s = a;\n  return s;", "int s = a;\n  return s;"),
    ("function f() {\n  a();\n  |\n}", "  b();", "b();"),
    ("function f() {\n|\n}", "  b();", "  b();"),
    ("class A {\n    f() {\n    |\n    }\n}", "    b();", "    b();"),
    # Two blanks stay two, whatever the model writes, and unknown steps stay the model's.
    ("function f(x) {\n  |\n}", "if (x) {\n    g();\n  }\n  return x;", "if (x) {\n    g();\n  }\n  return x;"),
    ("function f(x) {\n  |\n}\n", "if (x) {\n      g();\n  }", "if (x) {\n    g();\n  }"),
    ("|", "if (x) {\n  g();\n}", "if (x) {\n  g();\n}"),
    ("def a(w)\n  |\nend", "if w\n    b\n  end", "if w\n    b\n  end"),
]


@pytest.mark.parametrize(("text", "written", "expected"), INDENTED)
def test_indentation_follows_the_lines_around(text: str, written: str, expected: str) -> None:
    assert rewrite(written, place_at(text), "ruby" if "def" in text else "javascript") == expected


def test_every_language_has_expressions_that_compile() -> None:
    assert len(LANGUAGES) >= 40
    for name, language in LANGUAGES.items():
        assert language.tokens.search("") is None, name
        inside(("a = (", "  b"), name)
        assert set(language.statements_in) <= set(language.brackets), name


@pytest.mark.parametrize("name", ["sh", "typescriptreact", "Python", "gitcommit", "objcpp", "tex"])
def test_names_that_other_editors_send(name: str) -> None:
    assert is_known(name)
    assert not is_known("made-up")


@pytest.mark.parametrize("language", [name for name in sorted(LANGUAGES) if language_named(name).brackets])
def test_a_string_or_bracket_is_never_left_open_in_front_of_code(language: str) -> None:
    opener = next((form.opener for form in language_named(language).strings if not form.is_char), None)
    stands = bracket_checker(place_at("x(|)"), language)
    assert stands is not None
    assert stands("a")
    assert not stands("a(")
    assert opener is None or not stands(f"{opener}a")


@pytest.mark.parametrize(
    ("path", "language"),
    [
        ("a.PY", "python"),
        ("Makefile", "makefile"),
        ("x/CMakeLists.txt", "cmake"),
        ("a.tsx", "typescriptreact"),
        ("a", ""),
    ],
)
def test_a_file_s_name_tells_its_language(path: str, language: str) -> None:
    assert language_of(PurePath(path)) == language
    assert not language or is_known(language)
