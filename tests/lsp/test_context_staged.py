"""What a commit is about to change, read from repositories that git made. Only the tests run git."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from lsp_server.context.git.bounded import Budget, UnreadableError
from lsp_server.context.git.objects import Objects
from lsp_server.context.snippets import EditorState, OpenDocument
from lsp_server.context.staged import MAX_STAGED_CHARS, StagedDiff
from lsp_server.context.worker import ContextWorker
from lsp_server.documents.store import Snapshot

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")

ENVIRON = {
    **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    **{f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}
LONG = "".join(f"def function_{number}(value):\n    return value + {number}\n\n\n" for number in range(60))


def git(folder: Path, *arguments: str, **environ: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env={**ENVIRON, **environ}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 or arguments[0] in ("merge", "commit"), done.stderr
    return done.stdout.strip()


def write(folder: Path, **texts: str) -> None:
    for name, text in texts.items():
        file = folder / name.replace("__", "/").replace("_py", ".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A repository with three commits, in which nothing is staged."""
    folder = (tmp_path / "work").resolve()
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    for number in range(3):
        text = LONG.replace("value + 30", f"value + 30 * {number}")
        write(folder, long_py=text, one_py="a = 1\n", deep__er__two_py="b = 2\n", deep__same_py="s = 0\n")
        git(folder, "add", "-A")
        git(folder, "commit", "-q", "-m", f"Commit {number}")
    return folder


def stage(folder: Path) -> None:
    """Change a line of a long file, add a file, delete one, move one."""
    write(folder, long_py=(folder / "long.py").read_text().replace("value + 30 * 2", "value * 30"), new_py="n = 1\n")
    (folder / "one.py").unlink()
    (folder / "deep" / "er" / "two.py").rename(folder / "deep" / "moved.py")
    git(folder, "add", "-A")


STAGED = [
    "@@ long.py @@\n def function_30(value):\n-    return value + 30 * 2\n+    return value * 30\n ",
    "@@ new.py @@ new\n+n = 1",
    "@@ one.py @@ deleted",
]


def state(git_dir: Path, max_chars: int = 24_000) -> EditorState:
    file = git_dir / "COMMIT_EDITMSG"
    file.touch()
    document = OpenDocument(
        uri=file.as_uri(), path=file.name, file=file, language="git-commit", revision=0, lines=("",), line=0
    )
    return EditorState(current=document, max_chars=max_chars)


def staged(git_dir: Path, max_chars: int = 24_000) -> list[str]:
    return [snippet.text for snippet in StagedDiff().snippets(state(git_dir, max_chars)) if snippet]


def nothing(_folder: Path) -> None:
    pass


def pack(folder: Path) -> None:
    git(folder, "gc", "-q", "--aggressive")
    assert list((folder / ".git" / "objects" / "pack").glob("*.pack"))
    assert not (folder / ".git" / "refs" / "heads" / "main").exists()


def pack_by_names(folder: Path) -> None:
    """As packs come over the wire: deltas name the object that they begin with."""
    names = git(folder, "rev-list", "--objects", "--all")
    pack = subprocess.run(
        ["git", "pack-objects", "--revs", "--all", "--no-delta-base-offset", ".git/objects/pack/pack"],
        cwd=folder,
        env=ENVIRON,
        input=b"",
        capture_output=True,
        check=True,
    )
    assert names
    assert pack
    git(folder, "prune-packed")


def detach(folder: Path) -> None:
    git(folder, "checkout", "-q", "--detach")


def newest_index(folder: Path) -> None:
    git(folder, "update-index", "--index-version", "4")


@pytest.mark.parametrize("before", [nothing, pack, pack_by_names, detach, newest_index])
@pytest.mark.parametrize("after", [nothing, lambda folder: git(folder, "write-tree"), newest_index])
def test_the_staged_change_is_read(
    made: Path, before: Callable[[Path], object], after: Callable[[Path], object]
) -> None:
    before(made)
    assert staged(made / ".git") == []
    stage(made)
    after(made)
    assert staged(made / ".git") == STAGED
    write(made, long_py="not staged\n")
    assert staged(made / ".git") == STAGED


