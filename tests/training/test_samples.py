"""Rows of tokens: the engine's own layout, and a stream that can be taken up again."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest

from decoding.protocol import ContextFile
from decoding.text.prompt_layout import find_layout
from decoding.training import corpus, fim_splits, samples
from decoding.training.dataloader import ParallelDataLoader
from decoding.training.fim_splits import FimSplit
from decoding.training.samples import SampleFormat, Surroundings, encode_sample
from tests.training.conftest import SOURCE

TEXT = SOURCE.format(name="area", number=1) * 3
CUT = FimSplit("def f(x):\n    ret", "urn x", "\n\ny = f(1)\n")


def _read(form: SampleFormat, ids: list[int]) -> str:
    return str(form.tokenizer.decode(ids, skip_special_tokens=False))


def test_a_sample_reads_as_the_engine_asks(form: SampleFormat) -> None:
    around = Surroundings(repo="shapes", path="a.py", context=(ContextFile(path="b.py", text="b = 1\n"),))
    assert _read(form, encode_sample(form, around, CUT, budget=500)) == (
        "<|repo_name|>shapes\n<|file_sep|>b.py\nb = 1\n<|file_sep|>a.py\n"
        f"<|fim_prefix|><|fim_suffix|>{CUT.suffix}<|fim_middle|>{CUT.prefix}{CUT.middle}<|endoftext|>"
    )


def test_a_sample_of_a_prefix_first_model_has_that_order(form: SampleFormat) -> None:
    layout = find_layout(form.tokenizer.get_vocab(), {}, [form.end_id])
    other = SampleFormat(tokenizer=form.tokenizer, layout=layout, end_id=form.end_id)
    assert _read(other, encode_sample(other, Surroundings(), CUT, budget=500)) == (
        f"<|fim_prefix|>def f(x):\n<|fim_suffix|>{CUT.suffix}<|fim_middle|>    ret{CUT.middle}<|endoftext|>"
    )


def test_the_classic_layout_has_what_is_typed_before_the_suffix(form: SampleFormat) -> None:
    classic = SampleFormat.prefix_first(form.tokenizer)
    assert _read(classic, encode_sample(classic, Surroundings(), CUT, budget=500)) == (
        f"<|fim_prefix|>{CUT.prefix}<|fim_suffix|>{CUT.suffix}<|fim_middle|>{CUT.middle}<|endoftext|>"
    )


def test_cuts_anywhere_leave_nothing_out() -> None:
    rng = random.Random(3)
    made = [fim_splits.cut_anywhere(TEXT, rng) for _ in range(200)]
    assert all(cut.prefix + (cut.middle or "") + cut.suffix == TEXT for cut in made)
    assert 70 < sum(cut.middle is None for cut in made) < 130


@pytest.mark.parametrize("middle", ["urn x", "", "\n", "é x"])
@pytest.mark.parametrize("prefix", ["", "def f(x):\n    ret", "x = 1\n", "x = 1\n    "])
def test_the_middle_follows_the_prefix_and_ends(form: SampleFormat, prefix: str, middle: str) -> None:
    ids = encode_sample(form, Surroundings(), FimSplit(prefix, middle, "\nz = 1\n"), budget=500)
    assert ids[-1] == form.end_id
    after = ids.index(form.tokenizer.token_to_id("<|fim_middle|>")) + 1
    assert form.tokenizer.decode(ids[after:-1]) == prefix + middle


def test_where_the_cursor_cuts_a_token_the_whole_token_is_learnt(form: SampleFormat) -> None:
    prefix, middle = "def f(x):\n    ret", "urn x"
    assert form.encode(prefix + middle) != form.encode(prefix) + form.encode(middle)
    ids = encode_sample(form, Surroundings(), FimSplit(prefix, middle, ""), budget=500)
    assert ids[-1 - len(form.encode(prefix + middle)) : -1] == form.encode(prefix + middle)


def test_cuts_put_the_text_back_together_and_are_of_every_kind() -> None:
    rng = random.Random(0)
    kinds = set()
    for _ in range(500):
        cut = fim_splits.choose_split(TEXT, rng)
        assert TEXT.startswith(cut.prefix + (cut.middle or "") + cut.suffix)
        kinds.add("plain" if cut.middle is None else "nothing missing" if not cut.middle else "some")
        if cut.middle and cut.prefix.endswith("float:") and cut.middle.count("\n") > 2:
            kinds.add("body")
        if cut.middle and (not cut.prefix or cut.prefix.endswith("\n")):
            kinds.add("line start")
        if cut.middle and cut.prefix[-1:].isalpha() and cut.middle[0].isalpha():
            kinds.add("inside a word")
    assert kinds == {"plain", "nothing missing", "some", "body", "line start", "inside a word"}


def test_windows_are_the_whole_text() -> None:
    text = TEXT * 20
    pieces = list(fim_splits.windows(text, random.Random(1)))
    assert len(pieces) > 2
    assert text.startswith("".join(pieces))
    assert all(piece.endswith("\n") for piece in pieces)


def test_the_stream_repeats_for_a_seed_and_goes_on_where_it_was(
    form: SampleFormat, files: list[corpus.SourceFile]
) -> None:
    first, second = (samples.Samples(files, form, row_len=64, seed=3) for _ in range(2))
    for _ in range(40):  # several epochs
        assert np.array_equal(first.batch(2), second.batch(2))
    third = samples.Samples(files, form, row_len=64, seed=99)
    third.restore(first.state())
    for _ in range(40):
        assert np.array_equal(first.batch(2), third.batch(2))
    assert not np.array_equal(first.batch(2), samples.Samples(files, form, row_len=64, seed=4).batch(2))


def test_context_and_repository_are_there_now_and_then(form: SampleFormat, files: list[corpus.SourceFile]) -> None:
    text = _read(form, samples.Samples(files, form, row_len=1024, seed=1).batch(10).flatten().tolist())
    assert "<|repo_name|>package\n" in text
    assert "<|file_sep|>area.py\n" in text
    assert "<|file_sep|>src/" in text
    assert re.search(r"<\|file_sep\|>[^<]*<\|file_sep\|>[^<]*<\|fim_prefix\|>", text)


def test_processes_make_the_same_kind_of_rows(form: SampleFormat, files: list[corpus.SourceFile]) -> None:
    def make(seed: int) -> samples.Samples:
        return samples.Samples(files, form, row_len=32, seed=seed)

    feed = ParallelDataLoader(make, num_workers=2, num_rows=3, seed=1)
    try:
        rows = [feed.batch(3) for _ in range(4)]
        feed.restore(feed.state())
        rows.append(feed.batch(3))
    finally:
        feed.close()
    assert {row.shape for row in rows} == {(3, 32)}
    assert not np.array_equal(rows[0], rows[1])
    assert not np.array_equal(rows[0], rows[4])
