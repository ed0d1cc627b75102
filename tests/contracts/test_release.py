"""A release: what is in it, and that the package manifests name its version, files and commands. Nothing is fetched."""

import importlib.util
import re
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
PACKAGING = REPOSITORY / "packaging"
FILETYPES = re.compile(r"filetypes = \{\n(.*?)\n  \}", re.DOTALL)


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tabcast_release", PACKAGING / "release.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


release = load()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("release") / "dist"
    assert release.main(["--out", str(out), "--without-extensions", "--url", "https://example.org/v{version}"]) == 0
    return Path(out)


def test_checksums_and_notes_are_those_of_the_files(made: Path) -> None:
    number = release.version()
    listed = dict(reversed(line.split()) for line in (made / "SHA256SUMS").read_text().splitlines())
    files = [f"tabcast-{number}-py3-none-any.whl", f"tabcast-{number}.tar.gz"]
    assert listed == release.checksums([made / name for name in files])
    told = (made / "NOTES.md").read_text(encoding="utf-8")
    assert told.startswith(f"# Tabcast {number}\n\n### ")
    assert "\n## " not in told


def test_the_sdist_has_the_editors_and_the_wheel_a_command(made: Path) -> None:
    number = release.version()
    with tarfile.open(next(made.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"editors/neovim/lsp/tabcast.lua", "editors/vscode/package.json", "packaging/release.py"} <= names
    assert not [name for name in names if "node_modules" in name or name.endswith(".vsix")]
    with zipfile.ZipFile(next(made.glob("*.whl"))) as wheel:
        entries = wheel.read(f"tabcast-{number}.dist-info/entry_points.txt").decode()
    assert "tabcast = lsp_server.cli:main" in entries


def test_manifests_name_version_file_and_checksum(made: Path) -> None:
    number = release.version()
    wheel = next(made.glob("*.whl"))
    (total,) = release.checksums([wheel]).values()
    for name in ("tabcast.rb", "flake.nix"):
        text = (made / "packages" / name).read_text(encoding="utf-8")
        assert f"https://example.org/v{number}/{wheel.name}" in text
        assert total in text
        assert f'ersion "{number}"' in text or f'version = "{number}"' in text
    mason = yaml.safe_load((made / "packages" / "mason" / "package.yaml").read_text(encoding="utf-8"))
    assert mason["source"]["id"] == f"pkg:pypi/tabcast@{number}"
    assert mason["bin"] == {"tabcast": "pypi:tabcast"}


def test_every_manifest_is_filled_and_an_unknown_name_is_refused() -> None:
    templates = {str(path.relative_to(PACKAGING)) for path in PACKAGING.rglob("*") if path.is_file()}
    named = {name for name in templates if re.search(r"@[A-Z0-9_]+@", (PACKAGING / name).read_text(encoding="utf-8"))}
    assert named - {"release.py"} <= set(release.MANIFESTS)
    assert set(release.MANIFESTS) <= templates
    with pytest.raises(release.ReleaseError, match="NOTHING"):
        release.filled("@NOTHING@", {})


def test_nvim_lspconfig_has_the_file_types_of_our_own_plugin() -> None:
    ours, theirs = (
        FILETYPES.search((REPOSITORY / name).read_text(encoding="utf-8"))
        for name in ("editors/neovim/lsp/tabcast.lua", "packaging/nvim-lspconfig/tabcast.lua")
    )
    assert ours is not None
    assert theirs is not None
    assert ours[1].replace('"', "'") == theirs[1]
    for name in ("neovim/lazy.lua", "neovim/vim-pack.lua"):
        recipe = (PACKAGING / name).read_text(encoding="utf-8")
        assert "/editors/neovim" in recipe
        assert 'vim.lsp.enable("tabcast")' in recipe


@pytest.mark.parametrize(
    ("changelog", "told"),
    [
        ("## Unreleased\n\n- new\n\n## 0.9.0\n\n- old\n", "- new"),
        ("## Unreleased\n\n- new\n\n## [1.0.0] - 2026-12-01\n\n- this\n\n## 0.9.0\n", "- this"),
    ],
)
def test_notes_are_those_of_the_version_or_of_what_is_unreleased(changelog: str, told: str) -> None:
    assert release.notes(changelog, "1.0.0") == f"# Tabcast 1.0.0\n\n{told}\n"


def test_a_release_without_notes_or_with_two_versions_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(release.ReleaseError, match="CHANGELOG"):
        release.notes("## 0.1.0\n\n- old\n", "1.0.0")
    (tmp_path / "package.json").write_text('{"version": "0.0.9"}')
    monkeypatch.setattr(release, "EXTENSION", tmp_path)
    with pytest.raises(release.ReleaseError, match=r"version 0\.0\.9"):
        release.version()
