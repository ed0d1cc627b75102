"""The wheel: what is in it, and that it completes code where there is no repository."""

import json
import os
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.conftest import HAS_BUNDLED

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], cwd=REPOSITORY, check=True
    )
    return next(folder.glob("tabcast-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script folder of an environment with the wheel, which sees this one's libraries but not our checkout."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    scripts = folder / ("Scripts" if os.name == "nt" else "bin")
    pip = [sys.executable, "-m", "pip", "--python", str(scripts / "python"), "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], check=True)
    site_packages = next(folder.rglob("site-packages"))
    # A path in a .pth file is searched, but its own .pth files (our editable install) are not read.
    (site_packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return scripts


def test_holds_the_two_packages_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"decoding", "lsp_server", "tabcast"}
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert wheel.stat().st_size < 80_000_000


def test_is_told_nothing_but_the_packages() -> None:
    """A key that is meant for another tool may keep files out by its name."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"] == {"packages": ["decoding", "lsp_server"]}


def test_holds_every_tracked_file_of_them(wheel: Path) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "decoding", "lsp_server"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    if tracked.returncode != 0:
        pytest.skip("not a git checkout")
    existing = {name for name in tracked.stdout.splitlines() if (REPOSITORY / name).exists()}
    assert existing <= set(zipfile.ZipFile(wheel).namelist())


def test_imports_its_own_code(installed: Path, tmp_path: Path) -> None:
    program = "import decoding.protocol, lsp_server.cli; print(decoding.protocol.__file__, lsp_server.cli.__file__)"
    found = subprocess.run(
        [installed / "python", "-P", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert all(path.startswith(str(installed.parent)) for path in found.stdout.split())


@pytest.mark.skipif(not HAS_BUNDLED, reason="no bundled model in this checkout")
def test_completes_outside_the_repository(installed: Path, tmp_path: Path) -> None:
    file = tmp_path / "sample.py"
    file.write_text("import os\n\n\ndef home() -> str:\n    return os.environ[", encoding="utf-8")
    command = [installed / "tabcast", "complete", file, "--line", "5", "--column", "23", "--json"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    answer = json.loads(found.stdout)
    assert answer["tokens"] > 0
    assert answer["steps"] > 0
