"""Judges a text by its language's grammar: the code around the cursor must be without errors with it.

Unfinished code has errors before a good text and behind it. So a text is held to what is known to be right: the code
around the cursor's line parses, and that line does with something behind it. Elsewhere brackets and quotes decide.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import takewhile
from typing import Final

from lsp_server.documents.store import Place
from lsp_server.filters.brackets import ParsesWith, bracket_checker, leads_to_brace, left_of, without_header
from lsp_server.filters.going_on import STAND_INS, body_ends, closing, continuations, num_open_words
from lsp_server.filters.region import Region, begins_with_end, cut_region
from lsp_server.languages.grammars import has_grammar, is_without_errors
from lsp_server.languages.syntax import inside, unclosed
from lsp_server.languages.table import language_named

# How many lines on each side are parsed: few where that does, since the time grows with them.
_NEAR: Final = (4, 12, 50)
MAX_REGION_CHARS: Final = 6_000


def code_checker(text: str, place: Place, language: str) -> ParsesWith | None:
    """Return a judge of a text and its beginnings: by the grammar where it can tell, else by brackets.

    Of a text that ends what begins above the cursor, and isn't ended below, the brackets tell more: a parser can't know
    which end is missing.
    """
    region = _region_for(text, place, language)
    # A block that was cut down to its header would leave that without a body.
    header = "" if "\n" in text.strip() else text.rstrip()
    if unclosed(place.head, language).text:
        return _string_checker(region, place, language, header)
    balanced, of_beginnings = (bracket_checker(place, language, takes_header=takes) for takes in (True, False))
    if balanced is None or of_beginnings is None:
        return None

    def stands(part: str) -> bool:
        takes_header = bool(header) and part.startswith(header)
        by_brackets = balanced if takes_header else of_beginnings
        if region is None or not leads_to_brace(part, place) or unclosed(place.head + part, language).text:
            return by_brackets(part)
        if _stands(region, place, language, part, takes_header=takes_header):
            return True
        may_end = region.closing and unclosed(part, language).closers  # else all that is open is ended below
        is_told = not may_end and _is_line_sound(region, place, language)
        return not is_told and by_brackets(part)

    return stands


def _string_checker(region: Region | None, place: Place, language: str, header: str) -> ParsesWith | None:
    """Return a judge of what is written into a string, or into code within one, where its line can be completed."""
    before = unclosed(place.head, language)
    if region is None or not _is_line_sound(region, place, language):
        return None

    def stands(part: str) -> bool:
        found = unclosed(place.head + part, language)
        if found.text and not place.tail.strip():  # the string goes on
            return found.text == before.text and before.openers.startswith(found.openers)
        takes_header = bool(header) and part.startswith(header)
        return _stands(region, place, language, part, takes_header=takes_header)

    return stands


def may_go_on(text: str, place: Place, language: str, stands: ParsesWith) -> bool:
    """Return whether a text that doesn't stand may still, with something behind it, as far as can be told.

    One that leaves a bracket of its own open doesn't, except a body: nothing closes it in front of the code below. Nor
    does one of several lines of which not even the first stands.
    """
    found = unclosed(place.head + without_header(text, language_named(language)), language)
    if found.text or not text.strip() or not unclosed(place.head, language).openers.startswith(found.openers):
        return False
    if _region_for(text, place, language) is None:
        return True
    return "\n" not in text.strip() and any(stands(text + end) for end in continuations(place.head + text, language))


def _region_for(text: str, place: Place, language: str) -> Region | None:
    if not has_grammar(language):
        return None
    first = place.head + text.split("\n", 1)[0]
    return _region(place, language, begins_with_end(first, language_named(language)))


@lru_cache(maxsize=8)  # a place is asked for when its text is finished, and each time that it is shown
def _region(place: Place, language: str, goes_on: bool) -> Region | None:
    """Return the smallest piece of the code around that parses without the cursor's line, or with it completed."""
    known = language_named(language)
    seen: list[Region] = []
    for num_near in _NEAR:
        region = cut_region(place, known, num_near, goes_on=goes_on)
        if len(region.before) + len(region.after) + len(place.tail) > MAX_REGION_CHARS:
            break
        for closed in _closed(region, place, language):
            around = closed._replace(before=_without_head(closed, place)).with_text("")
            if closed not in seen and is_without_errors(around, language):
                return closed
            seen.append(closed)
    likely = next((region for region in reversed(seen[:4]) if region.closing), seen[0]) if seen else None
    return likely if likely and _may_parse(likely, place, language) else None


@lru_cache(maxsize=8)
def _is_line_sound(region: Region, place: Place, language: str) -> bool:
    """Return whether what stands on the cursor's line can be completed, so that an error is the text's."""
    return not (place.head + place.tail).strip() or _may_parse(region, place, language)


def _may_parse(region: Region, place: Place, language: str) -> bool:
    if place.tail.strip():
        is_closed = place.tail.lstrip()[0] in language_named(language).pairs
        end = "" if is_closed else closing(unclosed(place.head + place.tail, language).openers)
        texts = [part + end + place.tail for end in dict.fromkeys((end, "")) for part in ("", *STAND_INS)]
    else:
        texts = ["", *continuations(place.head, language)]
    return any(is_without_errors(region.with_text(text), language) for text in texts)


def _closed(region: Region, place: Place, language: str) -> Iterator[Region]:
    """Yield the region as it is, and with ends for all that it leaves open."""
    yield region
    known = language_named(language)
    around = _without_head(region, place) + region.after
    if openers := inside(tuple(around.split("\n")), language).brackets:
        yield region._replace(closing=tuple(closing(openers)))
    if known.body == "words" and (num_open := num_open_words(around, known)) > 0:
        yield region._replace(closing=("\nend",) * num_open)


def _without_head(region: Region, place: Place) -> str:
    return region.before[: len(region.before) - len(place.head)]


def _stands(region: Region, place: Place, language: str, part: str, *, takes_header: bool) -> bool:
    """Return whether the code parses with a text, if need be with an end for the body that it begins."""
    left = left_of(place, part)
    num_closed = _num_closed(region, place.head + part + left, language)
    if is_without_errors(region.with_text(part + left, num_closed), language) is not False:
        return True
    item = part.rstrip().removesuffix(",")
    if item != part.rstrip() and not left.strip() and _is_item_below(place, language):
        # The region may lack the item that the comma leads to, and not every grammar allows a comma behind the last.
        return is_without_errors(region.with_text(item, num_closed), language) is not False
    if left.strip() or not takes_header or "\n" in part.strip():
        return False
    ends = body_ends(place.head + part if unclosed(place.head, language).text else part, language)
    return any(is_without_errors(region.with_text(part + end, num_closed), language) for end in ends)


def _is_item_below(place: Place, language: str) -> bool:
    """Return whether the cursor is in a list of items, and another one of them stands on the next line."""
    found, known = inside((*place.above, place.head), language), language_named(language)
    is_list = found.brackets and (found.brackets[-1] not in known.statements_in or "[" in known.statements_in)
    below = next((line for line in place.below if line.strip()), "")
    return bool(is_list and below) and not begins_with_end(below, known)


def _num_closed(region: Region, line: str, language: str) -> int:
    """Return how many of the ends that the region was given the cursor's line, with the text in it, brings along."""
    if region.closing and region.closing[0].strip() in language_named(language).pairs:
        pairs = zip(region.closing, unclosed(line, language).closers, strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    return max(0, -num_open_words(line, language_named(language)))
