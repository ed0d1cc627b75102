"""Makes a release in dist/: wheel, sdist, extensions, checksums, notes and filled-in package manifests.

Usage: release.py [--url URL] [--out DIR] [--without-extensions], run by `make release` from the repository's root. It
uploads nothing. The extensions need Node.js; their packages are fetched once. packaging/README.md says where the
files go.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXTENSION = ROOT / "editors" / "vscode"
# Where files of a release can be fetched; their names are added.
URL = "https://github.com/tabcast/tabcast/releases/download/v{version}"
# The files that name a version or a checksum, and where they go in dist/packages.
MANIFESTS = {
    "homebrew/tabcast.rb": "tabcast.rb",
    "mason/package.yaml": "mason/package.yaml",
    "nix/flake.nix": "flake.nix",
    "nvim-lspconfig/tabcast.lua": "nvim-lspconfig/lsp/tabcast.lua",
}


class ReleaseError(Exception):
    """A release can't be made; the text says why and what to do."""


def version() -> str:
    """Return the version, which the extension has to share. Raises `ReleaseError`."""
    constants = (ROOT / "decoding" / "protocol" / "constants.py").read_text(encoding="utf-8")
    found = re.search(r'VERSION: Final = "([^"]+)"', constants)
    assert found is not None
    told = json.loads((EXTENSION / "package.json").read_text(encoding="utf-8"))["version"]
    if told != found[1]:
        raise ReleaseError(
            f"editors/vscode/package.json has version {told}, and the server is {found[1]}: make them equal"
        )
    return found[1]


def notes(changelog: str, number: str) -> str:
    """Return what a changelog says of a version, or of what isn't released yet. Raises `ReleaseError`."""
    sections = dict(re.findall(r"^## \[?([^\]\s]+)[^\n]*\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL))
    found = sections.get(number, sections.get("Unreleased", "")).strip()
    if not found:
        raise ReleaseError(f"CHANGELOG.md has neither a section {number} nor one of what is unreleased: write it")
    return f"# Tabcast {number}\n\n{found}\n"


def filled(template: str, values: Mapping[str, str]) -> str:
    """Return a manifest with its names between @ signs replaced. Raises `ReleaseError` for one that isn't known."""
    try:
        return re.sub(r"@([A-Z0-9_]+)@", lambda match: values[match[1]], template)
    except KeyError as error:
        raise ReleaseError(f"a manifest asks for {error}, which a release doesn't know") from None


def checksums(files: Sequence[Path]) -> dict[str, str]:
    """Return the SHA-256 of each file by its name."""
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def build_python(out: Path) -> list[Path]:
    """Build the wheel and the sdist."""
    _run([sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-t", "wheel", "-d", str(out)], ROOT)
    return [*sorted(out.glob("tabcast-*.whl")), *sorted(out.glob("tabcast-*.tar.gz"))]


def build_extensions(out: Path, number: str) -> list[Path]:
    """Build the extension with the wheel inside, and without. Raises `ReleaseError` where Node.js isn't there."""
    npm = shutil.which("npm")
    if npm is None:
        raise ReleaseError("the extensions need Node.js 20 or later: install it, or add --without-extensions")
    if not (EXTENSION / "node_modules").is_dir():
        _run([npm, "ci"], EXTENSION)
    made = []
    for name, variables in (("", {}), ("-without-server", {"TABCAST_NO_WHEEL": "1"})):
        _run([npm, "run", "package"], EXTENSION, {"PYTHON": sys.executable, **variables})
        made.append(out / f"tabcast-{number}{name}.vsix")
        shutil.move(EXTENSION / "tabcast.vsix", made[-1])
    return made


def write_manifests(out: Path, values: Mapping[str, str]) -> None:
    """Write the package manifests, with this release's version, addresses and checksums, into a folder."""
    for source, name in MANIFESTS.items():
        place = out / name
        place.parent.mkdir(parents=True, exist_ok=True)
        template = (ROOT / "packaging" / source).read_text(encoding="utf-8")
        place.write_text(filled(template, values), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the release and say what was made; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--url", default=URL, help="where the files will be fetched; {version} is replaced")
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    parser.add_argument("--without-extensions", action="store_true")
    options = parser.parse_args(arguments)
    try:
        number = version()
        told = notes((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), number)
        shutil.rmtree(options.out, ignore_errors=True)
        options.out.mkdir(parents=True)
        files = build_python(options.out)
        if not options.without_extensions:
            files += build_extensions(options.out, number)
        sums = checksums(files)
        values = {"VERSION": number, "URL": options.url.format(version=number), "WHEEL": files[0].name}
        write_manifests(options.out / "packages", {**values, "WHEEL_SHA256": sums[files[0].name]})
    except ReleaseError as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    (options.out / "NOTES.md").write_text(told, encoding="utf-8")
    lines = "".join(f"{total}  {name}\n" for name, total in sums.items())
    (options.out / "SHA256SUMS").write_text(lines, encoding="utf-8")
    for file in files:
        print(f"{file.stat().st_size / 1e6:6.1f} MB  {file}")
    print(f"           {options.out}: SHA256SUMS, NOTES.md, packages/")
    return 0


def _run(command: Sequence[str], folder: Path, variables: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **(variables or {})}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = "\n".join(f"{done.stdout}{done.stderr}".strip().splitlines()[-5:])
        raise ReleaseError(f"{' '.join(map(str, command))} failed:\n{last}")


if __name__ == "__main__":
    sys.exit(main())
