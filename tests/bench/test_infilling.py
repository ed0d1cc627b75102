"""The infilling suite: likelihoods against transformers, filters through their process, bad data."""

from __future__ import annotations

import gzip
import json
import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from transformers import AutoModelForCausalLM

from decoding.__main__ import main
from decoding.bench.harness import data
from decoding.bench.suites import infilling
from decoding.completion.completion import HealedPrompt, prompt_tokens
from decoding.completion.sessions import Session
from decoding.models.loading.model_set import ModelSet
from decoding.protocol import CompletionOptions, CompletionRequest

ROWS = [
    {"task_id": "t/0", "prompt": "def f(x):\n    y = ", "suffix": "\n    return y\n", "canonical_solution": "x + 1"},
    {
        "task_id": "t/1",
        "prompt": "def g(x):\n",
        "suffix": "\n\nprint(g(1))\n",
        "canonical_solution": "    return x * 2",
    },
]
FRONT_END = shlex.join([sys.executable, "-P", "-m", "lsp_server"])


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write("\n".join(json.dumps(row) for row in ROWS) + "\n")
    return path


def test_the_golds_likelihood_is_transformers(pair: ModelSet, tiny_model: Path, rows: Path) -> None:
    reference = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()
    session = Session(pair)
    for row in data.read_infilling(rows):
        request = CompletionRequest(
            prompt=row.prompt, suffix=row.suffix, max_tokens=16, tabcast=CompletionOptions(heal=False)
        )
        prompt = prompt_tokens(pair, request)
        prompt_ids = prompt.ids
        gold_ids = pair.encode(row.gold)
        ids = torch.tensor([[*prompt_ids, *gold_ids]])
        with torch.no_grad():
            logits = reference(ids).logits[0, len(prompt_ids) - 1 : -1]
        expected = F.cross_entropy(logits, torch.tensor(gold_ids), reduction="sum").item()
        assert infilling.gold_nats(pair, session, prompt, gold_ids) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("is_anchored", [True, False])
def test_a_healed_golds_likelihood_is_that_of_the_allowed_tokens(
    pair: ModelSet, tiny_model: Path, is_anchored: bool
) -> None:
    assert pair.layout.template is not None
    template = replace(pair.layout.template, order="prefix_first")
    models = replace(pair, layout=replace(pair.layout, template=template, is_anchored=is_anchored))
    row = data.InfillingRow(
        name="t", prompt="import torch\ndef make(x):\n    ret", suffix="\n\nmake(1)\n", gold="urn x"
    )
    prompt = prompt_tokens(models, CompletionRequest(prompt=row.prompt, suffix=row.suffix, max_tokens=16))
    gold_ids = infilling.healed_gold(models, prompt, row)
    assert prompt.rest
    assert gold_ids is not None
    assert b"".join(models.index.token_bytes[i] for i in gold_ids) == prompt.rest + b"urn x"
    reference = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()
    with torch.no_grad():
        logits = reference(torch.tensor([[*prompt.ids, *gold_ids]])).logits[0, len(prompt.ids) - 1 : -1]
    covered, expected = b"", 0.0
    for row_of, token_id in zip(logits, gold_ids, strict=True):
        missing = prompt.rest[len(covered) :]
        fits = [
            t for t, b in enumerate(models.index.token_bytes) if b and (b.startswith(missing) or missing.startswith(b))
        ]
        expected -= float(row_of[token_id] - row_of[fits].logsumexp(0))
        covered += models.index.token_bytes[token_id]
    assert infilling.gold_nats(models, Session(models), prompt, gold_ids) == pytest.approx(expected, rel=1e-3)


def test_bytes_that_are_no_text_have_no_healed_gold(pair: ModelSet) -> None:
    row = data.InfillingRow(name="t", prompt="", suffix="", gold="x")
    assert infilling.healed_gold(pair, HealedPrompt([1], b"\xc3"), row) is None


def test_the_layout_is_told(pair: ModelSet, rows: Path) -> None:
    assert pair.layout.template is not None
    template = replace(pair.layout.template, order="prefix_first")
    anchored = replace(pair, layout=replace(pair.layout, template=template))
    classic = replace(anchored, layout=replace(anchored.layout, is_anchored=False))
    assert [infilling.describe_layout(models) for models in (anchored, classic)] == [
        "anchored layout",
        "classic layout",
    ]
    suffix_first = replace(anchored, layout=replace(anchored.layout, template=replace(template, order="suffix_first")))
    assert "the same prompt" in infilling.describe_layout(suffix_first)
    nats: dict[str, list[float]] = {}
    for models in (anchored, classic):
        found = nats.setdefault(infilling.describe_layout(models), [])
        infilling.answer(
            models, data.read_infilling(rows), 4, lambda answer, found=found: found.append(answer.gold_nats)
        )
    mid_line, new_line = zip(*nats.values(), strict=True)
    assert mid_line[0] != mid_line[1]
    assert new_line[0] == new_line[1]  # nothing is typed of its line


