"""Drafts of several tokens at once: what they learn from, that they learn it, and what the engine makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from decoding.__main__ import main
from decoding.config import EngineConfig
from decoding.models.heads import WEIGHTS_FILE, read_description
from decoding.models.loading.model_set import load_models
from decoding.models.parallel import MaskForm, mask_form
from decoding.training import chains, draft, evaluate_draft, export, heads_run, parallel, pretrain
from decoding.training.samples import SampleFormat
from decoding.training.schedule import RunLength
from tests.training.conftest import new_small_model

FORM = MaskForm(mask_id=599, num_tokens=4)
KINDS = ("parallel", "heads")
TRAIN = {"parallel": draft.train, "heads": heads_run.train}


@pytest.fixture(autouse=True)
def _measure_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate_draft, "NUM_PROMPTS", 2)
    monkeypatch.setattr(evaluate_draft, "NEW_TOKENS", 16)


def _ids(rows: int, length: int) -> torch.Tensor:
    return torch.randint(8, 500, (rows, length), generator=torch.Generator().manual_seed(3))


def test_masks_see_what_they_see_when_the_engine_lays_them_behind_a_text(form: SampleFormat) -> None:
    """Laid behind many places of a row at once, against each place by itself."""
    model = new_small_model(form, layers=2)
    ids, places = _ids(2, 12), torch.tensor([[4, 9, 2], [0, 11, 7]])
    counts = [3, 2, 1]
    with torch.no_grad():
        together = parallel.states_of(model, parallel.lay_masks(ids, places, FORM, counts))
        expected = [pretrain.hidden_states(model, ids)]
        for ahead in range(len(counts)):
            for number in range(counts[ahead]):
                rows = []
                for row in range(2):
                    text = ids[row, : places[row, number] + 1].tolist() + [FORM.mask_id] * (ahead + 1)
                    rows.append(pretrain.hidden_states(model, torch.tensor([text]))[0, -1])
                expected.append(torch.stack(rows)[:, None])
    assert torch.allclose(together, torch.cat(expected, dim=1), atol=1e-4)


def test_a_model_gets_its_mask_behind_the_tokenizers_ids_and_keeps_it(form: SampleFormat) -> None:
    model = new_small_model(form)
    number = form.tokenizer.get_vocab_size()
    before = model.lm_head.weight.detach().clone()
    made = parallel.prepare(model, number, None)
    assert made == MaskForm(mask_id=number, num_tokens=parallel.NUM_TOKENS)
    assert torch.equal(model.lm_head.weight[:number], before)
    assert mask_form(model.config.to_dict(), Path("made")) == made
    assert parallel.prepare(model, number, 3) == MaskForm(mask_id=number, num_tokens=3)
    assert model.config.vocab_size == number + 1


@pytest.mark.parametrize(("right", "steps"), [([0, 0, 0, 0], 4), ([3, 9, 9, 9], 1), ([0, 1, 9, 0, 2, 9], 4)])
def test_steps_are_counted_from_what_stands_at_each_place(right: list[int], steps: int) -> None:
    found = chains.agreement_of([right])
    assert found.tokens_per_step == len(right) / steps
    assert found.share == sum(count > 0 for count in right) / len(right)


@pytest.mark.parametrize("kind", KINDS)
def test_distilling_raises_the_acceptance_and_the_engine_agrees(
    kind: str, target: Path, sources: Path, form: SampleFormat, tmp_path: Path
) -> None:
    begin_with = None
    if kind == "parallel":
        begin_with = tmp_path / "begun"
        export.export(new_small_model(form, layers=1), target, begin_with)
    wanted = draft.DraftRecipe(target=target, out=tmp_path / "made", kind=kind, begin_with=begin_with, row_len=128)
    made = TRAIN[kind](wanted, [sources], pretrain.Recipe(length=RunLength(steps=80)), tmp_path / "run.pt")
    assert made.is_finished
    assert made.after.tokens_per_step > made.before.tokens_per_step
    assert made.after.tokens_per_step > 1.2
    assert made.speed is not None
    assert made.speed.is_identical
    models, _ = load_models(EngineConfig(model=str(target), device="cpu", **{kind: str(tmp_path / "made")}))
    assert getattr(models, kind) is not None


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_pauses_gives_the_weights_of_one_that_does_not(
    kind: str, target: Path, sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(name: str, steps: int) -> dict[str, torch.Tensor]:
        wanted = draft.DraftRecipe(target=target, out=tmp_path / name, kind=kind, row_len=64)
        recipe = pretrain.Recipe(length=RunLength(steps=steps), num_rows=1)
        TRAIN[kind](wanted, [sources], recipe, tmp_path / f"{name}.pt")
        return load_file(next((tmp_path / name).glob("*.safetensors")))

    monkeypatch.setattr(evaluate_draft, "speed", lambda *_, **__: evaluate_draft.Speed(speedup=1.0, is_identical=True))
    whole = train("whole", 4)
    is_over = pretrain.Schedule.is_stretch_over
    with monkeypatch.context() as pausing:
        seen: list[float] = []
        pausing.setattr(pretrain.Schedule, "is_stretch_over", lambda *_: seen.append(0.0) or len(seen) > 2)
        train("paused", 4)
    assert pretrain.Schedule.is_stretch_over is is_over
    for name, tensor in train("paused", 4).items():
        assert torch.equal(tensor, whole[name]), name


def test_heads_go_on_with_a_target_that_has_changed_and_others_are_refused(
    target: Path, sources: Path, tmp_path: Path
) -> None:
    arguments = ["train", "draft", "--kind", "heads", "--target", str(target), "--data", str(sources), "--steps", "2"]
    arguments += ["--row-len", "64", "--device", "cpu", "--tokens", "3", "--width", "16"]
    assert main([*arguments, "--out", str(target / "heads")]) == 0
    assert read_description(target / "heads")["heads"] == 3
    models, _ = load_models(EngineConfig(model=str(target), device="cpu"))
    assert models.heads is not None  # found beside the target
    weights = load_file(target / "model.safetensors")
    weights["model.norm.weight"] *= 1.5
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    models, _ = load_models(EngineConfig(model=str(target), device="cpu"))
    assert models.heads is None
    assert "made for other weights" in models.notices[0]
    again = [
        *arguments[:-2],
        "--begin-with",
        str(target / "heads"),
        "--rate-scale",
        "0",
        "--out",
        str(tmp_path / "new"),
    ]
    assert main(again) == 0
    config = EngineConfig(model=str(target), heads=str(tmp_path / "new"), device="cpu")
    assert load_models(config)[0].heads is not None
    assert len(load_file(tmp_path / "new" / WEIGHTS_FILE)) == 7  # the factors of the embedding are one


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tokens", "9"], "guesses 2 to 8 tokens"),
        (["--kind", "heads", "--width", "1000"], "heads of width 1000"),
        (["--kind", "heads", "--begin-with", "TARGET"], "holds no heads"),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_folder(
    arguments: list[str],
    message: str,
    target: Path,
    sources: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = [str(target) if word == "TARGET" else word for word in arguments]
    command = ["train", "draft", "--target", str(target), "--data", str(sources), "--steps", "1", "--device", "cpu"]
    assert main([*command, "--kind", "parallel", *given, "--out", str(tmp_path / "out")]) != 0
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("out*"))
