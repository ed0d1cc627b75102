"""Finds what the next commit changes: git's index beside the tree of the last commit.

It must not know documents or prompts.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lsp_server.context.git.bounded import MAX_INDEX_BYTES, Budget, UnreadableError
from lsp_server.context.git.index import Entry, Index, read_index
from lsp_server.context.git.objects import SHA_BYTES, Objects

_FOLDER: Final = 0o040000
_FILE_KINDS: Final = (0o100644, 0o100755, 0o100664)
_OTHER_FORMAT: Final = re.compile(r"^\s*(?:objectformat|refstorage|partialclone)\s*=\s*(?!sha1\b|files\b)", re.I | re.M)
_WORK_TREE: Final = re.compile(r"^\s*worktree\s*=\s*(.+?)\s*$", re.I | re.M)
_SHA: Final = re.compile(r"[0-9a-f]{40}")
# What a broken repository may raise, beside `UnreadableError`.
BROKEN: Final = (UnreadableError, OSError, ValueError, IndexError, struct.error, zlib.error, RecursionError)


@dataclass(frozen=True, slots=True)
class Change:
    """A file that the next commit changes: its path from the top, and its object before and after; None is no file."""

    path: str
    old: bytes | None
    new: bytes | None


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository by its folders: its own, that of all its work trees, and its files'."""

    git_dir: Path
    common_dir: Path
    work_tree: Path


def find_repository(git_dir: Path, budget: Budget) -> Repository:
    """Return the repository whose own folder this is, also that of a further work tree or a submodule.

    What leads out of the folders around it isn't followed. Raises one of `BROKEN`.
    """
    common_dir = git_dir
    if common := budget.text(git_dir / "commondir").strip():
        common_dir = (git_dir / common).resolve()
        if common_dir not in git_dir.parents:
            raise UnreadableError("the repository lies elsewhere")
    config = budget.text(common_dir / "config")
    if _OTHER_FORMAT.search(config) or not (common_dir / "objects").is_dir():
        raise UnreadableError("the repository is of a kind that is not read")
    if common_dir != git_dir:
        work_tree = Path(budget.text(git_dir / "gitdir").strip()).parent
    elif found := _WORK_TREE.search(config):
        work_tree = git_dir / found[1].strip('"')
    else:
        work_tree = git_dir.parent
    return Repository(git_dir, common_dir, work_tree.resolve())


def git_dir_of(work_tree: Path, budget: Budget) -> Path:
    """Return the folder of a work tree's repository, also where a file names it. Raises one of `BROKEN`.

    A file is followed only to a repository that names this work tree itself.
    """
    found = work_tree / ".git"
    if found.is_dir():
        return found.resolve()
    named = budget.text(found).removeprefix("gitdir:").strip()
    if not named:
        raise UnreadableError("no repository is here")
    git_dir = (work_tree / named).resolve()
    if find_repository(git_dir, budget).work_tree != work_tree:
        raise UnreadableError("the repository is another folder's")
    return git_dir


def staged_changes(repository: Repository, objects: Objects, budget: Budget) -> list[Change]:
    """Return what the next commit changes, by path; files in conflict are left out. Raises one of `BROKEN`."""
    index = read_index(budget.read(index_file(repository.git_dir), MAX_INDEX_BYTES))
    head = _head(repository, budget)
    tree = None if head is None else _tree_of(objects.read(head, "commit"))
    found = {change.path: change for change in _compare(index, objects, tree, budget)}
    return [found[path] for path in sorted(found)]


def index_file(git_dir: Path) -> Path:
    """Return the index of the commit under way: `git commit` with paths or `-a` keeps it apart while an editor runs."""
    kept_apart = [*sorted(git_dir.glob("next-index-*.lock")), git_dir / "index.lock"]
    return next((file for file in kept_apart if file.is_file() and file.stat().st_size), git_dir / "index")


def _head(repository: Repository, budget: Budget) -> bytes | None:
    """Return the last commit, None before the first one."""
    name = budget.read(repository.git_dir / "HEAD").decode("ascii").strip()
    for _ in range(5):
        if _SHA.fullmatch(name):
            return bytes.fromhex(name)
        reference = name.removeprefix("ref:").strip()
        if reference == name or not reference.startswith("refs/") or ".." in reference:
            raise UnreadableError("the last commit is not known")
        if not (name := budget.text(repository.common_dir / reference).strip()):
            return _packed_reference(budget.text(repository.common_dir / "packed-refs"), reference)
    raise UnreadableError("the last commit is not known")


def _packed_reference(packed: str, reference: str) -> bytes | None:
    for line in packed.splitlines():
        sha, _, name = line.partition(" ")
        if name == reference and _SHA.fullmatch(sha):
            return bytes.fromhex(sha)
    return None


def _tree_of(commit: bytes) -> bytes:
    found = re.match(rb"tree ([0-9a-f]{40})\n", commit)
    if not found:
        raise UnreadableError("a commit has no tree")
    return bytes.fromhex(found[1].decode())


def _compare(index: Index, objects: Objects, tree: bytes | None, budget: Budget) -> Iterator[Change]:
    """Yield the changes between a tree and the index; folders that are known to be the same are not looked into."""
    by_folder: dict[bytes, dict[bytes, Entry]] = {}
    for path, entry in index.files.items():
        folder, _, name = path.rpartition(b"/")
        by_folder.setdefault(folder, {})[name] = entry
    budget.spend(0)
    # Of each folder, whether it was looked into; none of one that is new.
    is_looked_into: dict[bytes, bool] = {}
    waiting = [(b"", tree)] if tree is not None else []
    while waiting:
        folder, sha = waiting.pop()
        is_looked_into[folder] = index.trees.get(folder) != sha
        if not is_looked_into[folder]:
            continue
        now = by_folder.get(folder, {})
        before = dict(_entries(objects.read(sha, "tree")))
        waiting += [(_join(folder, name), old.sha) for name, old in before.items() if old.mode == _FOLDER]
        files = {name: old for name, old in before.items() if old.mode != _FOLDER}
        for name in files.keys() | now.keys():
            yield from _change(_join(folder, name), files.get(name), now.get(name), index)
    for folder, files in by_folder.items():
        if folder not in is_looked_into and _is_new(folder, is_looked_into):
            for name, entry in files.items():
                yield from _change(_join(folder, name), None, entry, index)


def _join(folder: bytes, name: bytes) -> bytes:
    return folder + b"/" + name if folder else name


def _is_new(folder: bytes, is_looked_into: dict[bytes, bool]) -> bool:
    while folder and folder not in is_looked_into:
        folder = folder.rpartition(b"/")[0]
    return is_looked_into.get(folder, True)


def _change(path: bytes, old: Entry | None, new: Entry | None, index: Index) -> Iterator[Change]:
    """Yield the change of a file, if it is one; links, submodules and files in conflict are passed over."""
    entries = [entry for entry in (old, new) if entry is not None]
    is_same = old is not None and new is not None and old.sha == new.sha
    is_inside = {b"", b".", b"..", b".git"}.isdisjoint(path.split(b"/"))
    if is_same or not is_inside or path in index.conflicts or not all(entry.mode in _FILE_KINDS for entry in entries):
        return
    yield Change(path.decode("utf-8", "replace"), old.sha if old else None, new.sha if new else None)


def _entries(tree: bytes) -> Iterator[tuple[bytes, Entry]]:
    at = 0
    while at < len(tree):
        space, end = tree.index(b" ", at), tree.index(b"\0", at)
        after = end + 1 + SHA_BYTES
        yield tree[space + 1 : end], Entry(int(tree[at:space], 8), tree[end + 1 : after])
        at = after
