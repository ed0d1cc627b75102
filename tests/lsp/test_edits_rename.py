# ruff: noqa: E501
"""What is due after a change: each case is a text, the user's changes, and the text behind what is offered.

In the texts of what follows, all offers are accepted until none is left.
"""

from __future__ import annotations

import pytest

from tests.lsp.test_edits import Editor

PYTHON = {
    "a function, but no string, comment, member, keyword or shadow": (
        "def load(a):\n    return a\n\nx.load(load=1)\n'load'  # load\nprint(load(1))\n\ndef g(load):\n    return load\n",
        "def load",
        "def fetch",
        "def fetch(a):\n    return a\n\nx.load(load=1)\n'load'  # load\nprint(fetch(1))\n\ndef g(load):\n    return load\n",
    ),
    "a parameter and its keyword": (
        "def f(path, b=1):\n    return f'{path} {b}', [path for b in path]\n\n\nf(path=path)\ng(path=1)\n",
        "f(path,",
        "f(name,",
        "def f(name, b=1):\n    return f'{name} {b}', [name for b in name]\n\n\nf(name=path)\ng(path=1)\n",
    ),
    "a method through self": (
        "class A:\n    def go(self):\n        self.go()\n        other.go()\n\nclass B:\n    def go(self):\n        self.go()\n",
        "def go",
        "def run",
        "class A:\n    def run(self):\n        self.run()\n        other.go()\n\nclass B:\n    def go(self):\n        self.go()\n",
    ),
    "a field that is set once": (
        "class A:\n    def __init__(self):\n        self.n = 1\n\n    def f(self, n):\n        return self.n + n\n",
        "self.n = 1",
        "self.size = 1",
        "class A:\n    def __init__(self):\n        self.size = 1\n\n    def f(self, n):\n        return self.size + n\n",
    ),
    "an import": (
        "from os import path\n\nprint(path.join('a'), x.path)\n",
        "import path",
        "import sep",
        "from os import sep\n\nprint(sep.join('a'), x.path)\n",
    ),
    "a variable of a loop, up to where it is bound anew": (
        "for i in x:\n    print(i)\nfor i in y:\n    print(i)\n",
        "for i in x",
        "for k in x",
        "for k in x:\n    print(k)\nfor i in y:\n    print(i)\n",
    ),
}
SCRIPT = {
    "a constant, with a shorthand property, a key and a shadow": (
        'const text = read();\nuse({ text, a: text }, { text: 1 }, b.text);\nmap(text => text);\nuse(`${text} text`, "text");\n',
        "const text",
        "const body",
        'const body = read();\nuse({ text: body, a: body }, { text: 1 }, b.text);\nmap(text => text);\nuse(`${body} text`, "text");\n',
    ),
    "a parameter": (
        "function f(a: number, b = a): T {\n  return { a, b: a };\n}\nf(a);\n",
        "f(a:",
        "f(size:",
        "function f(size: number, b = size): T {\n  return { a: size, b: size };\n}\nf(a);\n",
    ),
    "a method": (
        "class A {\n  go(): void {\n    this.go();\n    other.go();\n  }\n}\n",
        "  go()",
        "  run()",
        "class A {\n  run(): void {\n    this.run();\n    other.go();\n  }\n}\n",
    ),
    "a constant in its block only": (
        "if (x) {\n  const n = 1;\n  use(n);\n}\nuse(n);\n",
        "const n",
        "const size",
        "if (x) {\n  const size = 1;\n  use(size);\n}\nuse(n);\n",
    ),
}
GO = {
    "a variable, but not the one of an inner block": (
        "func f() int {\n\tn := 1\n\tif n := 2; n > 1 {\n\t\tuse(n)\n\t}\n\treturn n + T{n: 1}.n\n}\n",
        "\tn := 1",
        "\tsize := 1",
        "func f() int {\n\tsize := 1\n\tif n := 2; n > 1 {\n\t\tuse(n)\n\t}\n\treturn size + T{n: 1}.n\n}\n",
    ),
    "a method through the receiver": (
        "func (s *S) get() int { return s.get() }\nfunc (t *T) f() { t.get() }\nfunc (s *S) g() { s.get(); t.get() }\n",
        ") get() int",
        ") load() int",
        "func (s *S) load() int { return s.load() }\nfunc (t *T) f() { t.get() }\nfunc (s *S) g() { s.load(); t.get() }\n",
    ),
    "a parameter": (
        "func f(name string, n int) string {\n\treturn name + x.name\n}\n",
        "f(name",
        "f(path",
        "func f(path string, n int) string {\n\treturn path + x.name\n}\n",
    ),
}
CASES = [
    (language, *case)
    for language, cases in {"python": PYTHON, "typescript": SCRIPT, "go": GO}.items()
    for case in cases.values()
]


