"""The documentation's site: every page is in its menu, every link leads somewhere, and two pages stay short."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
MAX_BYTES = {"README.md": 8_000, "ARCHITECTURE.md": 12_000}


@pytest.fixture(scope="module")
def docs_site() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_site", REPOSITORY / "packaging" / "docs_site.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_page_is_in_the_menu(docs_site: ModuleType) -> None:
    listed = docs_site.pages()
    assert len(set(listed)) == len(listed)
    written = {path.relative_to(REPOSITORY) for path in (REPOSITORY / "docs").rglob("*.md")}
    assert written <= set(listed)


def test_pages_lead_to_each_other_and_to_the_source(docs_site: ModuleType, tmp_path: Path) -> None:
    docs_site.stage(tmp_path)
    assert {path.relative_to(tmp_path) for path in tmp_path.rglob("*.md")} == set(docs_site.pages())
    pages = {Path("docs/teams.md"), Path("docs/decisions/README.md")}
    text = "[a](teams.md#x) [b](decisions#y) [c](../Makefile) [d](https://x.org/a.md) [e](#z)"
    assert docs_site.with_links(text, Path("docs/gpu.md"), pages) == (
        f"[a](teams.md#x) [b](decisions/README.md#y) [c]({docs_site.SOURCE}/Makefile) [d](https://x.org/a.md) [e](#z)"
    )
    with pytest.raises(ValueError, match=r"docs/gpu\.md links to nowhere\.md, which isn't there"):
        docs_site.with_links("[x](nowhere.md)", Path("docs/gpu.md"), pages)


@pytest.mark.parametrize("name", MAX_BYTES)
def test_what_is_read_first_is_short(name: str) -> None:
    assert len((REPOSITORY / name).read_bytes()) < MAX_BYTES[name]