def test_the_first_commit_adds_all(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    write(tmp_path, one_py="a = 1\n", deep__two_py="b = 2\n")
    git(tmp_path, "add", "-A")
    assert staged(tmp_path / ".git") == ["@@ deep/two.py @@ new\n+b = 2", "@@ one.py @@ new\n+a = 1"]


def test_a_file_and_a_folder_change_places(made: Path) -> None:
    shutil.rmtree(made / "deep")
    write(made, deep="file\n")
    (made / "one.py").unlink()
    (made / "one.py").mkdir()
    write(made, one_py__x="folder\n")
    git(made, "add", "-A")
    assert staged(made / ".git") == [
        "@@ deep @@ new\n+file",
        "@@ deep/er/two.py @@ deleted",
        "@@ deep/same.py @@ deleted",
        "@@ one.py @@ deleted",
        "@@ one.py/x @@ new\n+folder",
    ]


def test_a_further_work_tree_and_a_submodule(made: Path, tmp_path: Path) -> None:
    pack(made)
    git(made, "worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))
    stage(tmp_path / "side")
    assert staged(made / ".git" / "worktrees" / "side") == STAGED
    assert staged(made / ".git") == []
    above = tmp_path / "above"
    above.mkdir()
    git(above, "init", "-q")
    git(above, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(made), "sub")
    assert [text.split("\n")[0] for text in staged(above / ".git")] == ["@@ .gitmodules @@ new"]
    stage(above / "sub")
    assert staged(above / ".git" / "modules" / "sub") == STAGED


def of_input(uri: str) -> list[str]:
    snapshot = Snapshot(uri=uri, version=1, revision=0, language="scminput", lines=("",), encoding="utf-16")
    document = OpenDocument.of(snapshot, [])
    assert document.path == "input"
    found = StagedDiff().snippets(EditorState(current=document, max_chars=24_000))
    return [snippet.text for snippet in found if snippet]


def input_of(folder: Path) -> str:
    """Return the URI of VS Code's source-control input as its client writes it: the whole query is escaped again."""
    return "vscode-scm:git/scm0/input?" + quote("rootUri=" + quote(folder.as_uri(), safe=""), safe="")


def test_the_input_of_source_control_gets_the_staged_change(made: Path, tmp_path: Path) -> None:
    stage(made)
    folder = tmp_path / "ö 100%, a+b"
    made.rename(folder)
    assert of_input(input_of(folder)) == STAGED
    assert of_input("vscode-scm:git/scm0/input?rootUri=" + quote(folder.as_uri(), safe="")) == STAGED
    for other in ("vscode-scm:git/scm0/input", "vscode-scm:hg/scm0/input?rootUri=x", "vscode-scm:git/scm0/input?a=b"):
        assert of_input(other) == []
    assert of_input(input_of(tmp_path / "missing")) == []
    assert of_input(input_of(tmp_path)) == []


def test_the_input_of_a_further_work_tree_and_of_a_submodule(made: Path, tmp_path: Path) -> None:
    git(made, "worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))
    stage(tmp_path / "side")
    assert of_input(input_of(tmp_path / "side")) == STAGED
    assert of_input(input_of(made)) == []
    above = tmp_path / "above"
    above.mkdir()
    git(above, "init", "-q")
    git(above, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(made), "sub")
    stage(above / "sub")
    assert of_input(input_of(above / "sub")) == STAGED


def test_a_file_that_names_the_repository_of_another_folder_is_not_followed(made: Path, tmp_path: Path) -> None:
    stage(made)
    other = tmp_path / "other"
    other.mkdir()
    (other / ".git").write_text(f"gitdir: {made / '.git'}\n")
    assert of_input(input_of(other)) == []


def test_conflicts_and_what_is_only_intended_are_left_out(made: Path) -> None:
    git(made, "checkout", "-q", "-b", "side")
    write(made, one_py="a = 2\n", side_py="side\n")
    git(made, "add", "-A")
    git(made, "commit", "-q", "-m", "Side")
    git(made, "checkout", "-q", "main")
    write(made, one_py="a = 3\n")
    git(made, "commit", "-q", "-a", "-m", "Main")
    git(made, "merge", "-q", "side")
    assert git(made, "ls-files", "-u")
    assert staged(made / ".git") == ["@@ side.py @@ new\n+side"]
    write(made, intended_py="later\n")
    git(made, "add", "-N", "intended.py")
    assert staged(made / ".git") == ["@@ side.py @@ new\n+side"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), ["@@ new.py @@ new\n+n = 1"]),
        (("-a",), ["@@ new.py @@ new\n+n = 1", "@@ one.py @@\n-a = 1\n+a = 5"]),
        (("one.py",), ["@@ one.py @@\n-a = 1\n+a = 5"]),
    ],
)
def test_the_index_of_the_commit_under_way_counts(
    made: Path, tmp_path: Path, arguments: tuple[str, ...], expected: list[str]
) -> None:
    """While its editor runs, the folder is copied as it is then."""
    write(made, new_py="n = 1\n")
    git(made, "add", "-A")
    write(made, one_py="a = 5\n")
    git(made, "commit", *arguments, GIT_EDITOR=f"cp -r . {tmp_path / 'copy'} && false")
    assert staged(tmp_path / "copy" / ".git") == expected


