"""HTML, Vue and Svelte: tags are judged, and scripts and styles within are code in their own languages."""

from __future__ import annotations

import pytest

from lsp_server.cli.filter import shown
from lsp_server.documents.embedded import embedded
from lsp_server.documents.store import Place
from lsp_server.filters import Surroundings
from lsp_server.filters.broken import cut_broken
from tests.lsp.places import place_at

LIST = "<ul>\n  |\n</ul>\n"
TAGS = [
    ("html", LIST, "<li>a</li>", "<li>a</li>"),
    ("html", LIST, "<li>a\n  <li>b", "<li>a\n  <li>b"),
    ("html", LIST, "<br>\n  <img src='a'>", "<br>\n  <img src='a'>"),
    ("html", LIST, '<a title="1 > 0">b</a>', '<a title="1 > 0">b</a>'),
    ("html", LIST, "<!-- <b> -->", "<!-- <b> -->"),
    ("html", LIST, '<div class="a">', '<div class="a">'),
    ("html", LIST, "<div>\n    <p>a</p>\n  </div>", "<div>\n    <p>a</p>\n  </div>"),
    # What leaves a tag open, or ends one that the lines below end.
    ("html", LIST, "<b>a</b>\n  <div>\n    <p>a</p>", "<b>a</b>"),
    ("html", LIST, "<li>a</li>\n</ul>", "<li>a</li>"),
    ("html", LIST, "</div>", ""),
    ("html", LIST, "<b>a</i>", ""),
    ("html", LIST, '<b>a</b>\n  <a href="', "<b>a</b>"),
    ("html", "<p>\n  <a href=|>a</a>\n</p>\n", '"b"', '"b"'),
    ("html", "<p>\n  <a href=|>a</a>\n</p>\n", '"b', ""),
    # A page that is being written.
    ("html", "<body>\n  <div>\n    <p>a</p>\n  |", "</div>\n</body>", "</div>\n</body>"),
    ("vue", "<template>\n  |\n</template>\n", '<A v-if="b > 1" @c="d" />', '<A v-if="b > 1" @c="d" />'),
    ("svelte", "<p>\n  |\n</p>\n", "<a on:click={() => b}>c</a>", "<a on:click={() => b}>c</a>"),
    ("xml", "<a>\n  |\n</a>\n", "<li>b", ""),
    ("latex", "\\begin{a}\n|\n\\end{a}\n", "\\begin{b}\nc\n\\end{b}", "\\begin{b}\nc\n\\end{b}"),
    ("latex", "\\begin{a}\n|\n\\end{a}\n", "b\n\\end{a}", "b"),
]


@pytest.mark.parametrize(("language", "text", "written", "expected"), TAGS)
def test_what_is_left_of_tags(language: str, text: str, written: str, expected: str) -> None:
    around = Surroundings(place=place_at(text), mode="block", language=language)
    assert cut_broken(written, around) == expected


VUE = (
    '<template>\n  <p>a</p>\n</template>\n\n<script setup lang="ts">\nconst a = 1;\n|\n</script>\n\n<style>\n</style>\n'
)


@pytest.mark.parametrize(
    ("language", "text", "expected", "place"),
    [
        ("vue", VUE, "typescript", "const a = 1;\n|"),
        ("html", "<script>\n  a();\n  |b\n</script>\n", "javascript", "  a();\n  |b"),
        ("html", "<p>\n<style media='print'>\na {\n|\n}\n</style>\n", "css", "a {\n|\n}"),
        ("html", '<script type="module">a(|</script>\n', "javascript", "a(|"),
        ("svelte", '<style lang="scss">\na {\n  |', "scss", "a {\n  |"),
        # Outside of all, in what nobody knows, and where nothing stands yet.
        ("vue", VUE.replace("|", "").replace("  <p>", "|  <p>"), "vue", ""),
        ("html", "<script>\na();\n</script>\n|\n", "html", ""),
        ("html", '<script type="text/x-template">\n<p>\n|\n</script>\n', "html", ""),
        ("html", "<script>\n|\n</script>\n", "html", ""),
        ("javascript", "const a = '<script>';\n|\n", "javascript", ""),
    ],
)
def test_code_in_a_page_is_seen_alone(language: str, text: str, expected: str, place: str) -> None:
    whole = place_at(text)
    found, name = embedded(whole, language)
    assert name == expected
    assert found == (place_at(place) if place else whole)


def test_the_tag_is_found_far_above() -> None:
    farther = ["<p>\n", "<script>\n", "a();\n", "b();\r\n"]
    place = Place(above=("c();",), head="", tail="", below=("</script>",), farther=farther)
    found, name = embedded(place, "html")
    assert (found.above, [*found.farther], found.below, name) == (("c();",), farther[2:], (), "javascript")


@pytest.mark.parametrize(
    ("text", "expected"), [("function f() {\n  return a;\n}\n\nf(", "function f() {\n  return a;\n}"), ("f(a", "f")]
)
def test_a_script_in_a_page_has_the_rules_of_its_language(text: str, expected: str) -> None:
    before, after = VUE.split("|")
    assert shown(before, after, text, language="vue") == expected
