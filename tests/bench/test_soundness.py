"""What is told of a suggestion's place, against cases worked out by hand."""

from __future__ import annotations

import warnings

import pytest

from decoding.bench.metrics.quality import Verdict, judge, loops, parses, summarise


@pytest.mark.parametrize(
    ("prefix", "text", "suffix", "expected"),
    [
        ("def f(x):\n    y = x\n", "    return y", "\n\nf(1)\n", True),
        ("def f(x):\n    y = x\n", "    return (y", "\n\nf(1)\n", False),
        ("def f(x):\n    y = x\n", "  return y", "\n\nf(1)\n", False),
        ("def f(x):\n", "    return x", "\n\nf(1)\n", None),  # no function without a body
        ("x = foo(", "1", ")\n", True),
        ("x = foo(", "1)", "\n", None),
        ("x = '\\d'\n", "y = 1", "\n", True),
    ],
)
def test_parsing_is_told_where_the_file_parsed_before(
    prefix: str, text: str, suffix: str, expected: bool | None
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert judge(prefix, text, suffix).parses is expected
    assert judge(prefix, text, suffix, is_python=False).parses is None


@pytest.mark.parametrize("text", ["(" * 100_000, "x = '\0'", "-" * 100_000 + "1", "x = \ud800"])
def test_what_is_no_program_does_no_harm(text: str) -> None:
    assert parses(text) is False


def test_a_special_token_that_stands_there_already_is_no_leak() -> None:
    assert judge("", "x<|end|>", "", ["<|end|>"]).leaks
    assert not judge("END = '<|end|>'\n", "x = '<|end|>'", "", ["<|end|>"]).leaks
    assert not judge("", "x", "", ["<|end|>"]).leaks


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("_default" * 8, True),
        ("x = 1\n" * 6, True),
        ("    a = b\n    c = d\n" * 4, True),
        ("x = 1\n" * 3, False),
        ("-" * 80, False),
        ("# " + "=" * 70, False),
        ("a = [0, 0, 0, 0]", False),
        ("a = [" + ", ".join(map(str, range(12))), True),
        ("a = [" + ", ".join(map(str, range(12))) + "]", False),
        ("".join(f"a{i} = {i}\n" for i in range(9)), True),
        ("".join(f"a{i} = {i}\n" for i in range(5)), False),
        ("for i in range(10):\n    print(i)\n", False),
        ("", False),
    ],
)
def test_loops(text: str, expected: bool) -> None:
    assert loops(text) == expected


def test_shares_are_of_what_could_be_told() -> None:
    verdicts = [Verdict(parses=found, leaks=bool(found), loops=False) for found in (True, False, None, True)]
    assert summarise(verdicts) == {
        "parses_percent": 66.67,
        "parse_told": 3,
        "leaks_percent": 50.0,
        "loops_percent": 0.0,
    }
    assert summarise([]) == {"parses_percent": None, "parse_told": 0, "leaks_percent": None, "loops_percent": None}
