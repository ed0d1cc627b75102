# ruff: noqa: E501
"""What is due at calls where the parameters of a function changed."""

from __future__ import annotations

import pytest

from tests.lsp.test_edits import Editor

PYTHON = "def load(path, mode, size=1):\n    return open(path, size)\n\n\n"
CASES = [
    ("python", PYTHON + 'load("a, b", g(1, 2), 3)\n', "path, mode,", "path,", 'load("a, b", 3)\n'),
    (
        "python",
        PYTHON + "load(a, mode=1)\nx = load(path=a, mode=2, size=3)\n",
        ", mode,",
        ",",
        "load(a)\nx = load(path=a, size=3)\n",
    ),
    ("python", PYTHON + "load(1, 2, 3)\nload(1, 2)\n", "path, mode,", "mode, path,", "load(2, 1, 3)\nload(1, 2)\n"),
    (
        "python",
        "class A:\n    def f(self, a, b):\n        return b\n\n    def g(self):\n        self.f(1, 2)\n        x.f(1, 2)\n",
        "self, a, b",
        "self, b",
        "        self.f(2)\n        x.f(1, 2)\n",
    ),
    (
        "typescript",
        "function f(a: number, b: T) {\n  return b;\n}\nf(1, 2); x.f(1, 2);\n",
        "a: number, b",
        "b",
        "f(2); x.f(1, 2);\n",
    ),
    ("go", "func f(a int, b T) T {\n\treturn b\n}\n\nvar x = f(1, y)\n", "a int, b", "b", "var x = f(y)\n"),
]


@pytest.mark.parametrize(("language", "text", "old", "new", "expected"), CASES)
def test_calls_follow_the_parameters(language: str, text: str, old: str, new: str, expected: str) -> None:
    editor = Editor(text, language)
    editor.change(old, new)
    assert editor.follow().endswith(expected)


QUIET = [
    (PYTHON.replace("size)", "mode)") + "load(1, 2, 3)\n", "path, mode,", "path,"),  # still used
    (PYTHON + "load(1, 2, 3)\n", "mode,", "mode, other,"),  # what would it be given?
    (PYTHON + "load(*x)\nload(1, **y)\n", "path, mode,", "path,"),
    (PYTHON + "def load(x):\n    pass\n\n\nload(1, 2, 3)\n", "path, mode,", "path,"),  # which of them is called?
    (PYTHON + "load(1)\n", "path, mode,", "path,"),
    (PYTHON + "load(1, 2)\n", "path, mode,", "path,"),  # it may have been changed already
]


@pytest.mark.parametrize(("text", "old", "new"), QUIET)
def test_what_is_not_sure_is_left_alone(text: str, old: str, new: str) -> None:
    editor = Editor(text)
    editor.change(old, new)
    assert editor.due() is None
