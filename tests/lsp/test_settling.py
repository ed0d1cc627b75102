"""When a growing text is settled: nothing that may still come changes what is shown."""

from __future__ import annotations

import math

import pytest

from lsp_server.completion.cache import CursorContext
from lsp_server.completion.settling import Growing, Settling
from lsp_server.filters import Surroundings, filter_text
from lsp_server.filters.calibration import SHOWS_ALL, Bounds
from lsp_server.filters.confidence import ScoredSpan, cut_unlikely
from lsp_server.filters.surroundings import Mode
from tests.lsp import test_filters as tables
from tests.lsp.places import place_at

BOUNDS = Bounds(math.log(0.3), math.log(0.3))
BODY = "def f(x):\n    |\n"


def settled_after(
    place: str, pieces: list[tuple[str, float]], mode: Mode = "block", language: str = "", bounds: Bounds = SHOWS_ALL
) -> tuple[int | None, str]:
    """Return how many pieces were written until the text was settled, if it was, and what is shown of them."""
    spot = CursorContext("file:///x", 0, place_at(place), language)
    settling = Settling(spot, mode, bounds)
    around = Surroundings(place=spot.place, mode=mode, language=language)
    text, spans = "", list[ScoredSpan]()
    number = None
    for index, (piece, log_prob) in enumerate(pieces, 1):
        text += piece
        spans.append(ScoredSpan(len(piece), log_prob))
        if settling.is_settled(Growing(text, spans, spot, 0)):
            number = index
            break
    shown = filter_text(text[: settling.improbable_from], around).text
    return number, cut_unlikely(shown, spans, 0, bounds, spot.place, language)


@pytest.mark.parametrize(
    ("place", "text", "language"),
    [
        *((place, text, "") for place, text, _ in tables.SPECIAL_TOKEN_CASES),
        *((place, text, "") for place, text, _ in tables.REPETITION_CASES),
        *((place, text, "") for place, text, _ in tables.NEXT_LINE_CASES),
        *((place, text, "") for place, text, _ in tables.CLOSER_CASES),
        *((place, text, "") for place, text, _ in tables.INVISIBLE_CASES),
        *((place, text, "python") for place, text, _ in tables.BROKEN_CASES),
        *((place, text, language) for place, text, language, _ in tables.CHAT_CASES),
        *((place, text, language) for place, text, language, _ in tables.UNREACHABLE_CASES),
    ],
)
@pytest.mark.parametrize("mode", ["line", "block"])
def test_more_text_changes_nothing(place: str, text: str, language: str, mode: Mode) -> None:
    """Whenever a text is settled, what is shown of its beginning is what would be shown of all of it."""
    whole = filter_text(text, Surroundings(place=place_at(place), mode=mode, language=language)).text
    number, shown = settled_after(place, [(char, 0.0) for char in text], mode, language)
    if number is not None:
        assert shown == whole


@pytest.mark.parametrize(
    ("place", "lines", "language", "num_lines"),
    [
        ("a = 1\n|\nb = 2\nc = 3\n", ["x = 0\n", "b = 2\n", "c = 3\n", "d = 4\n"], "python", 2),
        ("const a = 1;\n|", ["const b = 2;\n", "```\n", "In this code we set b.\n", "Bye\n"], "javascript", 2),
        (BODY, ["return x\n", "    y = 2\n", "    return y\n"], "python", 2),
        ("|", ["foo(1, 2)\n", "foo(1, 2)\n", "foo(1, 2)\n"], "python", 2),
        ("x = 0\n|", ["y = 1<|fim_suffix|>\n", "z = 1\n", "a = 1\n"], "python", 1),
        ("foo(a, |, c)\n", ["b, c)", "  # all of them", " and more"], "python", 1),
    ],
)
def test_what_a_filter_cuts_is_not_written_out(place: str, lines: list[str], language: str, num_lines: int) -> None:
    assert settled_after(place, [(line, 0.0) for line in lines], language=language)[0] == num_lines


SURE, UNSURE, NO = -0.01, -0.6, -5.0


@pytest.mark.parametrize(
    ("pieces", "num_written", "shown"),
    [
        ([("x", NO), (" = 1", SURE), ("\n", SURE)], 1, ""),
        ([("x", SURE), (" =", UNSURE), (" 1", UNSURE), (" + 2", UNSURE), ("\n", SURE)], 3, ""),
        ([("x = 1", SURE), ("\n", SURE), ("    y", NO), (" = 2", SURE)], 3, "x = 1"),
        ([("x = f(1)", SURE), (" + 2", NO), ("\n", SURE)], 2, ""),
        ([("x = f(1)", SURE), (" or", NO), (" 2", SURE)], 2, "x = f(1)"),
    ],
)
def test_nothing_is_written_behind_what_is_improbable(
    pieces: list[tuple[str, float]], num_written: int, shown: str
) -> None:
    assert settled_after(BODY, pieces, language="python", bounds=BOUNDS) == (num_written, shown)
    more = [*pieces, ("\n", SURE), ("    z = 3", SURE), ("\n", SURE)]
    assert settled_after(BODY, more, language="python", bounds=BOUNDS) == (num_written, shown)