def test_other_kinds_of_repositories_give_nothing(made: Path, tmp_path: Path) -> None:
    other = tmp_path / "sha256"
    other.mkdir()
    git(other, "init", "-q", "--object-format=sha256")
    write(other, one_py="a = 1\n")
    git(other, "add", "-A")
    assert staged(other / ".git") == []
    stage(made)
    git(made, "update-index", "--split-index")
    assert staged(made / ".git") == []


def test_what_is_no_commit_message_gets_nothing(made: Path) -> None:
    stage(made)
    view = state(made / ".git")
    for name in (".git/config", "COMMIT_EDITMSG", "one.py"):
        document = OpenDocument(uri="", path=name, file=made / name, language="", revision=0, lines=("",))
        assert list(StagedDiff().snippets(EditorState(current=document))) == []
    assert list(StagedDiff().snippets(view))


def test_ignored_files_links_and_what_is_no_text_are_left_out(made: Path) -> None:
    write(made, **{".gitignore": "hidden.py\n", ".env": "A=1\n"}, hidden_py="h = 1\n", shown_py="s = 1\n")
    (made / "link").symlink_to("/etc/passwd")
    (made / "picture").write_bytes(b"\x89PNG\0\0")
    (made / "large.py").write_text("x = 1\n" * 500_000)
    git(made, "add", "-A")
    git(made, "add", "-f", "hidden.py", ".env")
    assert [text for text in staged(made / ".git") if "\n+" in text] == [
        "@@ .gitignore @@ new\n+hidden.py",
        "@@ shown.py @@ new\n+s = 1",
    ]


def test_secrets_are_masked_and_nothing_else_is_sent(made: Path, tmp_path: Path) -> None:
    write(made, new_py='password = "hunter2hunter2"\n')
    git(made, "add", "-A")
    worker = ContextWorker()
    try:
        worker.start([made])
        found = worker.gather(state(made / ".git"), ()).result(60)
        write(made, new_py="other = 1\n")
        git(made, "add", "-A")
        again = worker.gather(state(made / ".git"), ()).result(60)
    finally:
        worker.close()
    assert [file.path for file in found] == ["staged.diff"]
    assert "hunter2" not in found[0].text
    assert '+password = "**************"' in found[0].text
    assert "+other = 1" in again[0].text


def test_the_change_of_many_files_is_bounded(made: Path) -> None:
    for number in range(100):
        write(made, **{f"many__{number}_py": "line\n" * 40})
    git(made, "add", "-A")
    assert sum(map(len, staged(made / ".git"))) <= MAX_STAGED_CHARS
    assert sum(map(len, staged(made / ".git", 1000))) <= 500


def test_broken_repositories_give_nothing_or_less(made: Path) -> None:
    """Whatever byte of whichever file is wrong, or wherever a file ends, nothing is raised."""
    pack(made)
    stage(made)
    git(made, "write-tree")
    files = [file for file in (made / ".git").rglob("*") if file.is_file() and "hooks" not in file.parts]
    chance = random.Random(7)
    for file in files:
        whole = file.read_bytes()
        file.chmod(0o644)
        for _ in range(12):
            at, data = chance.randrange(len(whole) + 1), bytearray(whole)
            if chance.random() < 0.3 or at == len(whole):
                del data[at:]
            else:
                data[at] = chance.randrange(256)
            file.write_bytes(data)
            staged(made / ".git")
        file.write_bytes(whole)
    assert staged(made / ".git") == STAGED
    for name in ("index", "HEAD", "objects"):
        lost = (made / ".git" / name).rename(made / "kept")
        assert staged(made / ".git") == []
        lost.rename(made / ".git" / name)
    (made / ".git" / "index").rename(made / "kept")
    (made / ".git" / "index").symlink_to(made / "kept")
    assert staged(made / ".git") == []


def test_reading_ends_when_its_time_or_bytes_are_used_up(made: Path) -> None:
    pack(made)
    blob = bytes.fromhex(git(made, "rev-parse", "HEAD:long.py"))
    clock = iter(range(1000))
    with pytest.raises(UnreadableError):
        Objects(made / ".git" / "objects", Budget(0.5, lambda: float(next(clock)))).read(blob, "blob")
    budget = Budget(60.0)
    budget.spend(32_000_000 - 100)
    with pytest.raises(UnreadableError):
        Objects(made / ".git" / "objects", budget).read(blob, "blob")
    assert (
        Objects(made / ".git" / "objects", Budget(60.0)).read(blob, "blob").decode() == (made / "long.py").read_text()
    )


def test_every_object_is_read_as_git_reads_it(made: Path) -> None:
    pack(made)
    stage(made)
    for line in git(made, "cat-file", "--batch-check", "--batch-all-objects").splitlines():
        sha, kind, size = line.split()
        data = Objects(made / ".git" / "objects", Budget(60.0)).read(bytes.fromhex(sha), kind)
        assert len(data) == int(size)
        if kind == "blob":
            assert data.decode().strip() == git(made, "cat-file", "blob", sha)
