"""States that heads learn from: those of the engine's own pass, collected in any number of stretches; and the trial."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from decoding.__main__ import main
from decoding.config import EngineConfig
from decoding.drafters import registry
from decoding.models.heads import WEIGHTS_FILE
from decoding.models.loading.model_set import ModelSet, load_models
from decoding.protocol import AUTO
from decoding.speculation.drafting import HIDDEN, DraftRequest, NoDrafter, Outcome
from decoding.speculation.sampling import Sampling
from decoding.speculation.speculate import speculate
from decoding.training import collect, heads_run, states
from decoding.training.checkpoint import TrainingInterrupted
from decoding.training.collect import Collector, Wanted
from decoding.training.heads_run import Trial
from decoding.training.states import Places, StatesFolder
from tests.gguf_files import Gguf
from tests.gguf_models import quantised, settings_of, tensors_of, tiny_gguf
from tests.tiny_models import make_model

EPS = 1e-6
LENGTH, NUM_OWN = 40, 12


class Rows:
    """Random rows, the same for each seed."""

    def __init__(self, seed: int = 0) -> None:
        self._random = np.random.default_rng(seed)

    def batch(self, num_rows: int) -> np.ndarray:
        return self._random.integers(8, 500, (num_rows, LENGTH))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> ModelSet:
    """A model in four bits."""
    folder = tmp_path_factory.mktemp("four bit")
    wide = make_model(folder / "wide", "llama", layers=1, hidden_size=256, intermediate_size=256, head_dim=64)
    file = Gguf(metadata=settings_of(wide), tensors=quantised(tensors_of(wide), "Q4_K")).write(folder / "tiny.gguf")
    return load_models(EngineConfig(model=str(file), draft="none", device="cpu"))[0]


def collector(models: ModelSet, folder: Path, **told: object) -> Collector:
    return Collector(models.target, StatesFolder(folder, told), EPS)


def test_states_and_own_text_are_those_of_the_engine_to_the_bit(models: ModelSet, tmp_path: Path) -> None:
    ids = Rows().batch(1)[0]
    records = collector(models, tmp_path).compute(ids, NUM_OWN)
    prompt = ids[:-NUM_OWN].tolist()
    assert records["id"][:-NUM_OWN].tolist() == prompt
    assert records["is_own"].tolist() == [False] * len(prompt) + [True] * NUM_OWN
    drafter = Watching()
    drafter.begin(DraftRequest(prompt_ids=prompt))
    for _ in speculate(models.target, models.target.new_cache(), prompt, drafter, Sampling()):
        if len(drafter.emitted) >= NUM_OWN:
            break
    assert records["id"][-NUM_OWN:].tolist() == drafter.emitted[:NUM_OWN]
    assert len(drafter.hidden) == len(drafter.emitted)
    for at, hidden in enumerate(drafter.hidden[:NUM_OWN], start=len(prompt) - 1):
        normed = hidden / np.sqrt(np.square(hidden).mean(keepdims=True) + EPS)
        assert np.array_equal(records["state"][at], normed.astype(np.float16))
    assert (np.diff(records["shares"].astype(np.float32), axis=1) <= 0).all()


class Watching(NoDrafter):
    """Proposes nothing, and keeps what it is told of."""

    needs = frozenset({HIDDEN})

    def __init__(self) -> None:
        self.emitted: list[int] = []
        self.hidden: list[np.ndarray] = []

    def observe(self, outcome: Outcome) -> None:
        self.emitted += outcome.emitted_ids
        if outcome.emitted_ids:
            assert outcome.hidden is not None
            self.hidden += [row.copy() for row in outcome.hidden.float().numpy()]


def test_collecting_goes_on_where_it_was_interrupted(
    models: ModelSet, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect, "TELL_EVERY_S", 0.0)
    wanted = Wanted(split="train", num_texts=4, own_share=0.25)
    whole = collector(models, tmp_path / "whole").collect(Rows(), wanted, lambda: False)
    asked: list[bool] = []
    with pytest.raises(TrainingInterrupted, match="interrupted after 2 of 4 texts; the same command goes on"):
        collector(models, tmp_path / "parts").collect(
            Rows(), wanted, lambda: bool(asked.append(True)) or len(asked) > 2
        )
    caplog.clear()
    caplog.set_level("INFO")
    parts = collector(models, tmp_path / "parts").collect(Rows(), wanted, lambda: False)
    assert "collected 3 of 4 texts, about" in caplog.text
    assert [part.tobytes() for part in parts] == [text.tobytes() for text in whole]
    assert not list((tmp_path / "parts").glob("*.partial"))
    late = collector(models, tmp_path / "late").collect(Rows(), wanted, lambda: False, lambda: True)
    assert [part.tobytes() for part in late] == [whole[0].tobytes()]


def test_states_of_something_else_are_not_mixed_in(models: ModelSet, tmp_path: Path) -> None:
    collector(models, tmp_path, seed=1, target="a")
    collector(models, tmp_path, seed=1, target="a")
    with pytest.raises(Exception, match="was collected with another target"):
        collector(models, tmp_path, seed=1, target="b")
    (tmp_path / "states.json").write_text("[", encoding="utf-8")
    with pytest.raises(Exception, match="is damaged"):
        collector(models, tmp_path, seed=1, target="a")
    (tmp_path / "train-00000.npy").write_bytes(b"no array")
    with pytest.raises(Exception, match="is damaged: remove it"):
        StatesFolder(tmp_path / "other", {}).read("train-00000")


def test_places_are_all_met_once_an_epoch_with_what_follows_them() -> None:
    texts = [np.zeros(size, states.record_type(3)) for size in (5, 2, 7)]
    for number, text in enumerate(texts):
        text["id"] = 100 * number + np.arange(len(text))
        text["choices"][:, 0] = 1000 + text["id"]
    places = Places(texts, num_heads=2, row_len=4, seed=3)
    assert len(places) == 8  # a text of two tokens has none
    first = places.batch(2)
    assert sorted(first.flatten()) == [*range(8)]
    other = Places(texts, num_heads=2, row_len=4, seed=3)
    other.restore(places.state())
    assert np.array_equal(other.batch(3), places.batch(3))
    found = places.take(np.array([2, 3, 7]))
    assert found.known_ids.tolist() == [[3, 4], [201, 202], [205, 206]]
    assert found.choices[:, :, 0].tolist() == [[1003, 1004], [1201, 1202], [1205, 1206]]


@pytest.fixture
def trained_file(target: Path, tmp_path: Path) -> Path:
    return tiny_gguf(tmp_path / "trained.gguf", target)


def test_a_trial_says_what_heads_for_a_gguf_file_bring_and_the_engine_finds_them(
    trained_file: Path, sources: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["train", "draft", "--kind", "heads", "--model", str(trained_file), "--data", str(sources)]
    command += ["--text-tokens", "1000", "--row-len", "128", "--device", "cpu", "--json"]
    made = trained_file.with_name("trained.gguf.heads")
    monkeypatch.setattr(heads_run, "PAYS", 0.0)
    assert main(command) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["tokens"] == 896  # whole texts
    assert len(told["accepted"]) == 4
    assert all(0 <= share <= 1 for share in told["accepted"])
    assert told["pays"]
    first = load_file(made / WEIGHTS_FILE)
    made.rename(made.with_name("first"))
    assert main(command[:-1]) == 0
    assert capsys.readouterr().out.startswith("trial on 896 tokens: right at")
    again = load_file(made / WEIGHTS_FILE)
    assert all(bool((again[name] == tensor).all()) for name, tensor in first.items())  # equal seeds, equal weights
    models, _ = load_models(EngineConfig(model=str(trained_file), draft="none", device="cpu"))
    assert models.heads is not None
    assert "heads" in registry.choose(AUTO, models)[0]
    monkeypatch.setattr(heads_run, "PAYS", 1000.0)
    shutil.rmtree(made)
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["pays"] is False
    assert not made.exists()
    assert main([*command, "--steps", "2", "--seed", "2"]) == 2
    assert "was collected with another seed" in capsys.readouterr().err


def test_a_sentence_says_whether_it_pays() -> None:
    figures = {"tokens": 1000, "places": 90, "accepted": (0.5, 0.25), "num_heads": 2, "step_ms": 20.0, "head_ms": 0.5}
    pays = Trial(**figures, tokens_per_step=1.7, plain_tokens_per_s=50.0, tokens_per_s=80.0)  # type: ignore[arg-type]
    assert pays.pays
    assert "head by head: 50%, 25%; 1.70 tokens a step" in str(pays)
    assert str(pays).endswith("It pays: about 1.60 times as fast already, and more text makes it better.")
    not_yet = Trial(**figures, tokens_per_step=1.0, plain_tokens_per_s=50.0, tokens_per_s=50.0)  # type: ignore[arg-type]
    assert "It doesn't pay yet" in str(not_yet)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--kind", "heads", "--own-share", "1"], "--own-share is from 0 to below 1"),
        (["--kind", "heads", "--text-tokens", "0"], "--text-tokens must be at least 1"),
        (["--kind", "model"], "give --out"),
    ],
)
def test_what_can_not_be_is_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "draft", "--target", str(tmp_path), "--data", str(tmp_path), *arguments]) == 2
    assert message in capsys.readouterr().err
