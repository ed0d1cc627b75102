"""Drafts cut out of a target, distilled and measured; packed weights; the commands from one end to the other."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from decoding.__main__ import main
from decoding.config import EngineConfig
from decoding.errors import TabcastError
from decoding.models.loading.model_set import load_models
from decoding.training import corpus, distill, draft, evaluate_draft, export, pack, pretrain, prune, samples
from decoding.training.checkpoint import TrainingError
from decoding.training.samples import SampleFormat
from decoding.training.schedule import RunLength
from tests.tiny_models import make_model
from tests.training.conftest import new_small_model


def _ids(rows: int = 2, row_len: int = 20) -> torch.Tensor:
    return torch.randint(8, 500, (rows, row_len), generator=torch.Generator().manual_seed(0))


def test_a_draft_that_equals_its_teacher_has_no_loss(form: SampleFormat) -> None:
    loss = distill.distillation_loss(new_small_model(form))(new_small_model(form), _ids())
    assert loss.item() == pytest.approx(0, abs=1e-6)


def test_half_of_the_batches_end_in_the_teachers_own_words(form: SampleFormat, files: list[corpus.SourceFile]) -> None:
    teacher = new_small_model(form)
    plain = samples.Samples(files, form, row_len=32, seed=1)
    own = distill.OwnContinuations(samples.Samples(files, form, row_len=32, seed=1), teacher)
    assert (own.batch(2) == plain.batch(2)).all()
    theirs, ours = plain.batch(2), own.batch(2)
    assert (ours[:, :-8] == theirs[:, :-8]).all()
    ids = torch.from_numpy(ours)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        chosen = teacher(input_ids=ids).logits.argmax(-1)
    # The logits of steps and of a whole row differ in their last bits, so a tie may fall otherwise.
    assert (chosen[:, -9:-1] == ids[:, -8:]).float().mean() > 0.7


@pytest.mark.parametrize(
    ("stood", "steps"),
    [("", 0), ("0", 1), ("1", 1), ("00", 2), ("10", 1), ("1111", 1), ("11111", 1), ("111111", 2), ("1101", 2)],
)
def test_a_step_emits_what_stands_of_four_proposals_and_one_more(stood: str, steps: int) -> None:
    assert evaluate_draft.steps_for([mark == "1" for mark in stood]) == steps


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
def test_a_cut_model_loads_in_the_engine_and_the_whole_one_is_unchanged(family: str, tmp_path: Path) -> None:
    folder = make_model(tmp_path / "target", family, layers=3)
    model = draft.load_model(folder, "cpu")
    importance = prune.measure(model, [_ids()])
    same = prune.prune(model, importance, prune.Size.of(model))
    with torch.no_grad():
        assert torch.equal(same(_ids()).logits, model(_ids()).logits)
    small = prune.prune(model, importance, prune.Size(layers=2, width=16, ff=24, heads=2, kv_heads=1))
    export.export(small, folder, tmp_path / "draft")
    models, _ = load_models(EngineConfig(model=str(folder), draft=str(tmp_path / "draft"), device="cpu"))
    assert models.draft is not None


def test_what_does_nothing_is_cut_first(form: SampleFormat) -> None:
    """A layer, neurons and heads that put out nothing, and channels that are silent."""
    model = new_small_model(form, layers=3)
    silent = model.model.layers[1]
    for parameter in (silent.mlp.down_proj.weight, silent.self_attn.o_proj.weight):
        parameter.data.zero_()
    for i in (0, 2):
        model.model.layers[i].mlp.up_proj.weight.data[:32] = 0
        model.model.layers[i].self_attn.v_proj.weight.data[:8] = 0
    importance = prune.measure(model, [_ids()])
    assert importance.layers[1] == 0
    importance.layers = [1, 0, 1]  # a random layer may well do harm
    small = prune.prune(model, importance, prune.Size(layers=2, width=32, ff=32, heads=2, kv_heads=1))
    with torch.no_grad():
        assert torch.allclose(small(_ids()).logits, model(_ids()).logits, atol=1e-5)


@pytest.mark.parametrize(
    "size", [{"layers": 4}, {"layers": 0}, {"width": 64}, {"heads": 3, "kv_heads": 2}, {"heads": 4, "kv_heads": 1}]
)
def test_a_size_that_is_not_within_the_model_is_refused(form: SampleFormat, size: dict[str, int]) -> None:
    model = new_small_model(form, layers=3)
    chosen = {"layers": 2, "width": 32, "ff": 64, "heads": 4, "kv_heads": 2, **size}
    with pytest.raises(ValueError, match=r"must be from|can't share"):
        prune.prune(model, prune.measure(model, [_ids()]), prune.Size(**chosen))


def _measure_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate_draft, "NUM_PROMPTS", 2)
    monkeypatch.setattr(evaluate_draft, "NEW_TOKENS", 16)


def test_distilling_raises_the_acceptance_on_held_out_files(
    target: Path, sources: Path, form: SampleFormat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _measure_little(monkeypatch)
    begun = tmp_path / "begun"
    export.export(new_small_model(form, layers=1), target, begun)
    wanted = draft.DraftRecipe(target=target, out=tmp_path / "draft", begin_with=begun, row_len=128)
    recipe = pretrain.Recipe(length=RunLength(steps=100), num_rows=4)
    made = draft.train(wanted, [sources], recipe, tmp_path / "draft.pt")
    assert made.is_finished
    assert made.after.share > made.before.share
    assert made.after.tokens_per_step > made.before.tokens_per_step
    assert made.speed is not None
    assert made.speed.is_identical
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "draft")
    assert model.config.num_hidden_layers == 1


def test_a_draft_that_training_made_worse_is_not_written(
    target: Path, sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The target itself is the best of drafts, until a rate that is far too large."""
    _measure_little(monkeypatch)
    wanted = draft.DraftRecipe(target=target, out=tmp_path / "draft", begin_with=target, row_len=128)
    recipe = pretrain.Recipe(length=RunLength(steps=20), num_rows=1, rate_scale=100)
    with pytest.raises(TabcastError, match=r"worse on held-out files.*nothing is written"):
        draft.train(wanted, [sources], recipe, tmp_path / "draft.pt")
    assert not (tmp_path / "draft").exists()


