"""Datastores on disk: made whole or not at all, refused where they are broken or foreign, noticed when they change."""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from decoding.__main__ import main
from decoding.completion.sessions import Session
from decoding.config import datastores_directory
from decoding.datastore import files
from decoding.datastore.build import build, read_texts
from decoding.datastore.command import add_parser
from decoding.datastore.files import LOOK_AGAIN_S, DatastoreError, Datastores, Manifest
from decoding.datastore.suffix_array import sort_places
from decoding.models.folder.tokenizer_files import load_tokenizer
from decoding.models.loading.model_set import ModelSet
from decoding.speculation.drafting import DraftRequest

WORDS = {"a": 0, "b": 1}
OTHERS = {"a": 1, "b": 0}
TEXTS = ["def first():\n    return 1\n", "def second():\n    return 2\n", "class Third:\n    pass\n"]


def write(folder: Path, name: str = "some", ids: list[int] | None = None, vocabulary: dict[str, int] = WORDS) -> Path:
    tokens = np.array(ids or [0, 1, 1, 2], dtype=np.uint16)
    manifest = Manifest(
        name=name, tokenizer=files.fingerprint(vocabulary), num_tokens=len(tokens), token_bytes=2, separator=2
    )
    return files.write(folder, manifest, tokens, sort_places(tokens))


@pytest.fixture
def tokenizer(tiny_model: Path) -> Tokenizer:
    return load_tokenizer(tiny_model)


def make(texts: list[str], tokenizer: Tokenizer, folder: Path, **options: Any) -> tuple[Path, Manifest, bool]:
    return build(iter(texts), tokenizer, folder, "mine", **{"source": "/src", "max_bytes": 10**6, **options})