@pytest.mark.parametrize(("language", "text", "old", "new", "expected"), CASES)
def test_a_name_that_was_changed_where_it_is_defined(
    language: str, text: str, old: str, new: str, expected: str
) -> None:
    editor = Editor(text, language)
    editor.change(old, new)
    assert editor.follow() == expected


QUIET = [
    ("python", "x = a\ny = a\n", "x = a", "x = b"),  # a use that changed
    ("python", "def f(a):\n    pass\n\n\nb = 1\nf(b)\n", "def f", "def b"),  # a name that is taken
    ("python", "x = 1\nx = 2\nprint(x)\n", "x = 2", "y = 2"),  # not the first place that binds it
    ("python", "# foo\nfoo = 1\n", "# foo", "# bar"),
    ("python", "x = 'foo'\nfoo = 1\n", "'foo'", "'bar'"),
    ("python", "def f():\n    global n\n    n = 1\n\n\nn = 2\nprint(n)\n", "n = 2", "m = 2"),
    ("python", "a(timeout=30)\nb(timeout=30)\n", "30", "60"),  # one change of a value is meant for its place
    ("python", "x = foo\nfoo\n", "foo", "import"),
    ("typescript", "const { a } = b;\nuse(a);\n", "{ a }", "{ c }"),  # another property
    ("typescript", "a = 1;\nuse(a);\n", "a = 1", "b = 1"),
    ("go", "func f() {\n\tuse(n)\n\tn = 2\n}\n", "use(n)", "use(m)"),
    ("plaintext", "foo bar\nfoo baz\n", "foo", "boo"),
]


@pytest.mark.parametrize(("language", "text", "old", "new"), QUIET)
def test_what_may_mean_something_else_is_left_alone(language: str, text: str, old: str, new: str) -> None:
    editor = Editor(text, language)
    editor.change(old, new)
    assert editor.due() is None


def test_two_uses_that_were_renamed_ask_for_the_rest_and_the_definition() -> None:
    editor = Editor("def f(a):\n    b(a)\n    c(a)\n    return a\n")
    editor.change("b(a", "b(n")
    assert editor.due() is None
    editor.change("c(a", "c(n")
    assert editor.follow() == "def f(n):\n    b(n)\n    c(n)\n    return n\n"


@pytest.mark.parametrize("language", ["python", "rust", "plaintext"])
def test_tokens_that_were_changed_alike_on_two_lines(language: str) -> None:
    editor = Editor("a(timeout=30, x)\nb(timeout=30)\nc(limit=30)\nd(1, timeout=30)\ne(timeout=30 + 1)\n", language)
    editor.change("timeout=30", "timeout=60")
    assert editor.due() is None
    editor.change("timeout=30", "timeout=60")
    assert editor.follow() == "a(timeout=60, x)\nb(timeout=60)\nc(limit=30)\nd(1, timeout=60)\ne(timeout=60 + 1)\n"


def test_what_is_typed_with_a_pause_is_one_rename() -> None:
    editor = Editor("def load():\n    pass\n\n\nload()\n")
    for before, after in (("load", "loa"), ("loa(", "lo("), ("lo(", "l("), ("l(", "la("), ("la(", "lay(")):
        editor.now_s += 1.5
        editor.change(before, after)
    assert editor.follow() == "def lay():\n    pass\n\n\nlay()\n"


def test_a_second_rename_of_the_same_name_follows_the_first() -> None:
    editor = Editor("def load():\n    pass\n\n\nload()\n")
    editor.change("load", "fetch")
    assert editor.follow() == "def fetch():\n    pass\n\n\nfetch()\n"
    editor.now_s += 2
    editor.change("fetch", "pull")
    assert editor.follow() == "def pull():\n    pass\n\n\npull()\n"
