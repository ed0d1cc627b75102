"""Builds the documentation as a site in build/site: the pages as they lie in the repository, with a menu by task.

Usage: docs_site.py, run by `make docs` from anywhere. The pages keep their folders, so that their links lead on in the
site as they do in the repository; what is no page of the site is linked to the source. A link or a heading that isn't
there ends it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = "https://github.com/tabcast/tabcast/blob/main"
MENU = Path(__file__).with_name("mkdocs.yml")
PICTURES = (".svg", ".png")
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)\s#]*)(#[^)\s]*)?\)")


def pages() -> list[Path]:
    """Return the pages that the menu names, relative to the repository."""
    return [Path(name) for name in re.findall(r"[\w./-]+\.md", MENU.read_text(encoding="utf-8"))]


def with_links(text: str, page: Path, all_pages: set[Path]) -> str:
    """Return a page's text in which links to what isn't in the site lead to the source. Raises `ValueError`."""

    def replace(found: re.Match[str]) -> str:
        target = (ROOT / page.parent / found[1]).resolve()
        if not target.exists():
            raise ValueError(f"{page} links to {found[1]}, which isn't there")
        place = target.relative_to(ROOT)
        if target.is_dir() and place / "README.md" in all_pages:
            return f"]({found[1].rstrip('/')}/README.md{found[2] or ''})"
        if place in all_pages or target.suffix in PICTURES:
            return found[0]
        return f"]({SOURCE}/{place.as_posix()}{found[2] or ''})"

    return LINK.sub(replace, text)


def stage(folder: Path) -> None:
    """Copy pages and pictures into a folder. Raises `ValueError` for a link that leads nowhere."""
    shutil.rmtree(folder, ignore_errors=True)
    chosen = set(pages())
    for page in chosen:
        (folder / page).parent.mkdir(parents=True, exist_ok=True)
        text = with_links((ROOT / page).read_text(encoding="utf-8"), page, chosen)
        (folder / page).write_text(text, encoding="utf-8")
    for picture in (path for path in (ROOT / "docs").iterdir() if path.suffix in PICTURES):
        shutil.copy(picture, folder / "docs" / picture.name)


def main() -> int:
    """Build the site and return the exit code."""
    build = ROOT / "build"
    try:
        stage(build / "docs")
    except ValueError as error:
        print(f"docs: {error}", file=sys.stderr)
        return 1
    shutil.copy(MENU, build / MENU.name)
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean", "--config-file", MENU.name]
    done = subprocess.run(command, cwd=build, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{done.stdout}{done.stderr}".partition("Traceback")[0].strip(), file=sys.stderr)
        return done.returncode
    print(f"the site is in {build / 'site'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