def test_the_shown_text_is_the_front_ends(rows: Path) -> None:
    read = data.read_infilling(rows)
    texts = ["x + 1\n    return y\n", "    return x\n\n\nclass Other:\n    pass\n"]
    answers = [infilling.Answer(row=row, text=text, gold_nats=1.0) for row, text in zip(read, texts, strict=True)]
    assert infilling.post_process([*shlex.split(FRONT_END), "filter"], answers) == ["x + 1", "    return x"]


def test_a_hole_that_takes_the_lines_end_along_is_an_empty_line_in_an_editor() -> None:
    """As in HumanEval's single lines, whose gold text ends with the line."""
    before, behind = "def f(n):\n    if n < 2:\n", "    return True\n"
    whole = data.InfillingRow(name="t", prompt=before, suffix=behind, gold="        return False\n")
    part = data.InfillingRow(name="t", prompt=before + "        return", suffix="\n" + behind, gold=" False\n")
    assert (whole.behind, part.behind) == ("\n" + behind, "\n" + behind)
    answers = [infilling.Answer(row=whole, text="        return False\n    if n", gold_nats=0.0)]
    shown = infilling.post_process([*shlex.split(FRONT_END), "filter"], answers)
    assert shown == ["        return False"]
    summary = {str(row["method"]): row for row in infilling.summarise(answers, shown)}
    assert summary["all, shown"]["exact_match_first_line"] == 100


def test_mid_line_cursors_are_told_apart(rows: Path) -> None:
    read = data.read_infilling(rows)
    assert [infilling.is_mid_line(row) for row in read] == [True, False]
    answers = [infilling.Answer(row=row, text=row.gold, gold_nats=0.0) for row in read]
    summary = {str(row["method"]): row for row in infilling.summarise(answers, None)}
    assert [summary["all, raw"]["count"], summary["mid-line, raw"]["count"]] == [2, 1]
    assert summary["all, raw"]["exact_match_whole"] == 100
    assert summary["all, raw"]["zero_accepted_percent"] == 0


def test_what_cannot_stand_there_is_counted() -> None:
    read = [data.InfillingRow(name="t", prompt="x = [1]\n", suffix="\ny = 2\n", gold="z = 3")] * 4
    texts = ["z = 3", "z = (", "", "ab" * 20 + "<|fim_pad|>"]
    answers = [infilling.Answer(row=row, text=text, gold_nats=0.0) for row, text in zip(read, texts, strict=True)]
    (found,) = infilling.summarise(answers, None, "", ["<|fim_pad|>"])
    assert (found["parses_percent"], found["parse_told"]) == (33.33, 3)
    assert (found["leaks_percent"], found["loops_percent"]) == (33.33, 0)


def test_healing_can_be_switched_off(pair: ModelSet, rows: Path) -> None:
    texts: dict[bool, list[str]] = {True: [], False: []}
    read = data.read_infilling(rows)
    for heal, found in texts.items():
        infilling.answer(pair, read, 8, lambda answer, found=found: found.append(answer.text), heal=heal)
    assert texts[True] != texts[False]


def test_the_command(tiny_model: Path, rows: Path, tmp_path: Path) -> None:
    out = tmp_path / "i.json"
    model = ["--model", str(tiny_model), "--draft", "none", "--device", "cpu"]
    size = ["--data", str(rows), "--max-tokens", "8", f"--front-end={FRONT_END}", "--json", str(out)]
    assert main(["bench", "infilling", *model, *size]) == 0
    report = json.loads(out.read_text(encoding="utf-8"))
    assert [row["method"] for row in report["rows"]] == ["all, raw", "all, shown", "mid-line, raw", "mid-line, shown"]
    assert "front-end" not in report["command"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("{", "row 1: not JSON"),
        ("[]", "row 1: expected a JSON object, found list"),
        ('{"prompt": "x"}', "row 1: field 'suffix' should be a text, it is missing"),
        (json.dumps(ROWS[0]) + '\n{"prompt": 3}', "row 2: field 'prompt' should be a text, found int"),
    ],
)
def test_bad_data_names_row_and_field(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(data.DataError) as caught:
        data.read_infilling(path)
    assert message in str(caught.value)


def test_a_missing_or_damaged_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(data.DataError, match="no data file"):
        data.read_infilling(tmp_path / "nowhere.jsonl")
    damaged = tmp_path / "damaged.jsonl.gz"
    damaged.write_bytes(gzip.compress(json.dumps(ROWS[0]).encode() * 100)[:-20])
    with pytest.raises(data.DataError, match="can't be read"):
        data.read_infilling(damaged)


@pytest.mark.skipif("TABCAST_EVAL_DIR" not in os.environ, reason="TABCAST_EVAL_DIR names no evaluation files")
def test_the_published_files_are_read() -> None:
    folder = Path(os.environ["TABCAST_EVAL_DIR"]) / "human-eval-infilling"
    assert len(data.read_infilling(folder / "HumanEval-SingleLineInfilling.jsonl.gz")) == 1033
    assert len(data.read_infilling(folder / "HumanEval-RandomSpanInfillingLight.jsonl.gz")) == 164
    replay = Path(os.environ["TABCAST_EVAL_DIR"]) / "replay" / "psf-requests.jsonl.gz"
    assert all(row.gold and row.open_files for row in data.read_replay(replay, 20))