def test_what_was_indexed_is_found(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path, manifest, is_cut = make(TEXTS, tokenizer, tmp_path / "new")
    assert (manifest.num_files, manifest.source, is_cut) == (3, "/src", False)
    assert manifest == files.read_manifest(path)
    array = files.open_datastore(path, files.fingerprint(tokenizer.get_vocab()))
    for text in TEXTS:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        found = array.find(ids[:-2], 8, 1)
        assert ids[-2:] in found.following  # and not beyond the text's end
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700


def test_the_file_keeps_to_its_limit(tokenizer: Tokenizer, tmp_path: Path) -> None:
    texts = [f"value_{number} = compute({number})\n" * 30 for number in range(400)]
    max_bytes = files.MAX_HEADER_BYTES + 50_000
    path, manifest, is_cut = make(texts, tokenizer, tmp_path, max_bytes=max_bytes)
    assert is_cut
    assert 0 < manifest.num_files < 400
    assert 40_000 < path.stat().st_size <= max_bytes


@pytest.mark.parametrize("texts", [[], ["", "  \n"]])
def test_nothing_to_index_is_told(texts: list[str], tokenizer: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(DatastoreError, match="no file of code"):
        make(texts, tokenizer, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_build_that_is_broken_off_leaves_the_old_one(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _, _ = make(TEXTS, tokenizer, tmp_path)
    before = path.read_bytes()

    def broken() -> Iterator[str]:
        yield "x = 1\n"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(broken(), tokenizer, tmp_path, "mine", source="", max_bytes=10**6)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(DatastoreError, match="No space left"):
        make(["y = 2\n"], tokenizer, tmp_path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@given(st.data())
def test_a_file_that_was_cut_or_changed_is_refused_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = write(tmp_path_factory.mktemp("broken"), ids=[0, 1, 0, 1, 1, 2] * 5)
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
        path.write_bytes(content)
        with pytest.raises(DatastoreError, match="is broken"):
            files.open_datastore(path, files.fingerprint(WORDS))
        return
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=9)):
        content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    with suppress(DatastoreError):
        found = files.open_datastore(path, files.fingerprint(WORDS)).find([0, 1], 4)
        assert all(len(ids) <= 4 for ids in found.following)


@pytest.mark.parametrize(
    "change",
    [
        {"num_tokens": -1},
        {"num_tokens": 10**12},
        {"num_tokens": True},
        {"num_tokens": "4"},
        {"token_bytes": 3},
        {"name": None},
        {"separator": 1.5},
    ],
)
def test_a_senseless_description_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    path = write(tmp_path)
    head, line, rest = path.read_bytes().split(b"\n", 2)
    path.write_bytes(b"\n".join([head, json.dumps({**json.loads(line), **change}).encode(), rest]))
    with pytest.raises(DatastoreError, match="is broken"):
        files.read_manifest(path)


def test_a_foreign_and_a_broken_one_are_reported_once_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, "good")
    write(tmp_path, "foreign", vocabulary=OTHERS)
    write(tmp_path, "broken").write_bytes(b"tabcast datastore 1\nnonsense")
    (tmp_path / "else.txt").write_text("no datastore", encoding="utf-8")
    clock = iter(range(0, 1000, int(LOOK_AGAIN_S) + 1))
    stores = Datastores(tmp_path, lambda: WORDS, lambda: float(next(clock)))
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            assert len(stores.current()) == 1
    lines = sorted(record.getMessage() for record in caplog.records)
    assert len(lines) == 2
    assert all("\n" not in line and line.endswith("is not used") for line in lines)
    assert "another tokenizer" in lines[1]
    assert "broken" in lines[0]


def test_what_another_process_adds_replaces_or_removes_is_noticed(tmp_path: Path) -> None:
    now = 0.0
    stores = Datastores(tmp_path / "later", lambda: WORDS, lambda: now)
    assert stores.current() == []
    path = write(tmp_path / "later")
    assert stores.current() == []  # not looked again yet
    now += LOOK_AGAIN_S
    (first,) = stores.current()
    now += LOOK_AGAIN_S
    assert list(stores.current()) == [first]
    write(tmp_path / "later", ids=[1, 1, 1, 0, 2])
    now += LOOK_AGAIN_S
    (second,) = stores.current()
    assert second.find([1, 1, 1], 2).following == [[0]]
    assert first.find([0], 2).following == [[1, 1]], "who searches the old one goes on with it"
    path.unlink()
    now += LOOK_AGAIN_S
    assert stores.current() == []


def test_without_datastores_nothing_is_computed(tmp_path: Path) -> None:
    def never() -> dict[str, int]:
        raise AssertionError("the vocabulary was asked for")

    assert Datastores(tmp_path, never).current() == []


def test_the_process_that_hands_texts_over_may_fail(tmp_path: Path) -> None:
    def texts(program: str) -> list[str]:
        return list(read_texts([sys.executable, "-c", program], tmp_path))

    assert texts('print(\'{"text": "a"}\'); print(\'{"text": "\\\\u00e9"}\')') == ["a", "é"]
    for program in ("print('nonsense')", "print('[]')", "raise SystemExit(3)"):
        with pytest.raises(DatastoreError):
            texts(program)
    endless = read_texts([sys.executable, "-c", 'while True: print(\'{"text": "a"}\', flush=True)'], tmp_path)
    assert next(endless) == "a"
    endless.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["", "../up", ".hidden", "a/b", "x" * 65])
def test_what_can_not_name_a_file_is_no_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(DatastoreError, match="can't name"):
        files.path_of(tmp_path, name, "0" * 64)


def test_the_command_makes_lists_and_removes(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "library"
    source.mkdir()
    hands_over = tmp_path / "hands_over.py"
    hands_over.write_text(f"import json\nfor text in {TEXTS!r}:\n    print(json.dumps(dict(text=text)))\n", "utf-8")
    index = ["models", "index", "--model", str(tiny_model), "--json"]
    front_end = f"--front-end={sys.executable} {hands_over}"
    assert main([*index, str(source), front_end]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["name"], made["files"]) == ("library", 3)
    assert Path(made["path"]).parent == datastores_directory()
    assert main(index) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == ["library"]
    hands_over.write_text('print(\'{"text": "one = 1"}\')', encoding="utf-8")
    assert main([*index, "--refresh", front_end]) == 0
    assert "1 files" in json.loads(capsys.readouterr().out)[0]["note"]
    hands_over.write_text("raise SystemExit(1)", encoding="utf-8")
    assert main([*index, "--refresh", front_end]) == 0
    told = capsys.readouterr()
    assert "could not be read" in told.err
    assert "1 files" in json.loads(told.out)[0]["note"]
    assert main([*index, "--remove", "library"]) == 0
    assert list(datastores_directory().iterdir()) == []
    capsys.readouterr()
    for wrong in (["--remove", "library"], [str(source)], [str(tmp_path / "none"), front_end]):
        assert main([*index, *wrong]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_the_drafter_of_an_engine_finds_what_was_indexed(llama: ModelSet) -> None:
    text = "def distance(first, second):\n    return abs(first - second)\n"
    build(iter([text]), llama.tokenizer, datastores_directory(), "mine", source="", max_bytes=10**6)
    ids = llama.encode(text)
    session = Session(llama)
    (drafter,) = session.drafters("suffix")
    drafter.begin(DraftRequest(prompt_ids=[300, *ids[:12]]))
    assert drafter.propose(4).leading.token_ids == tuple(ids[12:16])
    assert len(session.drafters("combine")) > 1


@pytest.mark.parametrize("size", ["0", "-1", "20000", "x"])
def test_a_size_limit_is_a_number_of_megabytes(size: str) -> None:
    parser = add_parser(argparse.ArgumentParser().add_subparsers())
    with pytest.raises(SystemExit):
        parser.parse_args(["--max-mb", size])


def test_the_tabcast_command_leaves_out_what_may_not_be_read(tiny_model: Path, tmp_path: Path) -> None:
    """From the command line to the file: ignored files, secrets by name and by form, and data stay out."""
    source = tmp_path / "library"
    source.mkdir()
    (source / "good.py").write_text("def wanted():\n    return 'kept'\n", encoding="utf-8")
    (source / "ignored.py").write_text("unwanted_name = 1\n", encoding="utf-8")
    (source / ".gitignore").write_text("ignored.py\n", encoding="utf-8")
    (source / "secrets.yaml").write_text("hidden_name: 2\n", encoding="utf-8")
    (source / "data.csv").write_text("number,column\n", encoding="utf-8")
    token = "ghp_" + "a1B2c3D4e5" * 3 + "f6G7h8"
    (source / "masked.py").write_text(f"used = '{token}'\n", encoding="utf-8")
    command = [sys.executable, "-P", "-m", "lsp_server", "models", "index", str(source), "--model", str(tiny_model)]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    made = json.loads(done.stdout)
    assert made["files"] == 2
    manifest = files.read_manifest(Path(made["path"]))
    content = Path(made["path"]).read_bytes()
    begin = len(content) - 4 * (manifest.num_tokens + 1)
    begin -= -(-manifest.num_tokens * manifest.token_bytes // files.ALIGNMENT) * files.ALIGNMENT
    ids = np.frombuffer(content, f"<u{manifest.token_bytes}", manifest.num_tokens, begin).tolist()
    text = load_tokenizer(tiny_model).decode([token_id for token_id in ids if token_id != manifest.separator])
    assert "wanted" in text
    assert "used" in text
    for hidden in (token, "unwanted", "hidden", "column"):
        assert hidden not in text
