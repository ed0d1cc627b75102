# ruff: noqa: E501
"""What is due where one half of a pair was changed."""

from __future__ import annotations

import pytest

from tests.lsp.test_edits import Editor


@pytest.mark.parametrize(
    ("language", "text", "old", "new", "expected"),
    [
        ("html", "<div>\n<div><br/></div>\n</div>\n<div></div>\n", "<div>", "<section>", "<section>\n<div><br/></div>\n</section>\n<div></div>\n"),
        ("html", '<p a="x > y">\n</p>\n', "</p>", "</em>", '<em a="x > y">\n</em>\n'),
        ("typescriptreact", "const a = <A b={() => 1}>\n  {x}\n</A>;\n", "<A b", "<B b", "const a = <B b={() => 1}>\n  {x}\n</B>;\n"),
        ("python", "x = (\n    f(1),\n    ')',\n)\n", "= (", "= [", "x = [\n    f(1),\n    ')',\n]\n"),
        ("go", "x := []int{(1), 2}\n", "{(", "((", None),
    ],
)  # fmt: skip
def test_the_other_half_follows(language: str, text: str, old: str, new: str, expected: str | None) -> None:
    editor = Editor(text, language)
    editor.change(old, new)
    assert editor.follow() == (expected or text.replace(old, new).replace("}", ")"))


@pytest.mark.parametrize(
    ("language", "text", "old", "new"),
    [
        ("html", "<div>\n<p></p>\n", "<div>", "<section>"),  # it has no end
        ("html", "<div>\n</section>\n<div></div>\n", "<div>", "<section>"),  # it has been changed already
        ("python", "x = (1]\n", "(", "["),
        ("python", "'<div></div>'\n", "<div>", "<p>"),
    ],
)
def test_what_has_no_other_half_is_left_alone(language: str, text: str, old: str, new: str) -> None:
    editor = Editor(text, language)
    editor.change(old, new)
    assert editor.due() is None