def test_what_a_killed_run_left_behind_does_no_harm(form: SampleFormat, tokenizer_folder: Path, tmp_path: Path) -> None:
    for leftover in ("model.partial", "model.old"):
        (tmp_path / leftover).mkdir()
        (tmp_path / leftover / "model.safetensors").write_bytes(b"half")
    for _ in range(2):
        export.export(new_small_model(form), tokenizer_folder, tmp_path / "model")
    assert sorted(path.name for path in tmp_path.glob("model*")) == ["model"]
    assert draft.load_model(tmp_path / "model", "cpu").num_parameters() > 0


def test_a_full_disk_leaves_the_older_model_folder(
    form: SampleFormat, tokenizer_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export.export(new_small_model(form), tokenizer_folder, tmp_path / "model")
    before = (tmp_path / "model" / "model.safetensors").read_bytes()

    def full(self: LlamaForCausalLM, folder: Path, **_: object) -> None:
        (folder / "config.json").write_text("{}", encoding="utf-8")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(LlamaForCausalLM, "save_pretrained", full)
    with pytest.raises(TrainingError, match="No space left"):
        export.export(new_small_model(form), tokenizer_folder, tmp_path / "model")
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == before
    assert sorted(path.name for path in tmp_path.glob("model*")) == ["model"]


def test_a_packed_model_comes_back_within_its_rounding(
    form: SampleFormat, tokenizer_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack, "MAX_FILE_BYTES", 20_000)
    model = new_small_model(form, layers=2)
    pack.pack(model, tokenizer_folder, tmp_path / "packed")
    assert len(list((tmp_path / "packed").glob(pack.PATTERN))) > 1
    pack.unpack(tmp_path / "packed", tmp_path / "model")
    back = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    for (name, ours), theirs in zip(model.named_parameters(), back.parameters(), strict=True):
        assert (ours - theirs).abs().max() <= 0.02 * ours.abs().max(), name
    next((tmp_path / "packed").glob(pack.PATTERN)).unlink()
    with pytest.raises(Exception, match="not a complete model folder"):
        pack.unpack(tmp_path / "packed", tmp_path / "model")


def test_the_commands_make_a_pair_in_stretches_that_the_engine_loads(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rehearsal of what runs on a lent GPU: each call of the same command goes on."""
    _measure_little(monkeypatch)
    out = {name: str(tmp_path / name) for name in ("corpus", "tokenizer", "work", "shards", "model")}
    assert main(["train", "corpus", "--root", str(sources), "--out", out["corpus"]]) == 0
    held_out = corpus.read(tmp_path / "corpus" / "train.jsonl.gz")[:3]
    corpus.write([*held_out], tmp_path / "other")
    (tmp_path / "corpus" / "heldout.jsonl.gz").write_bytes((tmp_path / "other" / "train.jsonl.gz").read_bytes())
    assert (
        main(["train", "tokenizer", "--corpus", out["corpus"], "--out", out["tokenizer"], "--vocabulary", "400"]) == 0
    )
    size = ["--width", "32", "--layers", "3", "--ff", "64", "--heads", "4", "--kv-heads", "2"]
    command = ["train", "pair", *size, "--row-len", "128", "--rows", "2", "--workers", "0", "--device", "cpu"]
    command += ["--corpus", out["corpus"], "--tokenizer", out["tokenizer"], "--work", out["work"]]
    command += ["--shards", out["shards"], "--target-minutes", "0.03", "--draft-minutes", "0.02"]
    command += ["--parallel-minutes", "0.02", "--heads-minutes", "0.02"]
    assert main([*command, "--stretch-minutes", "1.01"]) == 0
    assert not (tmp_path / "work" / "target").exists()
    assert (tmp_path / "shards" / "target" / "int8-00001.safetensors").exists()
    assert main([*command, "--stretch-minutes", "9"]) == 0
    assert main([*command, "--stretch-minutes", "9"]) == 0
    made = {name: str(tmp_path / "work" / name) for name in ("draft", "parallel", "heads")}
    models, _ = load_models(EngineConfig(model=str(tmp_path / "work" / "target"), **made, device="cpu"))
    assert not models.notices
    assert models.parallel is not None
    assert models.heads is not None
    assert (tmp_path / "shards" / "heads" / "heads.json").exists()
    assert models.languages == ("python",)
    assert models.layout.template is not None
    assert models.layout.template.order == "suffix_first"
    packed = ["--model", str(tmp_path / "shards" / "draft"), "--out", out["model"], "--corpus", out["corpus"]]
    assert main(["train", "unpack", *packed]) == 0
    assert (tmp_path / "model" / "model.safetensors").exists()


def test_a_target_goes_on_from_given_weights_for_a_number_of_steps(target: Path, sources: Path, tmp_path: Path) -> None:
    main(["train", "corpus", "--root", str(sources), "--out", str(tmp_path / "corpus")])
    command = ["train", "target", "--corpus", str(tmp_path / "corpus"), "--tokenizer", str(target)]
    command += [
        "--init",
        str(target),
        "--out",
        str(tmp_path / "more"),
        "--steps",
        "5",
        "--row-len",
        "64",
        "--rows",
        "1",
    ]
    assert main([*command, "--rate-scale", "0.0", "--device", "cpu"]) == 0
    ours, theirs = (AutoModelForCausalLM.from_pretrained(folder) for folder in (target, tmp_path / "more"))
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "NOWHERE", "--data", "DATA"], "there is no model at"),
        (["--target", "TARGET", "--data", "EMPTY"], "needs 20000"),
        (["--target", "OPT", "--data", "DATA"], "opt"),
        (["--target", "TARGET", "--data", "DATA", "--begin-with", "OTHER"], "another tokenizer"),
        (["--target", "TARGET", "--data", "DATA", "--layers", "9"], "layers must be from 1 to 3"),
        (["--target", "TARGET", "--data", "DATA", "--no-length"], "how long"),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_folder(
    arguments: list[str], message: str, sources: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "EMPTY").mkdir()
    make_model(tmp_path / "TARGET", "llama", layers=3)
    sources.rename(tmp_path / "DATA")
    other = make_model(tmp_path / "OTHER", "llama")
    make_model(tmp_path / "OPT", "opt")
    tokenizer = (other / "tokenizer.json").read_text(encoding="utf-8").replace("<|reserved_0|>", "<|reserved_1|>")
    (other / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
    length = [] if "--no-length" in arguments else ["--steps", "1"]
    given = [str(tmp_path / word) if word.isupper() else word for word in arguments if word != "--no-length"]
    assert main(["train", "draft", *given, *length, "--out", str(tmp_path / "out"), "--device", "cpu"]) != 0
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("out*"))
