"""The decode suite: its counts, its honesty about divergence, and the command."""

from __future__ import annotations

import argparse
import io
import json
from functools import partial
from pathlib import Path

import pytest
import torch
from rich.console import Console

from decoding.__main__ import main
from decoding.bench.harness import baselines, data, decode_prompts
from decoding.bench.harness.told_progress import EVERY_S, ToldProgress
from decoding.bench.metrics import likelihood
from decoding.bench.suites import decode, decode_rows
from decoding.drafters.draft_model import DraftModel
from decoding.errors import TabcastError
from decoding.models.loading.model_set import ModelSet
from decoding.speculation.drafting import Draft

PROMPT = list(range(20, 60)) * 2


def test_each_method_is_measured_and_identical(pair: ModelSet) -> None:
    prompts = [PROMPT, PROMPT[:50]]
    width = pair.target.capabilities.step_width
    decoders = decode.methods(pair, list(decode.USUAL_METHODS), 24)
    rows = {row["method"]: row for row in decode_rows.rows(decode.measure(prompts, decoders), prompts)}
    assert set(rows) == {decode.PLAIN_FASTEST, *decode.USUAL_METHODS}
    assert all(row["identical_percent"] == 100 for name, row in rows.items() if name != decode.PLAIN_FASTEST)
    assert rows[decode.PLAIN]["tokens_per_step"] == 1
    assert rows[decode.PLAIN_FASTEST]["speedup"] == 1
    shares = ("prefill_percent", "draft_percent", "verify_percent", "other_percent")
    assert all(sum(row[share] for share in shares) == pytest.approx(100, abs=0.3) for row in rows.values())
    costs = rows[decode.PLAIN]["ms_by_completion_length"]
    assert [length for length, _ in costs] == [1, 2, 4, 8, 16, 24]
    assert costs == sorted(costs, key=lambda cost: cost[1])
    assert pair.target.capabilities.step_width == width


def test_an_answer_of_before_is_not_remembered(pair: ModelSet) -> None:
    """Or the repetitions of a prompt would measure nothing but memory."""
    run = decode.methods(pair, ["suffix"], 24)["suffix"]
    assert run(PROMPT).num_steps == run(PROMPT).num_steps


@pytest.mark.parametrize("has_read", [False, True])
def test_a_draft_model_reads_the_prompt_in_every_run_unless_it_is_said_to_have_read_it(
    pair: ModelSet, monkeypatch: pytest.MonkeyPatch, has_read: bool
) -> None:
    """Or all repetitions but the first would have a draft that knows the prompt for nothing."""
    propose, unread = DraftModel.propose, list[int]()

    def noted(drafter: DraftModel, budget: int) -> Draft:
        unread.append(drafter.num_unread)
        return propose(drafter, budget)

    monkeypatch.setattr(DraftModel, "propose", noted)
    run = decode.methods(pair, ["draft"], 4, 0.5, has_read=has_read)["draft"]
    at_first = []
    for _ in range(2):
        unread.clear()
        run(PROMPT)
        at_first.append(unread[0])
    assert at_first[0] == at_first[1]
    assert (at_first[0] <= 1) is has_read


def test_runs_are_repeated_as_often_as_time_allows() -> None:
    times = (0.0, 0.1, decode.ENOUGH_S / 2, decode.ENOUGH_S, 10 * decode.ENOUGH_S)
    assert [decode.affordable_repeats(once_s) for once_s in times] == [3, 3, 2, 1, 1]


def test_progress_is_told_in_lines_where_no_bar_is_seen() -> None:
    seconds = [0.0]
    console = Console(file=io.StringIO(), force_terminal=False)
    with ToldProgress(console, clock=lambda: seconds[0]) as progress:
        progress.say("loading the models")
        task = progress.add_task("decoding", total=9)
        for _ in range(6):
            seconds[0] += EVERY_S / 2
            progress.advance(task)
    lines = console.file.getvalue().split("\n")  # type: ignore[attr-defined]
    told = [line for line in lines if line.strip()]
    assert told[:4] == [
        "0 s: loading the models",
        "5 s: decoding, 2 of 9",
        "10 s: decoding, 4 of 9",
        "15 s: decoding, 6 of 9",
    ]


def test_a_method_that_diverges_is_told(pair: ModelSet) -> None:
    plain = decode.methods(pair, ["plain"], 12)

    def wrong(prompt_ids: list[int]) -> decode.Run:
        run = plain[decode.PLAIN](prompt_ids)
        run.token_ids[7] += 1
        return run

    runs = decode.measure([PROMPT], {**plain, "wrong": wrong})
    gaps = {row["method"]: row for row in decode_rows.rows(runs, [PROMPT], partial(likelihood.logit_gap, pair.target))}
    assert gaps["wrong"]["identical_percent"] == 0
    assert gaps["plain"]["divergence"] is None
    found = gaps["wrong"]["divergence"]
    assert (found["prompt"], found["token"]) == (0, 7)
    assert found["logit_gap"] > 0
    ours = runs[decode.PLAIN][0][0].token_ids
    before = [*PROMPT, *ours[:7]]
    logits = next(likelihood.logits_before(pair.target, pair.target.new_cache(), before, [0]))
    assert int(logits.argmax()) == ours[7]
    assert found["logit_gap"] == pytest.approx(float(logits[ours[7]] - logits[ours[7] + 1]), abs=1e-3)


