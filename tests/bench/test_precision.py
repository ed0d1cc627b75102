"""What our arithmetic changes, beside the same weights in float32."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from decoding.__main__ import main
from decoding.bench.suites import precision
from decoding.bench.suites.precision import Reading, Span
from decoding.models.language_model import LanguageModel
from decoding.models.loading.model_set import ModelSet
from tests.gguf_models import tiny_gguf


def test_spans_are_the_same_in_every_run(pair: ModelSet, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("def add(a, b):\n    return a + b\n" * 9, encoding="utf-8")
    (tmp_path / "b.txt").write_text("no language of ours", encoding="utf-8")
    spans = list(precision.draw_spans(pair, tmp_path, 3))
    assert spans == list(precision.draw_spans(pair, tmp_path, 3))
    assert all(pair.tokenizer.decode(span.missing_ids) for span in spans)
    assert len({tuple(span.missing_ids) for span in spans}) == 3
    assert list(precision.draw_spans(pair, tmp_path / "none", 3)) == []


def test_each_place_is_judged_and_the_spans_alone_are_scored(pair: ModelSet) -> None:
    prompt, missing = list(range(20, 60)), [5, 9, 30]
    found = precision.read(pair.target, Span(prompt_ids=prompt, missing_ids=missing, num_characters=9))
    assert len(found.choices) == len(found.leads) == len(prompt) + len(missing) - 1
    cache, nats = pair.target.new_cache(), 0.0
    for place, token in enumerate([*prompt, *missing][:-1]):
        chances = pair.target.step([token], cache)[0].float().log_softmax(-1)
        cache.commit([token])
        assert found.choices[place] == int(chances.argmax())
        nats -= float(chances[[*prompt, *missing][place + 1]]) if place + 1 >= len(prompt) else 0.0
    assert found.nats == pytest.approx(nats, rel=1e-5)


def test_differences_are_those_of_bits_and_choices() -> None:
    span = Span(prompt_ids=[1, 2], missing_ids=[3], num_characters=10)
    ours = Reading(nats=10.1, choices=[4, 5], leads=[0.1, 0.2])
    theirs = Reading(nats=10.0, choices=[4, 6], leads=[0.5, 0.03])
    own, exact = precision.compare([span], [ours], [theirs])
    assert own["difference_percent"] == 1.0
    assert (own["alike_percent"], own["largest_gap"], own["places"]) == (50.0, 0.03, 2)
    assert exact["bits_per_character"] == pytest.approx(10 / 0.6931 / 10, abs=1e-3)


def test_the_command_compares_a_file_with_itself(tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.json"
    file = tiny_gguf(tmp_path / "x.gguf", tiny_model)
    options = ["--model", str(file), "--draft", "none", "--device", "cpu"]
    assert main(["bench", "precision", *options, "--spans", "3", "--json", str(out)]) == 0
    own, exact = json.loads(out.read_text(encoding="utf-8"))["rows"]
    assert own["bits_per_character"] == pytest.approx(exact["bits_per_character"], rel=0.05)
    assert own["alike_percent"] > 80
    assert main(["bench", "precision", *options, "--data", str(tmp_path / "none")]) != 0


def test_an_interrupted_comparison_tells_of_what_both_have_read(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def interrupted(model: LanguageModel, span: Span) -> Reading:
        nonlocal calls
        calls += 1
        if calls == 3 + 2:  # all three by the kernels, one in float32
            raise KeyboardInterrupt
        return Reading(nats=1.0, choices=[1], leads=[0.5])

    monkeypatch.setattr(precision, "read", interrupted)
    out = tmp_path / "p.json"
    options = ["--model", str(tiny_model), "--draft", "none", "--device", "cpu"]
    assert main(["bench", "precision", *options, "--spans", "3", "--json", str(out)]) == 130
    report = json.loads(out.read_text(encoding="utf-8"))
    assert [row["count"] for row in report["rows"]] == [1, 1]
    assert report["is_complete"] is False
