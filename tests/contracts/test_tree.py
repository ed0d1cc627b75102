"""What must hold for the tracked files themselves, and for the pages that describe them."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest

from decoding.config import EngineConfig
from lsp_server.settings import declared

REPOSITORY = Path(__file__).parents[2]
INVARIANTS = REPOSITORY / "docs" / "invariants.md"
CONFIGURATION = REPOSITORY / "docs" / "configuration.md"
PAGES = [
    *(REPOSITORY / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "editors/README.md")),
    *sorted((REPOSITORY / "docs").rglob("*.md")),
]
# A path from the repository's root, in text or in an example; not the end of a longer path.
PATH = re.compile(r"(?<![\w./~-])(?:decoding|lsp_server|tests|editors|docs|\.ci)/[\w./-]*")


def tracked_files() -> list[Path]:
    found = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if found.returncode != 0:
        pytest.skip("not a git checkout")
    return [path for name in found.stdout.split("\0") if name and (path := REPOSITORY / name).is_file()]


def test_no_file_names_a_path_of_the_machine_it_was_made_on() -> None:
    paths = {str(REPOSITORY), str(Path.home()), sys.prefix, "/root", "/work"} - {"/"}
    # Not inside of a longer path or a URI: `file:///work/app.py` is somebody's example.
    pattern = re.compile("|".join(rf"(?<![\w./-]){re.escape(path)}/" for path in paths))
    found = []
    for path in tracked_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # weights, pictures
        found += [f"{path.relative_to(REPOSITORY)}: {match[0]}" for match in pattern.finditer(text)]
    assert found == []


def test_every_invariant_names_a_test_that_exists() -> None:
    rows = re.findall(r"^\|\s*(\d+)\s*\|(.*)\|(.*)\|\s*$", INVARIANTS.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows, "docs/invariants.md has no table of invariants"
    for number, _, cell in rows:
        tests = re.findall(r"(tests/[\w/]+\.py)::(\w+)", cell)
        assert tests, f"invariant {number} names no test"
        for file, name in tests:
            source = (REPOSITORY / file).read_text(encoding="utf-8") if (REPOSITORY / file).exists() else ""
            assert re.search(rf"^\s*(?:async )?def {name}\(", source, re.MULTILINE), (
                f"invariant {number}: {file}::{name}"
            )


def page_name(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_paths_in_pages_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    paths = {path.rstrip(".") for path in PATH.findall(text) if "NAME" not in path}
    assert sorted(path for path in paths if not (REPOSITORY / path).exists()) == []


def test_names_in_the_map_exist() -> None:
    """The map names folders and files without the way to them."""
    text = (REPOSITORY / "ARCHITECTURE.md").read_text(encoding="utf-8")
    files = [f"/{path.relative_to(REPOSITORY)}" for path in tracked_files()]
    names = re.findall(r"`((?:[\w.-]+/)*[\w.-]+(?:/|\.py))`", text)
    assert names
    missing = [
        name
        for name in names
        if not any(f"/{name}" in file if name.endswith("/") else file.endswith(f"/{name}") for file in files)
    ]
    assert missing == []


def anchors(page: Path) -> set[str]:
    """What GitHub makes of the headings of a page."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_the_index_has_every_decision() -> None:
    index = REPOSITORY / "docs" / "decisions" / "README.md"
    listed = re.findall(r"\]\(([\w-]+\.md)#", index.read_text(encoding="utf-8"))
    for page in index.parent.glob("*.md"):
        if page != index:
            headings = re.findall(r"^## ", page.read_text(encoding="utf-8"), re.MULTILINE)
            assert listed.count(page.name) == len(headings), page.name


def settings_in_page(heading: str) -> dict[str, str]:
    """The names and defaults of the first table below a heading of docs/configuration.md."""
    text = CONFIGURATION.read_text(encoding="utf-8")
    section = text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", section, re.MULTILINE))


def engine_defaults() -> Iterator[tuple[str, Any]]:
    for field in fields(EngineConfig):
        yield field.name, None if field.default is MISSING else field.default


@pytest.mark.parametrize(
    ("heading", "defaults"),
    [
        ("The engine's settings", dict(engine_defaults())),
        ("The front end's settings", {name: setting.default for name, setting in declared().items()}),
    ],
)
def test_every_setting_and_its_default_are_in_the_page(heading: str, defaults: Mapping[str, Any]) -> None:
    told = settings_in_page(heading)
    assert sorted(told) == sorted(defaults)
    for name, default in defaults.items():
        if default is not None:  # a table has none that is simple
            assert json.loads(told[name].strip("`")) == json.loads(json.dumps(default)), name
