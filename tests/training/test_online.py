"""A draft that adapts to its user: it gets better, or nothing changes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from transformers import PreTrainedModel

from decoding.__main__ import main
from decoding.config import EngineConfig
from decoding.errors import TabcastError
from decoding.models.loading.model_set import load_models
from decoding.storage.adaptation import AdaptationFolder, AnswerLog
from decoding.training import distill, online, samples
from decoding.training.checkpoint import TrainingError
from decoding.training.corpus import SourceFile
from decoding.training.draft import load_model
from decoding.training.export import export
from tests.tiny_models import make_model
from tests.training.conftest import new_small_model

EFFORT = online.Effort(steps=60, rate_scale=1.0)
HARMFUL = online.Effort(steps=6, rate_scale=100.0)
IDLE = online.Effort(steps=2, rate_scale=0.0)


@pytest.fixture(autouse=True)
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TABCAST_ONLINE_DIR", str(tmp_path / "online"))
    monkeypatch.setattr(online, "ROW_LEN", 96)


@pytest.fixture
def draft(target: Path, form: samples.SampleFormat, tmp_path: Path) -> Path:
    export(new_small_model(form, layers=1), target, tmp_path / "draft")
    return tmp_path / "draft"


@pytest.fixture
def home(target: Path, draft: Path, form: samples.SampleFormat, files: list[SourceFile]) -> AdaptationFolder:
    """With what the target writes at places of the files."""
    home = AdaptationFolder.of(target, draft)
    ring = AnswerLog(home)
    feed = samples.Samples(files, form, row_len=64, seed=3)
    prompts = torch.from_numpy(feed.batch(60))
    answers = distill.continue_greedily(load_model(target, "cpu"), prompts, 16)
    for prompt, answer in zip(prompts.tolist(), answers.tolist(), strict=True):
        ring.note(prompt, answer)
    ring.flush()
    return home


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _agreement(folder: Path, home: AdaptationFolder) -> float:
    return online.agreement(load_model(folder, "cpu"), home.read_answers()[-12:]).share


def test_the_draft_learns_and_the_engine_takes_it(target: Path, draft: Path, home: AdaptationFolder) -> None:
    before = _files(target), _files(draft)
    made = online.adapt(home, target, draft, EFFORT)
    assert (made.kept, made.num_learnt_from, made.num_held_out, made.steps) == ("after", 48, 12, 60)
    assert made.after.share > made.before.share == made.first.share
    assert made.after.tokens_per_step > made.before.tokens_per_step
    assert _agreement(home.draft, home) == pytest.approx(made.after.share, abs=0.02)
    assert (_files(target), _files(draft)) == before
    assert not (home.folder / online.CHECKPOINT_FILE).exists()
    models, _ = load_models(EngineConfig(model=str(target), draft=str(draft), device="cpu", online=True))
    plain, _ = load_models(EngineConfig(model=str(target), draft=str(draft), device="cpu"))
    assert models.draft is not None
    assert plain.draft is not None
    ids = torch.arange(8, 24).tolist()
    adapted, given = (pair.draft.advance(ids, pair.draft.new_cache()) for pair in (models, plain))  # type: ignore[union-attr]
    assert not torch.equal(adapted, given)


def test_what_does_harm_is_rolled_back(target: Path, draft: Path, home: AdaptationFolder) -> None:
    """The target itself is the best of drafts, until a rate that is far too large."""
    best = AdaptationFolder.of(target, target)
    best.make()
    shutil.copyfile(home.answers, best.answers)
    assert online.adapt(best, target, target, HARMFUL).kept == "first"
    assert not best.draft.exists()
    online.adapt(home, target, draft, EFFORT)
    learnt = _files(home.draft)
    made = online.adapt(home, target, draft, HARMFUL)
    assert made.kept == "before"
    assert _files(home.draft) == learnt


def test_an_adapted_draft_that_is_worse_than_the_first_is_removed(
    target: Path, home: AdaptationFolder, draft: Path
) -> None:
    online.adapt(home, target, draft, EFFORT)
    good = shutil.copytree(home.draft, draft, dirs_exist_ok=True)
    shutil.rmtree(home.draft)
    bad = make_model(home.draft, "llama", seed=9, max_position_embeddings=256)
    assert _agreement(bad, home) < _agreement(good, home)
    assert online.adapt(home, target, draft, IDLE).kept == "first"
    assert not home.draft.exists()


def test_an_interrupted_run_changes_nothing_and_goes_on(
    target: Path, draft: Path, home: AdaptationFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine ends the process as soon as somebody asks."""
    real = distill.distillation_loss
    taken: list[int] = []

    def counted(teacher: PreTrainedModel) -> object:
        loss = real(teacher)

        def interrupting(model: PreTrainedModel, ids: torch.Tensor) -> torch.Tensor:
            taken.append(len(taken))
            if len(taken) == 5:
                os.kill(os.getpid(), signal.SIGTERM)
            return loss(model, ids)

        return interrupting

    monkeypatch.setattr(online, "distillation_loss", counted)
    with pytest.raises(TrainingError, match="interrupted at step 5"):
        online.adapt(home, target, draft, EFFORT)
    assert not home.draft.exists()
    assert not home.report.exists()
    made = online.adapt(home, target, draft, EFFORT)
    assert (made.steps, len(taken)) == (60, 60)
    assert made.kept == "after"


