"""Keys and values on disk: whatever lies there, an answer is that of a cold run, and nothing else can read them."""

from __future__ import annotations

import logging
import os
import stat
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decoding.completion.completion import prompt_tokens
from decoding.completion.kept_caches import KeptCaches, open_kept
from decoding.completion.sessions import Session, SessionPool
from decoding.kv_cache import BLOCK
from decoding.models.loading.model_set import ModelSet
from decoding.models.probing.fingerprint import fingerprint
from decoding.protocol import CompletionRequest, ContextFile
from decoding.service import keeping
from decoding.service.jobs import EngineState, Job, Mailbox
from decoding.storage.kept_blocks import KeptBlocks, folder, kept_bytes, name_of, remove_kept
from tests.decoding.test_reading import LINES, Client, at, cold, trunk

FORMS = [("llama", "bfloat16"), ("llama", "int4"), ("llama", "bfloat16, torch"), ("qwen2", "float32")]
PLENTY = 1 << 30


def kept_trunk(lines: list[str]) -> CompletionRequest:
    request = trunk(lines)
    return replace(request, tabcast=replace(request.tabcast, keep=True))


def started(models: ModelSet, weights: Path, max_bytes: int = PLENTY) -> Client:
    """An engine that has just been started, with what is on disk."""
    kept = open_kept(models.target, weights, 1, max_bytes)
    pool = SessionPool(models, max_sessions=9, budget_bytes=1 << 40)
    pool.kept = kept
    client = Client(models, pool)
    client.worker._speed.token_ms = 1.0
    client.worker._speed.learn = lambda *_: None  # type: ignore[method-assign]
    return client


def settle(client: Client) -> None:
    """Let it do all it has to, and write all that waits."""
    client.settle()
    while client.worker._to_read is not None or client.worker._keeping.wait_s is not None:
        client.worker.turn([])
        if client.worker._keeping._writing is not None:
            time.sleep(0.001)


def read_and_kept(models: ModelSet, weights: Path, lines: list[str]) -> None:
    client = started(models, weights)
    client.worker.turn([client.job(kept_trunk(lines))[0]])
    settle(client)


def files() -> list[Path]:
    return sorted(folder().glob("*.kv"))


@pytest.mark.parametrize(("family", "form"), FORMS)
def test_after_a_restart_a_document_is_not_read_again(
    pairs: dict[tuple[str, str], ModelSet], family: str, form: str, tmp_path: Path
) -> None:
    models, lines = pairs[family, form], list(LINES[:9])
    read_and_kept(models, tmp_path, lines)
    request = at(lines, 8)
    num_read = len(prompt_tokens(models, replace(request, suffix="")).ids)
    stats = started(models, tmp_path).ask(request)
    assert stats.cached_tokens >= num_read - BLOCK - 4 > BLOCK
    assert stats.token_ids == cold(models, request)
    assert not any(line.encode()[:20] in file.read_bytes() for file in files() for line in lines)


@pytest.mark.parametrize(("family", "form"), FORMS[:3])
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_whatever_happened_to_the_files_and_the_text_an_answer_is_that_of_a_cold_run(
    pairs: dict[tuple[str, str], ModelSet], family: str, form: str, data: st.DataObject, tmp_path_factory: Any
) -> None:
    models, lines = pairs[family, form], list(LINES)
    weights = tmp_path_factory.mktemp("weights")
    remove_kept()
    client = started(models, weights)
    for _ in range(data.draw(st.integers(2, 6))):
        what = data.draw(
            st.sampled_from(["keep", "keep", "edit", "restart", "ask", "hurry", "damage", "remove", "small"])
        )
        line = data.draw(st.integers(0, len(lines)))
        if what == "keep":
            client.worker.turn([client.job(kept_trunk(lines))[0]])
            settle(client)
        elif what == "edit":
            lines[line:line] = ["edited = 1\n"]
        elif what in ("restart", "small"):
            most = PLENTY if what == "restart" else data.draw(st.integers(1, 1 << 18))
            client = started(models, weights, most)
        elif what in ("damage", "remove") and files():
            file = data.draw(st.sampled_from(files()))
            spoil(file, data) if what == "damage" else file.unlink()
        hurry: dict[str, Any] = {"latency_ms": 60, "least_prefix": 40, "least_suffix": 30} if what == "hurry" else {}
        request = at(lines, line, data.draw(st.sampled_from(["", "va"])), **hurry)
        answer, prompt = client.ask_noting(request)
        assert answer.token_ids == cold(models, request, prompt)
        for _ in range(data.draw(st.integers(0, 2))):
            client.worker.turn([])


