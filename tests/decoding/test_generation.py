"""`decoding.generate`, and the README's example of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import decoding
from decoding.errors import RequestError
from decoding.generation import Generated
from decoding.speculation.sampling import Sampling
from tests.tiny_models import FAMILIES, make_model

README = Path(__file__).parents[2] / "README.md"
PROMPT = "def f(x):\n    return f(x - 1) + f(x - 2)\n\n\ndef g(x):\n    return"


def load(folder: Path) -> tuple[Any, Any]:
    return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_output_is_the_models_own(tiny_models: dict[str, Path], tmp_path: Path, family: str) -> None:
    model, tokenizer = load(tiny_models[family])
    draft, _ = load(make_model(tmp_path / "draft", "llama", seed=1, layers=1))
    usual = model.config._attn_implementation
    for sampling in (Sampling(), Sampling(temperature=0.8, top_p=0.9, seed=2)):
        keywords: dict[str, Any] = {"max_new_tokens": 24, "sampling": sampling}
        plain = decoding.generate(model, tokenizer, PROMPT, speculative=False, **keywords)
        assert decoding.generate(model, tokenizer, PROMPT, **keywords).token_ids == plain.token_ids
        drafted = decoding.generate(model, tokenizer, PROMPT, draft=draft, **keywords)
        assert (drafted.token_ids, drafted.text, drafted.reason) == (plain.token_ids, plain.text, plain.reason)
        assert (drafted.num_drafted > 0) >= (plain.num_drafted > 0)
    assert model.config._attn_implementation == usual
    # It still does for transformers what it did before.
    ids = tokenizer(PROMPT, return_tensors="pt")
    theirs = model.generate(**ids, max_new_tokens=6, do_sample=False)[0, ids["input_ids"].shape[1] :]
    ours = decoding.generate(model, tokenizer, PROMPT, max_new_tokens=6)
    assert list(ours.token_ids) == [token for token in theirs.tolist() if token != 0]


def test_stops_end_it_where_they_begin(tiny_model: Path) -> None:
    model, tokenizer = load(tiny_model)
    free = decoding.generate(model, tokenizer, PROMPT, max_new_tokens=30)
    stop = free.text[5:8]
    stopped = decoding.generate(model, tokenizer, PROMPT, max_new_tokens=30, stop=stop)
    assert stopped.text == free.text[: free.text.index(stop)]
    assert (stopped.reason, str(stopped)) == ("stop", stopped.text)
    assert decoding.generate(model, tokenizer, PROMPT, max_new_tokens=3).reason == "length"
    ids = tokenizer.encode(PROMPT)
    assert decoding.generate(model, tokenizer, ids, max_new_tokens=5).token_ids == free.token_ids[:5]


def test_what_leaves_no_room_is_refused(tiny_model: Path) -> None:
    model, tokenizer = load(tiny_model)
    for prompt, message in (("", "needs a token"), ("x " * 900, "context ends")):
        with pytest.raises(RequestError, match=message):
            decoding.generate(model, tokenizer, prompt)
    long = decoding.generate(model, tokenizer, [9] * 290, max_new_tokens=1000)
    assert long.reason in ("context", "stop")


def test_the_readmes_example_runs(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    (example,) = [block for block in blocks if "decoding" in block]
    named = re.findall(r'"([\w.-]+/[\w.-]+)"', example)
    assert named
    for name in named:
        example = example.replace(name, str(tiny_model))
    scope: dict[str, Any] = {}
    torch.manual_seed(0)
    exec(example, scope)
    assert capsys.readouterr().out
    assert any(isinstance(value, Generated) for value in scope.values())


def test_the_package_has_nothing_else_by_that_way() -> None:
    with pytest.raises(AttributeError, match="no attribute 'generated'"):
        _ = decoding.generated
