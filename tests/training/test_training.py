"""The training tools on tiny data, in seconds."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM

from decoding.__main__ import main
from decoding.config import EngineConfig
from decoding.models.pair import load_pair
from decoding.training import corpus, pretrain, samples
from decoding.training.distill import distillation_loss
from tests.tiny_models import make_tokenizer

SOURCE = '''"""A module."""


def area(width: float, height: float) -> float:
    """The area."""
    return width * height


'''


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    root = tmp_path / "package"
    root.mkdir()
    for i in range(6):
        (root / f"m{i}.py").write_text(SOURCE.replace("area", f"area_{i}") * 4, encoding="utf-8")
    (root / "copy.py").write_text((root / "m0.py").read_text(encoding="utf-8"), encoding="utf-8")
    (root / "short.py").write_text("x = 1\n", encoding="utf-8")
    (root / "made.py").write_text("# Auto-generated, do not edit\n" + SOURCE * 4, encoding="utf-8")
    (root / "tests").mkdir()
    (root / "tests" / "test_m.py").write_text(SOURCE.replace("area", "tested") * 4, encoding="utf-8")
    return root


def test_the_corpus_leaves_out_copies_tests_and_generated_files(sources: Path, tmp_path: Path) -> None:
    kept = list(corpus.collect(roots=[sources]))
    assert len(kept) == 6
    assert not {"short.py", "made.py", "tests/test_m.py"} & {file.path for file in kept}
    characters = corpus.write(kept, tmp_path / "out", held_out_share=0.0)
    assert characters["train"] == sum(len(file.text) for file in kept)
    assert corpus.read(tmp_path / "out" / "train.jsonl.gz") == kept
    named = json.loads((tmp_path / "out" / "manifest.json").read_text())["package"]["files"]
    assert sorted(named) == sorted(file.path for file in kept)


def test_an_empty_corpus_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="empty"):
        corpus.write([], tmp_path / "out")


def test_a_sample_reads_as_the_engine_asks() -> None:
    tokenizer = make_tokenizer()
    prefix, middle, suffix = "def f(x):\n    ret", "urn x", "\n\ny = f(1)\n"
    ids = samples.encode_sample(tokenizer, "a.py", prefix, middle, suffix)
    assert tokenizer.decode(ids, skip_special_tokens=False) == (
        f"<|file_sep|>a.py\n<|fim_prefix|><|fim_suffix|>{suffix}<|fim_middle|>{prefix}{middle}<|endoftext|>"
    )
    alone = samples.encode(tokenizer, prefix)
    assert samples.encode_at_cursor(tokenizer, prefix, middle)[: len(alone)] == alone


def test_cuts_put_the_text_back_together() -> None:
    rng = random.Random(0)
    kinds = set()
    for _ in range(500):
        prefix, middle, suffix = samples._cut(SOURCE, rng)
        assert SOURCE.startswith(prefix + (middle or "") + suffix)
        kinds.add("plain" if middle is None else "empty" if not middle else "cut")
    assert kinds == {"plain", "empty", "cut"}


def _small_model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    return pretrain.new_model(make_tokenizer(), width=32, layers=1, ff=64, heads=2, kv_heads=1, max_len=128)


def _rows(sources: Path) -> samples.Samples:
    return samples.Samples(list(corpus.collect(roots=[sources])), make_tokenizer(), row_len=64, seed=1)


def test_the_loss_falls_and_a_run_goes_on_from_its_checkpoint(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock stands in for the machine's: each look at it is a second."""

    def run(minutes: float, checkpoint: Path) -> tuple[float, LlamaForCausalLM]:
        ticks = iter(range(10_000))
        monkeypatch.setattr(pretrain.time, "monotonic", lambda: float(next(ticks)))
        model = _small_model()
        monkeypatch.setattr(pretrain, "DECAY_SHARE", 1e-9)  # the rate must not depend on where a run was cut
        made = pretrain.Recipe(minutes=minutes, row_len=64, num_rows=2)
        return pretrain.run(model, _rows(sources), made, checkpoint), model

    first = pretrain.next_token_loss(_small_model(), torch.from_numpy(_rows(sources).batch(2))).item()
    run(0.75, tmp_path / "parts.pt")
    halfway = torch.load(tmp_path / "parts.pt", weights_only=True)["step"]
    _, parts = run(1.5, tmp_path / "parts.pt")
    num_steps = torch.load(tmp_path / "parts.pt", weights_only=True)["step"]
    assert 10 < halfway < num_steps - 10
    last, whole = run((num_steps + 0.5) / 60, tmp_path / "whole.pt")
    assert torch.load(tmp_path / "whole.pt", weights_only=True)["step"] == num_steps
    assert last < first - 0.5
    for ours, theirs in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_loss_that_is_no_number_stops_the_run(sources: Path, tmp_path: Path) -> None:
    recipe = pretrain.Recipe(minutes=1, row_len=64, num_rows=2)
    with pytest.raises(FloatingPointError, match="step 0"):
        pretrain.run(
            _small_model(), _rows(sources), recipe, tmp_path / "c.pt", loss_of=lambda *_: torch.tensor(float("nan"))
        )
    assert not (tmp_path / "c.pt").exists()


def test_a_draft_that_equals_its_teacher_has_no_loss() -> None:
    ids = torch.randint(8, 500, (2, 20))
    teacher = _small_model()
    assert distillation_loss(teacher)(_small_model(), ids).item() == pytest.approx(0, abs=1e-6)


def test_the_commands_make_a_pair_that_the_engine_loads(sources: Path, tmp_path: Path) -> None:
    out = {name: str(tmp_path / name) for name in ("corpus", "tokenizer", "target", "draft")}
    size = ["--width", "32", "--layers", "1", "--ff", "64", "--heads", "2", "--row-len", "128", "--rows", "1"]
    data = ["--corpus", out["corpus"], "--tokenizer", out["tokenizer"], "--minutes", "0.01", "--device", "cpu"]
    assert main(["train", "corpus", "--root", str(sources), "--out", out["corpus"]]) == 0
    assert (
        main(["train", "tokenizer", "--corpus", out["corpus"], "--out", out["tokenizer"], "--vocabulary", "400"]) == 0
    )
    for name in ("target", "draft"):
        extra = ["--target", out["target"]] if name == "draft" else []
        checkpoint = str(tmp_path / f"{name}.pt")
        assert main(["train", name, *data, *size, "--checkpoint", checkpoint, "--out", out[name], *extra]) == 0
    models, probe = load_pair(EngineConfig(model=out["target"], draft=out["draft"], device="cpu"))
    assert models.languages == ("python",)
    assert models.layout.template is not None
    assert models.layout.template.order == "suffix_first"
    assert probe.width > 1


def test_a_missing_corpus_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "tokenizer", "--corpus", str(tmp_path), "--out", str(tmp_path / "t")]) != 0
    assert "holds no corpus" in capsys.readouterr().err
