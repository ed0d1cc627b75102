"""What an engine keeps for its draft to learn from: bounded, private, off by default."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from decoding.completion.sessions import SessionPool
from decoding.config import EngineConfig
from decoding.models.loading.model_set import ModelSet, load_models
from decoding.protocol import CompletionRequest
from decoding.service.jobs import ChoiceDone, EngineState, Job
from decoding.service.worker import Worker
from decoding.storage import adaptation
from decoding.storage.adaptation import AdaptationFolder, AnswerLog, answer_log, is_same_place
from tests.decoding.test_server import Engine, post, start, wait_until
from tests.tiny_models import make_model

PROMPT = list(range(100, 160))


@pytest.fixture(autouse=True)
def online_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TABCAST_ONLINE_DIR", str(tmp_path / "online"))
    return tmp_path / "online"


@pytest.fixture
def home(tmp_path: Path) -> AdaptationFolder:
    return AdaptationFolder(tmp_path / "online" / "pair")


def test_of_one_place_the_longest_answer_is_kept(home: AdaptationFolder) -> None:
    ring = AnswerLog(home)
    ring.note(PROMPT, [1, 2, 3, 4])
    ring.note([*PROMPT, 1], [2, 3, 4, 5, 6, 7])
    ring.note([*PROMPT, 1, 2, 3], [4, 5, 6, 7])
    ring.note(PROMPT[::-1], [9, 9, 9, 9])
    ring.note([*PROMPT, 1, 2], [3])  # too short to learn from
    ring.flush()
    assert [written.answer_ids for written in home.read_answers()] == [[2, 3, 4, 5, 6, 7], [9, 9, 9, 9]]


@pytest.mark.parametrize(
    ("after", "is_same"),
    [
        (PROMPT, True),
        ([*PROMPT, 1, 2, 3], True),
        (PROMPT[:-3], True),
        ([*PROMPT[:30], 1, 2, *PROMPT[30:]], True),
        ([*PROMPT, *range(20)], False),
        (PROMPT[::-1], False),
        ([], False),
    ],
)
def test_prompts_of_one_place(after: list[int], is_same: bool) -> None:
    assert is_same_place(PROMPT, after) == is_same


def test_only_the_user_can_read_it(home: AdaptationFolder) -> None:
    ring = AnswerLog(home)
    ring.note(PROMPT, [1, 2, 3, 4])
    ring.flush()
    assert stat.S_IMODE(home.answers.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.folder.stat().st_mode) == 0o700


def _fill(ring: AnswerLog, count: int) -> None:
    for i in range(count):
        ring.note([i] * 40, [i] * 5)
    ring.flush()


def test_the_file_is_bounded_and_another_engine_counts_on(
    home: AdaptationFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adaptation, "MAX_ANSWERS", 5)
    _fill(AnswerLog(home), 23)
    _fill(AnswerLog(home), 7)
    assert len(home.answers.read_bytes().splitlines()) < 10
    assert [written.number for written in home.read_answers()] == [26, 27, 28, 29, 30]
    assert home.num_written() == 30
    assert stat.S_IMODE(home.answers.stat().st_mode) == 0o600
    assert [path.name for path in home.folder.iterdir()] == ["answers.jsonl"]


def test_a_long_prompt_is_kept_by_its_end(home: AdaptationFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adaptation, "MAX_TOKENS", 10)
    ring = AnswerLog(home)
    ring.note(PROMPT, [1, 2, 3, 4])
    ring.flush()
    (written,) = home.read_answers()
    assert (written.prompt_ids, written.answer_ids) == (PROMPT[-6:], [1, 2, 3, 4])


@pytest.mark.parametrize("line", ["[1, [2, 3], [4", '{"a": 1}', '[1, ["x"], [4]]', "[1, [2], []]", "null"])
def test_a_line_that_is_broken_is_passed_over(home: AdaptationFolder, line: str) -> None:
    _fill(AnswerLog(home), 3)
    with home.answers.open("a", encoding="ascii") as file:
        file.write(line)
    assert [written.number for written in home.read_answers()] == [1, 2, 3]
    assert home.num_written() == 3


def test_a_folder_that_cannot_be_written_ends_the_keeping_alone(
    home: AdaptationFolder, caplog: pytest.LogCaptureFixture
) -> None:
    home.folder.parent.mkdir()
    home.folder.write_text("in the way", encoding="ascii")
    _fill(AnswerLog(home), 3)
    assert len(caplog.records) == 1
    assert home.read_answers() == []


def test_other_models_and_other_files_have_another_home(tmp_path: Path) -> None:
    one, two = (make_model(tmp_path / name, "llama") for name in ("one", "two"))
    homes = {
        AdaptationFolder.of(one, two).folder,
        AdaptationFolder.of(two, one).folder,
        AdaptationFolder.of(one, one).folder,
    }
    make_model(tmp_path / "two", "llama", layers=3)
    assert len(homes | {AdaptationFolder.of(one, two).folder}) == 4


def _worker(models: ModelSet, ring: AnswerLog | None) -> Worker:
    pool = SessionPool(models, max_sessions=3, budget_bytes=1 << 30)
    return Worker(models, pool, EngineState(), max_running=3, ring=ring)


def _ask(worker: Worker, prompt: str, until: Callable[[list[object]], bool]) -> tuple[Job, list[object]]:
    events: list[object] = []
    job = Job(CompletionRequest(prompt=prompt, max_tokens=12), events.append)
    worker.turn([job])
    while not until(events):
        worker.turn([])
    return job, events


def test_the_worker_keeps_answers_finished_or_not(llama: ModelSet, home: AdaptationFolder) -> None:
    ring = AnswerLog(home)
    worker = _worker(llama, ring)
    _, events = _ask(worker, "def area(width, height):\n    return ", lambda _: worker.num_jobs == 0)
    (stats,) = (event.stats for event in events if isinstance(event, ChoiceDone))
    job, _ = _ask(worker, "class Shape:\n    def __init__(self, corners):\n        ", lambda seen: len(seen) >= 6)
    job.is_cancelled = True
    worker.turn([])
    ring.flush()
    first, second = home.read_answers()
    assert tuple(first.answer_ids) == stats.token_ids
    assert len(second.answer_ids) >= 6
    assert llama.tokenizer.decode(list(second.prompt_ids)).startswith("class Shape")


def test_a_request_that_ends_before_its_first_turn_is_not_kept(llama: ModelSet, home: AdaptationFolder) -> None:
    ring = AnswerLog(home)
    worker = _worker(llama, ring)
    for _ in range(2):
        _ask(worker, "def area(width, height):\n    return ", lambda _: worker.num_jobs == 0)
        job = Job(CompletionRequest(prompt="def area(width, height):\n    return ", max_tokens=12), lambda _: None)
        job.is_cancelled = True
        worker.turn([job])
        ring.flush()
    assert len(home.read_answers()) == 2


def test_nothing_is_kept_unless_the_users_settings_say_so(
    tiny_model: Path, tmp_path: Path, online_directory: Path
) -> None:
    pair = EngineConfig(model=str(tiny_model), draft=str(tiny_model))
    assert answer_log(pair) is None
    assert answer_log(EngineConfig(model=str(tiny_model), draft="none", online=True)) is None
    ring = answer_log(EngineConfig(model=str(tiny_model), draft=str(tiny_model), online=True))
    assert ring is not None
    assert not online_directory.exists()


@pytest.mark.parametrize("damage", ["", "config.json", "tokenizer.json", "model.safetensors"])
def test_the_engine_takes_the_adapted_draft_if_it_is_whole(tiny_model: Path, tmp_path: Path, damage: str) -> None:
    draft = make_model(tmp_path / "draft", "llama", seed=1, layers=1)
    adapted = make_model(AdaptationFolder.of(tiny_model, draft).draft, "llama", seed=2, layers=2)
    if damage:
        (adapted / damage).write_text("{", encoding="utf-8")
    config = EngineConfig(model=str(tiny_model), draft=str(draft), device="cpu", online=True)
    models, _ = load_models(config)
    assert models.draft is not None
    assert models.draft.shape.layers == (1 if damage else 2)
    assert bool(models.notices) == bool(damage)


def test_an_answer_takes_a_line(home: AdaptationFolder) -> None:
    _fill(AnswerLog(home), 1)
    assert json.loads(home.answers.read_text(encoding="ascii")) == [1, [0] * 40, [0] * 5]


@pytest.mark.parametrize("online", ["true", "false"])
def test_an_engine_keeps_what_it_answered_if_the_user_says_so(
    tiny_model: Path, tmp_path: Path, online_directory: Path, monkeypatch: pytest.MonkeyPatch, online: str
) -> None:
    monkeypatch.setenv("TABCAST_ONLINE", online)

    async def ask(engine: Engine) -> None:
        await wait_until(engine, "ready")
        async with aiohttp.ClientSession() as client:
            status, _ = await post(client, engine, prompt="def area(width, height):\n    return ", max_tokens=12)
        assert status == 200

    with start(tmp_path / "run", "--model", str(tiny_model), "--draft", str(tiny_model)) as engine:
        engine.wait_for_address()
        asyncio.run(ask(engine))
    answers = AdaptationFolder.of(tiny_model, tiny_model).read_answers()
    assert len(answers) == (online == "true")
    assert online_directory.exists() == (online == "true")
