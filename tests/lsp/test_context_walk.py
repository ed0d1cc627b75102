"""The walk over a workspace ends in a huge one, and finds what is near first."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from lsp_server.context import files, similar
from lsp_server.context.files import Workspace, within
from lsp_server.context.similar import SimilarIndex
from tests.lsp.test_context_ignore import tree


def names(root: Path, **options: object) -> list[str]:
    walked = Workspace([root]).walk(**options)  # type: ignore[arg-type]
    return [file.relative_to(root).as_posix() for file in walked if file]


def test_what_is_near_comes_first_and_the_walk_ends(tmp_path: Path) -> None:
    tree(tmp_path, {f"{folder}/f{n}.py": "" for folder in ("a", "b", "b/c", "d") for n in range(5)})
    tree(tmp_path, {"top.py": ""})
    assert len(names(tmp_path)) == 21
    found = names(tmp_path, near=tmp_path / "b" / "c", max_entries=20)
    assert found[:11] == ["top.py", *(f"b/f{n}.py" for n in range(5)), *(f"b/c/f{n}.py" for n in range(5))]
    assert len(found) < 21
    assert names(tmp_path, max_entries=0) == []


def test_the_walk_stays_on_its_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, {"a/one.py": "", "mounted/two.py": "", "three.py": ""})
    monkeypatch.setattr(files, "_device", lambda folder: 2 if folder.name == "mounted" else 1)
    assert sorted(names(tmp_path)) == ["a/one.py", "three.py"]


def test_the_time_of_who_walks_is_not_the_walks() -> None:
    ticks = itertools.count()
    assert len(list(within(iter([None] * 50), 10.0, lambda: next(ticks)))) == 10
    now = [0.0]
    for _ in (walk := within(iter([None] * 50), 10.0, lambda: now[0])):
        now[0] += 100  # what the caller does in between
    assert next(walk, "the end") == "the end"


def test_an_index_of_a_huge_folder_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "\n".join(f"name_{n} = value_{n} + other_{n}" for n in range(30))
    tree(tmp_path, {f"far/{n}/mod.py": text for n in range(30)} | {"near/one.py": text, "near/two.py": text})
    monkeypatch.setattr(similar, "MAX_WALKED", 12)
    index = SimilarIndex(Workspace([tmp_path]))
    for _ in index.build(frozenset({".py"}), tmp_path / "near"):
        pass
    assert 2 <= index.num_files <= 12
    ticks = itertools.count()
    hurried = SimilarIndex(Workspace([tmp_path]), clock=lambda: next(ticks))
    for _ in hurried.build(frozenset({".py"}), tmp_path / "near"):
        pass
    assert hurried.num_files <= similar.MAX_WALK_S