def spoil(file: Path, data: st.DataObject) -> None:
    content = bytearray(file.read_bytes())
    where = data.draw(st.integers(0, len(content) - 1))
    what = data.draw(st.sampled_from(["flip", "cut", "longer", "empty", "another's"]))
    if what == "flip":
        content[where] ^= 1 << data.draw(st.integers(0, 7))
    elif what == "another's":
        content = bytearray(data.draw(st.sampled_from(files())).read_bytes())
    else:
        content = {"cut": content[:where], "longer": content + b"\0", "empty": bytearray()}[what]
    file.write_bytes(content)


def test_a_damaged_block_is_a_miss_and_is_removed(
    llama: ModelSet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = list(LINES[:9])
    read_and_kept(llama, tmp_path, lines)
    sizes = [file.stat().st_size for file in files()]
    assert len(sizes) > 2
    client = started(llama, tmp_path)
    for file in files():
        content = file.read_bytes()
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    request = at(lines, 8)
    with caplog.at_level(logging.WARNING):
        stats = client.ask(request)
    assert "is damaged" in caplog.text
    assert stats.cached_tokens == 0
    assert stats.token_ids == cold(llama, request)
    assert len(files()) == len(sizes) - 1  # those behind the missing one are never read


def test_only_a_trunk_that_says_so_is_kept(llama: ModelSet, tmp_path: Path) -> None:
    lines = list(LINES[:9])
    client = started(llama, tmp_path)
    client.worker.turn([client.job(trunk(lines))[0]])
    settle(client)
    place = at(lines, 8, prepare="place", keep=True)
    client.worker.turn([client.job(place)[0]])
    settle(client)
    client.ask(at(lines, 8, keep=True))
    settle(client)
    assert files() == []
    client.worker.turn([client.job(kept_trunk(lines))[0]])
    settle(client)
    assert files()
    assert client.worker._state.health.cache_on_disk_mb == round(kept_bytes() / 1e6, 3)


def test_a_request_in_a_hurry_goes_without_context_where_the_document_alone_is_on_disk(
    llama: ModelSet, tmp_path: Path
) -> None:
    lines = list(LINES[:9])
    read_and_kept(llama, tmp_path, lines)
    request = at(
        lines,
        8,
        latency_ms=300,
        least_prefix=40,
        least_suffix=30,
        context=(ContextFile(path="b.py", text="other = 1\n" * 8),),
    )
    client = started(llama, tmp_path)
    answer, prompt = client.ask_noting(request)
    assert answer.cached_tokens >= 2 * BLOCK
    assert answer.token_ids == cold(llama, request, prompt)
    client.settle()  # then the whole is read
    again = client.ask(request)
    assert again.prompt_tokens == len(prompt_tokens(llama, request).ids)


def test_another_model_other_threads_or_other_files_find_nothing(
    pairs: dict[tuple[str, str], ModelSet], llama: ModelSet, tmp_path: Path
) -> None:
    weights = tmp_path / "model.gguf"
    weights.write_bytes(b"1")
    known = fingerprint(llama.target, weights, 2)
    assert known == fingerprint(llama.target, weights, 2)
    assert known != fingerprint(llama.target, weights, 3)
    assert known != fingerprint(pairs["llama", "int4"].target, weights, 2)
    assert known != fingerprint(pairs["qwen2", "float32"].target, weights, 2)
    weights.write_bytes(b"22")
    assert known != fingerprint(llama.target, weights, 2)
    assert fingerprint(pairs["mamba", "float32"].target, weights, 2) == ""  # can't be rolled back
    assert open_kept(llama.target, weights, 2, 0) is None


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no owners and modes")
def test_the_files_are_the_users_alone_and_a_folder_of_others_is_not_used(
    llama: ModelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lines = list(LINES[:9])
    read_and_kept(llama, tmp_path, lines)
    assert stat.S_IMODE(folder().stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in files()} == {0o600}
    files()[0].chmod(0o644)
    for file in files():
        file.chmod(0o644)
    assert started(llama, tmp_path).ask(at(lines, 8)).cached_tokens == 0  # others could have written them
    elsewhere = tmp_path / "theirs"
    elsewhere.mkdir()
    (tmp_path / "link").symlink_to(elsewhere)
    monkeypatch.setenv("TABCAST_KEPT_CACHES", str(tmp_path / "link"))
    with caplog.at_level(logging.WARNING):
        assert open_kept(llama.target, tmp_path, 1, PLENTY) is None
    assert "not kept on disk" in caplog.text


def test_the_least_recently_used_go_first_and_never_the_beginning_of_what_is_written(tmp_path: Path) -> None:
    blocks = KeptBlocks(tmp_path / "kept", 900)
    for name in ("a1", "a2", "b1"):
        assert blocks.write(name, bytes(200))
    blocks.note_use(["a1", "a2"])
    assert blocks.write("b2", bytes(200), ["b1", "b2"])
    assert [name for name in ("a1", "a2", "b1", "b2") if name in blocks] == ["a1", "b1", "b2"]
    assert not blocks.write("b3", bytes(900), ["b1", "b2", "b3"])
    assert "b1" in blocks
    assert "b2" in blocks
    assert sum(file.stat().st_size for file in (tmp_path / "kept").iterdir()) <= 900
    assert blocks.read("b1") == bytes(200)
    # Another engine's blocks count, too, and what it removed is no error.
    other = KeptBlocks(tmp_path / "kept", 900)
    other.forget("b1")
    assert blocks.read("b1") is None
    assert "b1" not in blocks


def test_a_full_or_failing_disk_ends_the_keeping_and_nothing_else(
    llama: ModelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lines, client = list(LINES[:9]), started(llama, tmp_path)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("decoding.storage.kept_blocks.write_private", fail)
    client.worker.turn([client.job(kept_trunk(lines))[0]])
    settle(client)
    assert "no longer kept" in caplog.text
    request = at(lines, 8)
    assert client.ask(request).token_ids == cold(llama, request)


def test_so_many_bytes_a_minute_are_written_and_only_when_nothing_else_is_to_be_done(
    llama: ModelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    kept = open_kept(llama.target, tmp_path, 1, PLENTY)
    pool = SessionPool(llama, max_sessions=9, budget_bytes=1 << 40)
    pool.kept = kept
    client = Client(llama, pool)
    size = llama.target.new_cache().store.block_bytes(0)
    monkeypatch.setattr(keeping, "BYTES_A_MINUTE", len(size))
    client.worker._keeping = keeping.Keeping(pool, EngineState(), lambda: clock[0])
    lines = list(LINES[:9])
    client.worker.turn([client.job(kept_trunk(lines))[0]])
    while client.worker.num_jobs:
        client.worker.turn([])
        assert not files()
    counts = []
    for clock[0] in (0.0, 1.0, 59.0, 61.0, 119.0, 185.0):
        while (wait_s := client.worker._keeping.wait_s) is not None and wait_s <= keeping.LOOK_S:
            client.worker.turn([])
        counts.append(len(files()))
    assert counts[0] == counts[1] >= 1
    assert counts[-1] > counts[0]
    assert all(count <= 2 + now for count, now in zip(counts, (0, 0, 0, 1, 1, 3), strict=True))


def test_an_idle_engine_wakes_for_a_job_while_it_waits_to_write() -> None:
    mailbox = Mailbox()
    assert mailbox.take(wait=True, at_most_s=0.01) == []
    job = Job(CompletionRequest(prompt="a"), lambda _: None)
    mailbox.put(job)
    assert mailbox.take(wait=True, at_most_s=60.0) == [job]


def test_removing_a_model_removes_what_was_kept_of_it(llama: ModelSet, tmp_path: Path) -> None:
    read_and_kept(llama, tmp_path / "one", list(LINES[:9]))
    read_and_kept(llama, tmp_path / "two", list(LINES[:9]))
    remove_kept(tmp_path / "one")
    assert files()
    assert all(file.name.startswith(name_of(tmp_path / "two")) for file in files())
    remove_kept()
    assert not files()


def test_a_cache_that_holds_more_is_left_as_it_is(llama: ModelSet, tmp_path: Path) -> None:
    lines = list(LINES[:9])
    read_and_kept(llama, tmp_path, lines)
    kept = open_kept(llama.target, tmp_path, 1, PLENTY)
    assert isinstance(kept, KeptCaches)
    ids = prompt_tokens(llama, trunk(lines)).ids
    session = Session(llama)
    session.cache.commit(ids, by_chunk=True)
    assert list(kept.restore(session.cache, ids)) == []
    assert len(session.cache) == len(ids)