def test_a_loss_that_is_no_number_changes_nothing(
    target: Path, draft: Path, home: AdaptationFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(online, "distillation_loss", lambda _: lambda *_: torch.tensor(float("nan")))
    with pytest.raises(TrainingError, match="the loss is nan at step 0"):
        online.adapt(home, target, draft, EFFORT)
    assert not home.draft.exists()


def test_a_full_disk_leaves_the_draft_in_use(
    target: Path, draft: Path, home: AdaptationFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    online.adapt(home, target, draft, EFFORT)
    learnt = _files(home.draft)

    def full(self: PreTrainedModel, folder: Path, **_: object) -> None:
        (folder / "config.json").write_text("{}", encoding="utf-8")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("transformers.LlamaForCausalLM.save_pretrained", full)
    with pytest.raises(TrainingError, match="No space left"):
        online.adapt(home, target, draft, EFFORT)
    assert _files(home.draft) == learnt


def test_too_little_is_said(target: Path, draft: Path) -> None:
    empty = AdaptationFolder.of(target, draft)
    with pytest.raises(TabcastError, match="0 answers were kept so far, and 40 are needed"):
        online.adapt(empty, target, draft, EFFORT)
    assert not empty.folder.exists()


def test_another_tokenizer_is_refused(target: Path, draft: Path, home: AdaptationFolder) -> None:
    tokenizer = (draft / "tokenizer.json").read_text(encoding="utf-8").replace("<|reserved_0|>", "<|reserved_1|>")
    (draft / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
    with pytest.raises(TabcastError, match="another tokenizer"):
        online.adapt(home, target, draft, EFFORT)


def test_too_little_memory_is_said(
    target: Path, draft: Path, home: AdaptationFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(online, "free_bytes", lambda _: 1000)
    with pytest.raises(TabcastError, match=r"learning needs 0\.0 GiB on cpu"):
        online.adapt(home, target, draft, EFFORT)
    assert not home.draft.exists()


def test_one_process_at_a_time(target: Path, draft: Path, home: AdaptationFolder) -> None:
    with FileLock(home.folder / online.LOCK_FILE), pytest.raises(TabcastError, match="another process"):
        online.adapt(home, target, draft, EFFORT)


def _json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    assert main(["train", "online", "--json", *arguments]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_the_command_tells_learns_and_undoes(
    target: Path,
    draft: Path,
    home: AdaptationFolder,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pair = ["--model", str(target), "--draft", str(draft), "--device", "cpu"]
    before = _json(capsys, *pair, "--status")
    assert (before["online"], before["answers"], before["adapted"], before["last"]) == (False, 60, False, None)
    made = _json(capsys, *pair, "--once", "--steps", "60", "--rate-scale", "1")
    after = _json(capsys, *pair, "--status")
    assert (after["adapted"], after["last"]) == (True, made)
    assert main(["train", "online", *pair, "--status"]) == 0
    told = capsys.readouterr().out
    assert "kept: after" in told
    assert "{" not in told
    assert home.num_learnt() == home.num_written() == 60
    assert stat.S_IMODE(home.folder.stat().st_mode) == 0o700
    assert _json(capsys, *pair, "--reset") == {"removed": True}
    assert not home.folder.exists()
    assert _json(capsys, *pair, "--reset") == {"removed": False}
    assert main(["train", "online", "--model", str(target), "--draft", "none", "--once"]) != 0
    assert "no draft that could learn" in capsys.readouterr().err