def test_acceptance_by_position_and_by_match() -> None:
    # Two drafts of three tokens, one of one: all begin rightly, one goes on, none to its end.
    drafts = [(3, 2, 4), (3, 1, 2), (1, 1, 4)]
    assert decode_rows.accepted_by_position(drafts) == [1, 0.5, 0]
    assert decode_rows.accepted_by_match(drafts) == [[2, 1, 3, 0.3333], [4, 2, 4, 0.75]]
    assert decode_rows.accepted_by_position([]) == decode_rows.accepted_by_match([]) == []


def test_a_given_text_is_what_every_method_writes(pair: ModelSet) -> None:
    answer = [*PROMPT[:30], 5, *PROMPT[30:50]]
    decoders = decode.methods(pair, ["plain", "lookup", "draft"], 8, None, {tuple(PROMPT): answer})
    runs = {name: decoder(PROMPT) for name, decoder in decoders.items()}
    assert all(run.token_ids == answer for run in runs.values())
    assert runs["plain"].num_steps == len(answer)
    assert all(run.num_steps <= len(answer) for run in runs.values())


def test_suites_are_tasks_of_their_files(pair: ModelSet, tmp_path: Path) -> None:
    def found(suite: str, **row: object) -> list[decode_prompts.DecodePrompt]:
        file = tmp_path / f"{suite}.jsonl"
        file.write_text(json.dumps(row) + "\n", encoding="utf-8")
        options = argparse.Namespace(suite_name=suite, data=file, limit=None, max_tokens=8)
        return decode_prompts.read(options, pair)

    text = "def add(a, b):\n    return a + b\n"
    (task,) = found("infilling", prompt=text, suffix=text, canonical_solution="x")
    assert not task.answer_ids
    (task,) = found("rewrites", name="r", before=text, after=text.upper())
    assert pair.tokenizer.decode(list(task.answer_ids)) == text.upper()
    assert all(before != after for _, before, after in data.read_rewrites(decode_prompts.REWRITES))
    (task,) = found("spec-bench", question_id=1, category="coding", turns=[text, "And another one."])
    assert pair.tokenizer.decode(task.prompt_ids) == text
    with pytest.raises(TabcastError, match="no prompt"):
        found("spec-bench", question_id=1, category="writing", turns=[text])
    with pytest.raises(TabcastError, match="'turns' should be a list of texts"):
        found("spec-bench", question_id=1, category="coding", turns=text)
    with pytest.raises(TabcastError, match="needs --data"):
        decode_prompts.read(argparse.Namespace(suite_name="replay", data=None, limit=None, max_tokens=8), pair)


def test_an_interrupted_run_keeps_what_all_have_finished(pair: ModelSet) -> None:
    plain = decode.methods(pair, ["plain"], 4)
    calls, repeats = 0, 3

    def interrupted(prompt_ids: list[int]) -> decode.Run:
        nonlocal calls
        calls += 1
        if calls > 1 + repeats + 1:  # warm-up, the first prompt, one run of the second
            raise KeyboardInterrupt
        return plain[decode.PLAIN](prompt_ids)

    runs = decode.measure([PROMPT, PROMPT], {**plain, "late": interrupted}, repeats=repeats)
    finished = {name: [len(repeats) for repeats in found] for name, found in runs.items()}
    assert finished == {name: [repeats, 1] for name in (decode.PLAIN_FASTEST, decode.PLAIN, "late")}


def test_transformers_gives_the_same_tokens_in_float32(pair: ModelSet, tiny_model: Path) -> None:
    models = baselines.load(tiny_model, tiny_model, torch.device("cpu"), torch.float32)
    generators = baselines.generators(list(baselines.NAMES), models, 12)
    assert set(generators) == set(baselines.NAMES)
    ours = decode.methods(pair, ["plain"], 12)[decode.PLAIN](PROMPT).token_ids
    for name, generate in generators.items():
        token_ids, first_s, rest_s = generate(PROMPT)
        assert (token_ids, first_s > 0, rest_s > 0) == (ours, True, True), name


def test_the_command_writes_its_figures(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, page = tmp_path / "d.json", tmp_path / "d.html"
    model = ["--model", str(tiny_model), "--draft", "none", "--dtype", "float32", "--device", "cpu"]
    size = ["--limit", "2", "--max-tokens", "8", "--methods", "lookup", "--baselines", "transformers"]
    assert main(["bench", "decode", *model, *size, "--json", str(out), "--html", str(page)]) == 0
    report = json.loads(out.read_text(encoding="utf-8"))
    assert {"machine", "versions", "command", "date", "rows"} <= set(report)
    assert [row["method"] for row in report["rows"]] == ["plain, 1 row", "plain", "lookup", "transformers"]
    assert [length for length, _ in report["rows"][-1]["ms_by_completion_length"]] == [1, 8]
    if Path("/proc/self/statm").exists():
        assert all(row["peak_growth_mb"] >= 0 for row in report["rows"])
    assert "<table>" in page.read_text(encoding="utf-8")
    assert "lookup" in capsys.readouterr().out


@pytest.mark.parametrize("option", ["--methods=magic", "--baselines=magic"])
def test_an_unknown_method_is_a_usage_error(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["bench", "decode", option])
    assert caught.value.code == 2
    assert "magic" in capsys.readouterr().err
