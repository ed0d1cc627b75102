"""Who has a key: what is kept of it, who may read that, and what each may use."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from decoding.errors import ConfigError
from decoding.service.limits import Budget, Limits
from decoding.storage.team_keys import TeamKey, find_key, hash_of, new_key, read_keys, revoke_key


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "keys.json"


def test_a_key_is_shown_once_and_only_its_hash_is_kept(path: Path) -> None:
    key = new_key(path, "anna", concurrent=2)
    assert len(key) > 40
    assert key not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (kept,) = read_keys(path)
    assert (kept.name, kept.sha256, kept.concurrent, kept.right) == ("anna", hash_of(key), 2, "completions")
    assert find_key([kept], key) is kept
    for wrong in ("", key[:-1], key.upper(), "ä" * 40, "\udcff"):
        assert find_key([kept], wrong) is None


def test_keys_are_revoked_by_name(path: Path) -> None:
    for name in ("anna", "berta"):
        new_key(path, name)
    revoke_key(path, "anna")
    assert [key.name for key in read_keys(path)] == ["berta"]
    with pytest.raises(ConfigError, match="nobody of the name anna"):
        revoke_key(path, "anna")
    assert new_key(path, "anna")
    with pytest.raises(ConfigError, match="anna has a key already"):
        new_key(path, "anna")


@pytest.mark.parametrize("name", ["", "a b", 'a"', "a\n", "-a", "a" * 65, "ä", "../a"])
def test_a_name_stands_in_logs_and_figures(path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="can't be a name"):
        new_key(path, name)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o602])
def test_a_file_that_others_can_read_is_refused(path: Path, mode: int) -> None:
    new_key(path, "anna")
    path.chmod(mode)
    for touch in (read_keys, lambda file: new_key(file, "berta")):
        with pytest.raises(ConfigError, match="chmod 600"):
            touch(path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "damaged"),
        ("[" * 100_000, "damaged"),
        ("[]", "expected an object"),
        ('{"keys": 3}', "expected a list"),
        ('{"keys": [{"name": "a"}]}', "sha256"),
        ('{"keys": [{"name": "a b", "sha256": "' + "0" * 64 + '"}]}', "name"),
        ('{"keys": [{"name": "a", "sha256": "a-key-in-the-clear"}]}', "expected the hash"),
        ('{"keys": [{"name": "a", "sha256": "' + "0" * 64 + '", "concurrent": -1}]}', "concurrent"),
    ],
)
def test_a_damaged_file_is_told_in_one_line(tmp_path: Path, content: str, told: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=told) as caught:
        read_keys(path)
    assert "\n" not in str(caught.value)
    assert "a-key-in-the-clear" not in str(caught.value)


def test_a_folder_and_an_absent_file_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no plain file"):
        read_keys(tmp_path)
    with pytest.raises(ConfigError, match="tabcast engine key new"):
        read_keys(tmp_path / "absent")
    (tmp_path / "a").write_text("")
    with pytest.raises(ConfigError, match="can't be written"):
        new_key(tmp_path / "a" / "keys.json", "anna")


def test_the_command_makes_lists_and_revokes(path: Path) -> None:
    def tabcast(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-m", "lsp_server", "engine", "key", *arguments, "--keys", str(path)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=dict(os.environ))

    made = tabcast("new", "anna", "--tokens-per-minute", "500")
    key = made.stdout.strip()
    assert made.returncode == 0
    assert find_key(read_keys(path), key) is not None
    assert key not in made.stderr
    listed = tabcast("list", "--json")
    assert [entry["name"] for entry in json.loads(listed.stdout)] == ["anna"]
    assert hash_of(key) not in listed.stdout
    assert tabcast("revoke", "anna").returncode == 0
    again = tabcast("revoke", "anna")
    assert again.returncode == 2
    assert again.stderr.count("\n") == 1


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_minutes_requests_may_come_at_once_and_come_back_slowly() -> None:
    clock = Clock()
    budget = Budget(Limits(requests_per_minute=3, tokens_per_minute=0, concurrent=0), clock)
    assert [budget.begin() for _ in range(3)] == [None] * 3
    refused = budget.begin()
    assert refused is not None
    assert refused.retry_s == 20
    clock.now_s = 19.0
    assert budget.begin() is not None
    clock.now_s = 20.0
    assert budget.begin() is None


def test_tokens_are_charged_afterwards() -> None:
    clock = Clock()
    budget = Budget(Limits(requests_per_minute=0, tokens_per_minute=60, concurrent=0), clock)
    assert budget.begin() is None
    budget.charge(180)
    refused = budget.begin()
    assert refused is not None
    assert refused.retry_s == 121
    clock.now_s = 121.0
    assert budget.begin() is None


def test_so_many_requests_run_at_one_time() -> None:
    budget = Budget(Limits(requests_per_minute=0, tokens_per_minute=0, concurrent=2))
    assert [budget.begin(), budget.begin()] == [None, None]
    refused = budget.begin()
    assert refused is not None
    assert "2 requests under way" in refused.reason
    budget.end()
    assert budget.begin() is None


def test_a_key_has_limits_of_its_own_that_may_change() -> None:
    limits = Limits(requests_per_minute=10).of(TeamKey(name="a", sha256="", requests_per_minute=0, concurrent=1))
    assert (limits.requests_per_minute, limits.concurrent) == (0, 1)
    clock = Clock()
    budget = Budget(Limits(requests_per_minute=0, tokens_per_minute=0), clock)
    budget.charge(10**6)
    budget.change(Limits(requests_per_minute=2, tokens_per_minute=5))
    assert budget.begin() is None
    assert budget.begin() is None
    assert budget.begin() is not None
    budget.change(Limits(requests_per_minute=3, tokens_per_minute=5))
    assert budget.begin() is None
