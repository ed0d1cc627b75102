"""Tokens to text, stops and the prompt's layout: tables of cases."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from decoding.errors import ModelError
from decoding.protocol import CompletionOptions, CompletionRequest, ContextFile
from decoding.text.detokenize import Detokenizer, token_bytes
from decoding.text.prompt_layout import LEAST_BEFORE, before_cursor, build_prompt, find_layout
from decoding.text.stops import TextStops, is_loop
from tests.tiny_models import make_tokenizer


@given(text=st.text(max_size=60))
def test_text_survives_tokens_that_cut_its_characters(text: str) -> None:
    tokenizer = Tokenizer.from_str(make_tokenizer().to_str())  # a copy, since all tests share the other
    tokenizer.encode_special_tokens = True  # as in an engine: a special token's name is text like any other
    detokenizer = Detokenizer(token_bytes(tokenizer))
    pieces = [detokenizer.push(token_id) for token_id in tokenizer.encode(text, add_special_tokens=False).ids]
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces) or "\ufffd" in text


def test_a_cut_character_is_held_back() -> None:
    tokenizer = make_tokenizer()
    detokenizer = Detokenizer(token_bytes(tokenizer))
    ids = tokenizer.encode("🦜", add_special_tokens=False).ids
    assert len(ids) > 1
    assert [detokenizer.push(token_id) for token_id in ids] == [""] * (len(ids) - 1) + ["🦜"]


@pytest.mark.parametrize(
    ("pieces", "stops", "mode", "shown", "reason"),
    [
        (["abc", "def"], [], "free", "abcdef", ""),
        (["abc", "STOP def"], ["STOP"], "free", "abc", "stop_text"),
        (["abc ST", "OP def"], ["STOP"], "free", "abc ", "stop_text"),
        (["abc ST", "AR"], ["STOP"], "free", "abc STAR", ""),
        (["a\n\nb"], ["\n\n"], "free", "a", "stop_text"),
        (["aa", "ab"], ["aab"], "free", "a", "stop_text"),
        (["x)\n", "y"], [], "line", "x)", "line"),
        (["x", " = 1\ny"], ["1"], "line", "x = ", "stop_text"),
        (["\n", "y"], [], "line", "", "line"),
        (["x\ny\n"], [], "block", "x\ny\n", ""),
    ],
)
def test_stops(pieces: list[str], stops: list[str], mode: str, shown: str, reason: str) -> None:
    checker = TextStops(stops, mode)  # type: ignore[arg-type]
    text = ""
    for piece in pieces:
        text += checker.push(piece)
        if checker.reason:
            break
    assert (text + checker.flush(), checker.reason) == (shown, reason)


def test_loops_are_seen_and_lists_are_not() -> None:
    assert is_loop([5] * 24)
    assert is_loop([1, 2, 3] * 8)
    assert not is_loop([5] * 10)
    assert not is_loop(list(range(100)))


def encode(text: str) -> list[int]:
    return list(make_tokenizer().encode(text, add_special_tokens=False).ids)


def show(ids: list[int]) -> str:
    return str(make_tokenizer().decode(ids, skip_special_tokens=False))


REQUEST = CompletionRequest(
    prompt="import os\n\ndef f(x):\n    return x",
    suffix="\n\nf(1)\n",
    tabcast=CompletionOptions(path="a/b.py", repo="demo", context=(ContextFile(path="c.py", text="c = 1\n"),)),
)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (
            "suffix_first",
            (
                "<|repo_name|>demo\n<|file_sep|>c.py\nc = 1\n<|file_sep|>a/b.py\n<|fim_prefix|><|fim_suffix|>\n\nf(1)\n"
                "<|fim_middle|>import os\n\ndef f(x):\n    return x"
            ),
        ),
        (
            "prefix_first",
            (
                "<|repo_name|>demo\n<|file_sep|>c.py\nc = 1\n<|file_sep|>a/b.py\n<|fim_prefix|>import os\n\ndef f(x):\n"
                "<|fim_suffix|>\n\nf(1)\n<|fim_middle|>    return x"
            ),
        ),
    ],
)
def test_the_prompts_layout(order: str, expected: str) -> None:
    layout = find_layout(make_tokenizer().get_vocab(), {"fim_order": order}, [0])
    assert show(build_prompt(REQUEST, layout, encode, 300).ids) == expected


def test_the_classic_layout_has_the_whole_prefix_before_the_suffix() -> None:
    layout = replace(find_layout(make_tokenizer().get_vocab(), {"fim_order": "prefix_first"}, [0]), is_anchored=False)
    prompt = build_prompt(replace(REQUEST, tabcast=CompletionOptions()), layout, encode, 300)
    assert show(prompt.ids) == (
        "<|fim_prefix|>import os\n\ndef f(x):\n    return x<|fim_suffix|>\n\nf(1)\n<|fim_middle|>"
    )
    assert show(prompt.ids[prompt.cursor - prompt.num_typed : prompt.cursor]) == "    return x"


ORDERS = ("suffix_first", "prefix_first", "suffix_then_prefix")


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("is_anchored", [True, False])
def test_the_text_before_the_cursor_is_the_same_in_every_layout(order: str, is_anchored: bool) -> None:
    layout = replace(find_layout(make_tokenizer().get_vocab(), {"fim_order": order}, [0]), is_anchored=is_anchored)
    for suffix in ("", "\n\nf(1)\n"):
        ids = build_prompt(replace(REQUEST, suffix=suffix), layout, encode, 300).ids
        assert show(before_cursor(layout, ids)) == (
            "<|repo_name|>demo\n<|file_sep|>c.py\nc = 1\n<|file_sep|>a/b.py\nimport os\n\ndef f(x):\n    return x"
        )


@pytest.mark.parametrize("order", ORDERS)
def test_the_text_before_the_cursor_only_grows(order: str) -> None:
    """Where in the prompt itself the suffix moves on with each line."""
    layout = find_layout(make_tokenizer().get_vocab(), {"fim_order": order}, [0])
    text, before = "import os\n\ndef f(x):\n    return x\n\nf(2)\nf(3)\n", list[int]()
    for end in [place + 1 for place, sign in enumerate(text) if sign == "\n"][2:]:
        request = CompletionRequest(prompt=text[:end], suffix="\n\nf(1)\n")
        found = before_cursor(layout, build_prompt(request, layout, encode, 300).ids)
        stays = max(0, len(before) - 2)  # the tokenizer joins a line's end with the next one's indentation
        assert found[:stays] == before[:stays]
        assert len(found) > len(before) >= (LEAST_BEFORE if before else 0)
        before = found
    assert show(before) == text


def test_what_has_no_suffix_or_next_to_nothing_before_it_stays_whole() -> None:
    layout = find_layout(make_tokenizer().get_vocab(), {"fim_order": "prefix_first"}, [0])
    few = build_prompt(CompletionRequest(prompt="x", suffix="y = 1\n" * 9), layout, encode, 300).ids
    for ids in (few, encode(REQUEST.prompt), []):
        assert before_cursor(layout, ids) == ids
    alone = find_layout({"a": 1}, {}, [0])
    assert before_cursor(alone, few) == few


def test_typing_within_a_line_changes_only_the_end() -> None:
    """Else each key would cost the prefill of everything behind the change."""
    for order in ("suffix_first", "prefix_first"):
        layout = find_layout(make_tokenizer().get_vocab(), {"fim_order": order}, [0])
        prompts = []
        for typed in ("", "r", "re", "return", "return x", "return x +"):
            request = CompletionRequest(prompt="import os\n\ndef f(x):\n    " + typed, suffix="\n\nf(1)\n")
            prompts.append(build_prompt(request, layout, encode, 300).ids)
        stable = prompts[0][: len(prompts[0]) - len(encode("    ")) - 1]
        assert all(prompt[: len(stable)] == stable for prompt in prompts)


@given(lines=st.integers(0, 400), budget=st.integers(40, 200))
def test_the_budget_holds_and_the_text_before_the_cursor_stays(lines: int, budget: int) -> None:
    layout = find_layout(make_tokenizer().get_vocab(), {"fim_order": "suffix_first"}, [0])
    request = CompletionRequest(prompt="x = 1\n" * lines + "y", suffix="z\n" * lines, tabcast=REQUEST.tabcast)
    ids = build_prompt(request, layout, encode, budget).ids
    assert 0 < len(ids) <= budget
    assert show(ids).endswith("y")


def test_the_cut_moves_in_steps() -> None:
    layout = find_layout(make_tokenizer().get_vocab(), {"fim_order": "suffix_first"}, [0])
    heads = {
        tuple(build_prompt(CompletionRequest(prompt="abc = 1\n" * 200 + "q" * extra), layout, encode, 200).ids[:30])
        for extra in range(8)
    }
    assert len(heads) <= 2


def test_a_model_without_a_middle_gets_the_prefix() -> None:
    layout = find_layout({"a": 1}, {}, [0])
    assert show(build_prompt(REQUEST, layout, encode, 300).ids) == REQUEST.prompt


def test_an_unknown_order_is_refused() -> None:
    with pytest.raises(ModelError, match="fim_order"):
        find_layout(make_tokenizer().get_vocab(), {"fim_order": "sideways"}, [])


def test_names_of_special_tokens_in_a_file_are_text(tiny_model: Path) -> None:
    from decoding.models.folder.tokenizer_files import load_tokenizer

    ids = load_tokenizer(tiny_model).encode("a <|endoftext|> b", add_special_tokens=False).ids
    assert 0 not in ids
