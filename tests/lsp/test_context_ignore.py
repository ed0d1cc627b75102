"""Which files may be read, and which pattern says that one may not."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from lsp_server.context.files import MAX_FILE_BYTES, OUTSIDE, Workspace
from lsp_server.context.ignore import secret_reason


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


@pytest.mark.parametrize(
    "name",
    [
        *(".env", ".env.local", "prod.env", "server.pem", "tls.KEY", "id_rsa", "id_ed25519.pub", "credentials"),
        *(".netrc", ".pypirc", ".npmrc", "kubeconfig", "secrets.yaml", "secrets.sh", "app-credentials.json"),
        *("my_secrets.toml", ".aws/config", ".ssh/config", "home/.kube/config", "terraform.tfstate", "vault.kdbx"),
        *("ca.crt", ".bash_history", "secrets.test.yml", ".ssh/secrets.py", ".secrets.py"),
    ],
)
def test_files_that_hold_secrets_by_their_name(name: str) -> None:
    assert secret_reason(Path("some/folder") / name).endswith("(built in)")


@pytest.mark.parametrize(
    "name",
    [
        *(
            "app.py",
            "env.py",
            "keys.py",
            "id_generator.py",
            "credentials.py",
            "secret_santa.py",
            ".env.example",
            "a.md",
        ),
        *("secrets.py", "Secrets.java", "secrets.go", "secrets.ts"),
    ],
)
def test_files_that_only_sound_so(name: str) -> None:
    assert secret_reason(Path(name)) == ""


CASES = [
    # rule files, path, the pattern and where it stands
    ({".gitignore": "*.log\n!keep.log\n"}, "a/x.log", "*.log (.gitignore)"),
    ({".gitignore": "*.log\n!keep.log\n"}, "a/keep.log", ""),
    ({".gitignore": "# note\n\n  \n/top.py\n"}, "top.py", "/top.py (.gitignore)"),
    ({".gitignore": "/top.py\n"}, "a/top.py", ""),
    ({".gitignore": "gen/\n", "gen/.gitignore": "!*.py\n"}, "gen/a.py", "gen/ (.gitignore)"),
    ({".gitignore": "*.py\n", "a/.gitignore": "!b.py\n"}, "a/b.py", ""),
    ({"a/.gitignore": "b.py\n"}, "a/b.py", "b.py (a/.gitignore)"),
    ({"a/.gitignore": "/b.py\n"}, "a/c/b.py", ""),
    ({".gitignore": "a/**/z.py\n"}, "a/b/c/z.py", "a/**/z.py (.gitignore)"),
    ({".gitignore": "!\n[\nx.py\n"}, "x.py", "x.py (.gitignore)"),
    ({".tabcastignore": "private/\n"}, "private/a.py", "private/ (.tabcastignore)"),
    ({".gitignore": "gen/\n", ".tabcastignore": "!gen/\n"}, "gen/a.py", ""),
    ({"a/.gitignore": "b.py\n", ".tabcastignore": "!b.py\n"}, "a/b.py", ""),
    ({".tabcastignore": "!.env\n!*\n"}, ".env", ".env (built in)"),
    ({".git/info/exclude": "notes.py\n"}, "notes.py", "notes.py (.git/info/exclude)"),
    ({}, "node_modules/x/index.js", "node_modules/ (built in)"),
    ({".tabcastignore": "!build/\n"}, "build/a.py", ""),
    ({}, "static/app.min.js", "*.min.* (built in)"),
    ({"env/pyvenv.cfg": ""}, "env/lib/a.py", "a virtual environment (built in)"),
    ({}, ".ssh/x.py", ".ssh/ (built in)"),
    ({}, "src/app.py", ""),
]


@pytest.mark.parametrize(("rules", "name", "expected"), CASES)
def test_rules(tmp_path: Path, rules: dict[str, str], name: str, expected: str) -> None:
    tree(tmp_path, {name: "x = 1\n", **rules})
    workspace = Workspace([tmp_path])
    assert workspace.reason(tmp_path / name) == expected
    assert workspace.document_reason(tmp_path / name) == expected
    assert (workspace.read(tmp_path / name) is None) == bool(expected)
    walked = {file.relative_to(tmp_path).as_posix() for file in workspace.walk() if file}
    assert (name in walked) == (not expected)


@pytest.mark.parametrize(("rules", "name", "expected"), [case for case in CASES if ".tabcastignore" not in case[0]])
def test_git_agrees(tmp_path: Path, rules: dict[str, str], name: str, expected: str) -> None:
    """Git is asked in the test only; the program never runs it."""
    if "built in" in expected:
        pytest.skip("git has no built-in list")
    tree(tmp_path, {name: "x = 1\n", **rules})
    try:
        subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    except FileNotFoundError:
        pytest.skip("no git")
    for rule_file, text in rules.items():  # `git init` wrote its own `info/exclude`
        (tmp_path / rule_file).write_text(text, encoding="utf-8")
    code = subprocess.run(["git", "-C", tmp_path, "check-ignore", "--quiet", name], check=False).returncode
    assert (code == 0) == bool(expected)


def test_a_message_for_git_is_a_document_and_no_context(tmp_path: Path) -> None:
    tree(tmp_path, {".git/COMMIT_EDITMSG": "Add ", ".git/config": "", "COMMIT_EDITMSG.py": ""})
    workspace = Workspace([tmp_path])
    assert workspace.document_reason(tmp_path / ".git" / "COMMIT_EDITMSG") == ""
    assert workspace.document_reason(tmp_path / ".git" / "config") == ".git/ (built in)"
    assert workspace.read(tmp_path / ".git" / "COMMIT_EDITMSG") is None


def test_the_rules_of_the_repository_around_a_root_hold(tmp_path: Path) -> None:
    tree(tmp_path, {".git/HEAD": "", ".gitignore": "gen.py\n", "inner/gen.py": "", "inner/app.py": ""})
    workspace = Workspace([tmp_path / "inner"])
    assert workspace.reason(tmp_path / "inner" / "gen.py") == "gen.py (.gitignore)"
    assert workspace.reason(tmp_path / "inner" / "app.py") == ""


def test_changed_rules_hold_at_once(tmp_path: Path) -> None:
    tree(tmp_path, {".gitignore": "b.py\n", "a.py": ""})
    workspace = Workspace([tmp_path])
    assert workspace.reason(tmp_path / "a.py") == ""
    tree(tmp_path, {".gitignore": "b.py\na.py\n"})
    assert workspace.reason(tmp_path / "a.py") == "a.py (.gitignore)"


def test_rules_are_read_once_for_what_is_judged_together(tmp_path: Path) -> None:
    tree(tmp_path, {".gitignore": "b.py\n", "a.py": "", "in/b.py": ""})
    workspace = Workspace([tmp_path])
    with workspace.at_one_moment():
        assert workspace.reason(tmp_path / "a.py") == ""
        tree(tmp_path, {".gitignore": "a.py\n"})
        assert workspace.reason(tmp_path / "a.py") == ""
        assert workspace.reason(tmp_path / "in" / "b.py") == "b.py (.gitignore)"
    assert workspace.reason(tmp_path / "a.py") == "a.py (.gitignore)"


@pytest.mark.parametrize(
    ("rules", "name", "is_ignored"),
    [
        ("*a*a*a*a*a*a*a*a*a*a*b\n", "a" * 250, False),
        ("*a*a*a*a*b\n", "aaaab", True),
        ("*a*a*a*a*b\n", "b", True),  # more is ignored than the rule says, and not less
        ("[a]*a*a*a*a*a*b\n", "x", True),
        ("*.py\n!*a*a*a*a*a*.py\n", "aaaaa.py", True),
        ("**/**/**/**/**/**/**/b\n", "/".join("a" * 60), False),
        ("x/**/y/**/**/**/**/b\n", "x/c/b", True),
    ],
)
def test_no_rule_takes_for_ever(tmp_path: Path, rules: str, name: str, is_ignored: bool) -> None:
    """A workspace is not trusted, and one expression that tries all ways would hold up the whole process."""
    tree(tmp_path, {".gitignore": rules})
    assert bool(Workspace([tmp_path]).document_reason(tmp_path / name)) == is_ignored


def test_nothing_outside_of_the_workspace_is_read(tmp_path: Path) -> None:
    tree(tmp_path, {"inside/app.py": "x", "outside.py": "y", "inside2/app.py": "z"})
    workspace = Workspace([tmp_path / "inside"])
    assert workspace.read(tmp_path / "inside" / "app.py")
    for name in ("outside.py", "inside2/app.py", "inside/../outside.py"):
        assert workspace.read(tmp_path / name) is None
        assert workspace.reason(tmp_path / name) == OUTSIDE
    assert Workspace([]).read(tmp_path / "outside.py") is None


@pytest.mark.parametrize("target", ["../outside.py", ".env", "gen/x.py", "loop.py"])
def test_links_are_judged_by_what_they_point_to(tmp_path: Path, target: str) -> None:
    root = tmp_path / "root"
    tree(tmp_path, {"outside.py": "y", "root/.env": "y", "root/gen/x.py": "y", "root/.gitignore": "gen/\n"})
    (root / "loop.py").symlink_to(target)
    assert Workspace([root]).read(root / "loop.py") is None


def test_a_link_within_the_workspace_is_read_and_a_linked_folder_not_walked(tmp_path: Path) -> None:
    tree(tmp_path, {"root/a.py": "a = 1", "elsewhere/b.py": "b = 1"})
    root = tmp_path / "root"
    (root / "link.py").symlink_to("a.py")
    (root / "folder").symlink_to("../elsewhere")
    (root / "again").symlink_to(".")
    workspace = Workspace([root])
    read = workspace.read(root / "link.py")
    assert read is not None
    assert read.text == "a = 1"
    assert [file for file in workspace.walk() if file] == [root / "a.py"]
    assert workspace.read(root / "folder" / "b.py") is None


def test_a_linked_root_is_the_folder_it_points_to(tmp_path: Path) -> None:
    tree(tmp_path, {"real/a.py": "a = 1"})
    (tmp_path / "linked").symlink_to("real")
    assert Workspace([tmp_path / "linked"]).read(tmp_path / "linked" / "a.py")


@pytest.mark.parametrize("data", [b"\0\1\2", b"\xff\xfe\xfa", b"x" * (MAX_FILE_BYTES + 1)])
def test_what_is_no_plain_text_of_bounded_size_is_not_read(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.py").write_bytes(data)
    assert Workspace([tmp_path]).read(tmp_path / "a.py") is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.py")
    assert Workspace([tmp_path]).read(tmp_path / "a.py") is None


def test_a_document_outside_is_judged_by_its_name_alone(tmp_path: Path) -> None:
    tree(tmp_path, {"root/a.py": "", "build/b.py": "", ".netrc": ""})
    workspace = Workspace([tmp_path / "root"])
    assert workspace.document_reason(tmp_path / "build" / "b.py") == ""
    assert workspace.document_reason(tmp_path / ".netrc") == ".netrc (built in)"
    assert workspace.document_reason(tmp_path / "not-yet-there.pem") == "*.pem (built in)"
