"""Tokenizers that are built from a GGUF file's tables are those of the models' own tokenizer.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import GPT2Tokenizer, LlamaTokenizer, Qwen2Tokenizer
from transformers.convert_slow_tokenizer import generate_merges

from decoding.errors import ModelError
from decoding.models.folder.expressions import why_not_bounded
from decoding.models.folder.tokenizer_files import begin_token_ids, build_tokenizer, from_tables
from decoding.models.gguf.splitting import SPLITTINGS
from decoding.models.gguf.tokenizer import describe_tokenizer, tokenizer_digest
from decoding.protocol import FIM_TEMPLATES, find_template
from decoding.text.detokenize import Detokenizer, token_bytes
from tests.gguf_corpus import CORPUS, PYTHON
from tests.gguf_models import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED

FILE = Path("x.gguf")
ADDED = {"<|endoftext|>": CONTROL, "<|fim_prefix|>": CONTROL, "<tool_call>": USER_DEFINED, "    ": USER_DEFINED}


def learnt(splitting: Any, normalizer: Any = None) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges that a splitting brings about on the corpus."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = splitting
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=900, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
VOCABULARY, MERGES = learnt(BYTES)


def table(pre: str, **changes: Any) -> dict[str, Any]:
    """The settings of a file: learnt tokens, added ones, and padding."""
    tokens = sorted(VOCABULARY, key=VOCABULARY.__getitem__)
    kinds = [*[NORMAL] * len(tokens), *ADDED.values(), UNUSED, UNUSED]
    names = [*tokens, *ADDED, "[PAD1]", "[PAD2]"]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": names,
        "tokenizer.ggml.token_type": np.array(kinds, np.int32),
        "tokenizer.ggml.merges": [" ".join(merge) for merge in MERGES],
        **changes,
    }


def built(metadata: dict[str, Any]) -> Tokenizer:
    return build_tokenizer(describe_tokenizer(metadata, FILE), FILE, from_tables)[0]


def ids_of(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False).ids


def pieces(pre: str, text: str) -> list[str]:
    """How a text is split, before anything is merged."""
    tokenizer = built(table(pre))
    return [text[begin:end] for _, (begin, end) in tokenizer.pre_tokenizer.pre_tokenize_str(text)]


TEXT = "I'll x1234 THEY'D  \n\n  fooBar_baz(9.5);//é 漢字テ"
# Pieces, with a bar between them; all end alike.
END = "(|9|.|5|);//|é| 漢字テ"
WANTED = {
    "qwen2": "I|'ll| x|1|2|3|4| THEY|'D|  \n\n| | fooBar|_baz|" + END,
    "llama-bpe": "I|'ll| x|123|4| THEY|'D|  \n\n| | fooBar|_baz|" + END,
    "starcoder": "I|'ll| x|1|2|3|4| THEY|'|D|  \n\n | fooBar|_|baz|" + END,
    "gpt-2": "I|'ll| x|1234| THEY|'|D|  \n\n | fooBar|_|baz|" + END,
    "deepseek-coder": "I|'|ll| x|1|2|3|4| THEY|'|D|  |\n|\n| | fooBar|_|baz|(|9|.|5|);//|é| |漢字テ",
    "deepseek-llm": "I|'|ll| x|1|2|3|4| THEY|'|D|  |\n|\n| | fooBar|_|baz|(|9|.|5|);//|é| |漢字テ",
    "seed-coder": "I|'ll| x|1|2|3|4| THEY|'D|  \n\n| | fooBar|_baz|" + END,
    "tekken": "I|'ll| x|1|2|3|4| THEY|'D|  \n\n| | foo|Bar|_baz|" + END,
}
SAME = {"llama3": "llama-bpe", "llama-v3": "llama-bpe", "glm4": "llama-bpe", "chatglm-bpe": "llama-bpe"}
SAME |= {"dbrx": "llama-bpe", "stablelm2": "qwen2"}
SAME |= {"refact": "starcoder", "smollm": "starcoder", "codeshell": "starcoder", "mellum": "gpt-2"}


@pytest.mark.parametrize("pre", SPLITTINGS)
def test_each_name_splits_as_its_models_do(pre: str) -> None:
    assert "|".join(pieces(pre, TEXT)) == WANTED[SAME.get(pre, pre)]


@pytest.mark.parametrize("pre", SPLITTINGS)
def test_no_expression_tries_for_ever_and_no_byte_is_lost(pre: str) -> None:
    tokenizer = built(table(pre))
    for part in SPLITTINGS[pre].parts:
        if part["type"] == "Split":
            assert not why_not_bounded(part["pattern"]["Regex"])
    of_ids = token_bytes(tokenizer)
    for text in CORPUS:
        detokenizer = Detokenizer(of_ids)
        ids = ids_of(tokenizer, text)
        assert "".join(map(detokenizer.push, ids)) == (
            tokenizer.normalizer.normalize_str(text) if tokenizer.normalizer else text
        )


FAMILIES = [
    ("deepseek-coder", "deepseek-coder", 0),
    ("deepseek-coder", "deepseek-llm", 2**16),
    ("qwen", "qwen2", 0),
    ("starcoder2", "starcoder", 0),
]


@pytest.mark.parametrize("told", [None, "default"])
@pytest.mark.parametrize(("family", "pre", "num_more"), FAMILIES)
def test_a_file_that_does_not_name_its_splitting_is_known_by_its_tokens(
    family: str, pre: str, num_more: int, told: str | None
) -> None:
    named = table(pre)
    more = [*FIM_TEMPLATES[family].names, *(f"more{i}" for i in range(num_more))]
    more = [token for token in more if token not in named["tokenizer.ggml.tokens"]]
    kinds = np.append(named["tokenizer.ggml.token_type"], np.full(len(more), CONTROL, np.int32))
    named |= {"tokenizer.ggml.tokens": [*named["tokenizer.ggml.tokens"], *more], "tokenizer.ggml.token_type": kinds}
    untold = named | {"tokenizer.ggml.pre": told}
    assert describe_tokenizer(untold, FILE) == describe_tokenizer(named, FILE)


@pytest.mark.parametrize("told", [None, "default", "an-unknown-one", ""])
def test_a_file_whose_splitting_nobody_knows_is_refused_with_advice(told: str | None) -> None:
    with pytest.raises(ModelError, match=r"tokenizer\.ggml\.pre\) .* newer file of this model, or its Hugging Face"):
        built(table("gpt-2") | {"tokenizer.ggml.pre": told})


@pytest.mark.parametrize("pre", ["qwen2", "llama-bpe", "deepseek-coder", "deepseek-llm"])
def test_it_is_the_tokenizer_of_its_description(pre: str) -> None:
    """As the library builds it from a tokenizer.json."""
    described = describe_tokenizer(table(pre), FILE)
    ours, our_vocabulary = build_tokenizer(described, FILE, from_tables)
    theirs, their_vocabulary = build_tokenizer(json.loads(json.dumps(described)), FILE)
    assert ours.to_str() == theirs.to_str()
    assert our_vocabulary == their_vocabulary == ours.get_vocab(with_added_tokens=True)


def test_what_tells_the_tokenizer_tells_it_apart() -> None:
    digest = tokenizer_digest(table("qwen2"))
    assert digest == tokenizer_digest({**table("qwen2"), "general.name": "another model"})
    types = np.array([*table("qwen2")["tokenizer.ggml.token_type"]])
    types[-3] = NORMAL
    merges = table("qwen2")["tokenizer.ggml.merges"]
    for change in ({"tokenizer.ggml.token_type": types}, {"tokenizer.ggml.merges": merges[::-1]}):
        assert digest != tokenizer_digest({**table("qwen2"), **change})
    assert digest != tokenizer_digest(table("llama-bpe"))


def test_signs_before_a_newline_are_joined_or_not() -> None:
    assert pieces("qwen2", "x;\n\ny") == ["x", ";\n\n", "y"]
    assert pieces("seed-coder", "x;\n\ny") == ["x", ";", "\n\n", "y"]
    assert pieces("tekken", "x /\n") == ["x", " /\n"]


@pytest.mark.parametrize(("pre", "kind"), [("qwen2", Qwen2Tokenizer), ("gpt-2", GPT2Tokenizer)])
def test_it_equals_what_transformers_builds(pre: str, kind: Any) -> None:
    theirs = kind(vocab=dict(VOCABULARY), merges=list(MERGES))
    tokenizer = built(
        table(
            pre,
            **{
                "tokenizer.ggml.token_type": None,
                "tokenizer.ggml.tokens": sorted(VOCABULARY, key=VOCABULARY.__getitem__),
            },
        )
    )
    for text in (*CORPUS, "e\u0301 decomposed"):
        assert ids_of(tokenizer, text) == theirs.encode(text, add_special_tokens=False), text


def test_control_tokens_are_text_in_a_text_and_user_defined_ones_are_found_first() -> None:
    tokenizer = built(table("qwen2"))
    ids = tokenizer.encode("<|fim_prefix|><tool_call>", add_special_tokens=False).ids
    assert tokenizer.token_to_id("<tool_call>") in ids
    assert tokenizer.token_to_id("<|fim_prefix|>") not in ids
    assert tokenizer.encode("x    y", add_special_tokens=False).tokens == ["x", "    ", "y"]
    of_ids = token_bytes(tokenizer)
    assert of_ids[tokenizer.token_to_id("<|fim_prefix|>")] == b""
    assert of_ids[tokenizer.token_to_id("    ")] == b"    "


def test_padding_has_no_id() -> None:
    tokenizer = built(table("qwen2"))
    assert tokenizer.token_to_id("[PAD1]") is None
    assert max(tokenizer.get_vocab(with_added_tokens=True).values()) == len(VOCABULARY) + len(ADDED) - 1


def test_an_unused_id_in_the_middle_has_no_text_and_moves_no_other(tmp_path: Path) -> None:
    plain = table("qwen2")
    at = len(VOCABULARY)
    names, kinds = plain["tokenizer.ggml.tokens"], plain["tokenizer.ggml.token_type"]
    gap = {
        "tokenizer.ggml.tokens": [*names[:at], "<unused0>", *names[at:]],
        "tokenizer.ggml.token_type": np.insert(kinds, at, np.int32(UNUSED)),
    }
    ours, whole = built(plain | gap), built(plain)
    assert ours.token_to_id("<unused0>") is None
    assert token_bytes(ours)[at] == b""
    assert {name: ours.token_to_id(name) for name in ADDED} == {name: whole.token_to_id(name) + 1 for name in ADDED}
    for text in (*CORPUS, "<unused0>"):
        assert ids_of(ours, text) == [i + (i >= at) for i in ids_of(whole, text)], text


@pytest.mark.parametrize("name", ["[PAD7]", "<unused7>", "<dummy00007>"])
@pytest.mark.parametrize("kind", [NORMAL, CONTROL, USER_DEFINED])
def test_an_id_that_its_name_tells_to_be_unused_is_none_whatever_its_type(name: str, kind: int) -> None:
    plain = table("qwen2")
    kinds = np.append(plain["tokenizer.ggml.token_type"], np.int32(kind))
    tokenizer = built(
        plain | {"tokenizer.ggml.tokens": [*plain["tokenizer.ggml.tokens"], name], "tokenizer.ggml.token_type": kinds}
    )
    assert tokenizer.token_to_id(name) is None
    assert ids_of(tokenizer, name) == ids_of(built(plain), name)
    assert tokenizer.get_vocab_size() == built(plain).get_vocab_size()


def test_whole_words_are_taken_where_the_family_does_so() -> None:
    """Llama 3 has tokens that no merges lead to."""
    names = [*table("qwen2")["tokenizer.ggml.tokens"], "ĠZyzzyva"]
    kinds = np.append(table("qwen2")["tokenizer.ggml.token_type"], np.int32(NORMAL))
    more = {"tokenizer.ggml.tokens": names, "tokenizer.ggml.token_type": kinds}
    assert "ĠZyzzyva" in built(table("llama-bpe", **more)).encode("a Zyzzyva").tokens
    assert "ĠZyzzyva" not in built(table("qwen2", **more)).encode("a Zyzzyva").tokens


@pytest.mark.parametrize(
    ("pre", "adds", "begins"),
    [("qwen2", None, False), ("qwen2", True, True), ("llama-bpe", None, True), ("llama-bpe", False, False)],
)
def test_what_opens_a_text_is_what_the_file_says(pre: str, adds: bool | None, begins: bool, tmp_path: Path) -> None:
    token_id = len(VOCABULARY)
    told = {} if adds is None else {"tokenizer.ggml.add_bos_token": adds}
    tokenizer = built(table(pre, **{"tokenizer.ggml.bos_token_id": token_id}, **told))
    assert begin_token_ids(tmp_path / "x.gguf", tokenizer) == ([token_id] if begins else [])


def sentence_pieces() -> tuple[dict[str, Any], dict[str, int], list[tuple[str, float]]]:
    """A SentencePiece table: the unknown, control tokens, bytes, and pieces with falling scores."""
    vocabulary, _ = learnt(pre_tokenizers.Metaspace(prepend_scheme="never", split=True), normalizers.NFC())
    alphabet = set(pre_tokenizers.ByteLevel.alphabet())
    found = [
        piece
        for piece in sorted(vocabulary, key=vocabulary.__getitem__)
        if len(piece) > 1 or piece not in alphabet or piece.isascii()
    ]
    found = [piece for piece in found if piece != " " and not any(ord(sign) < 32 for sign in piece)]
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *found]
    names += ["▁<PRE>", "▁<SUF>", "▁<MID>", "▁<EOT>"]
    kinds = [UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256, *[NORMAL] * len(found), *[CONTROL] * 4]
    scores = [*[0.0] * 259, *(-float(i) for i in range(len(found))), *[0.0] * 4]
    metadata = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": names,
        "tokenizer.ggml.token_type": np.array(kinds, np.int32),
        "tokenizer.ggml.scores": np.array(scores, np.float32),
        "tokenizer.ggml.bos_token_id": 1,
    }
    pieces = [(name, score) for name, score, kind in zip(names, scores, kinds, strict=True) if kind == NORMAL]
    return metadata, {name: i for i, name in enumerate(names)}, pieces


def test_sentence_pieces_are_those_of_transformers(tmp_path: Path) -> None:
    metadata, vocabulary, pieces = sentence_pieces()
    tokenizer = built(metadata)
    merges = generate_merges(vocabulary, dict(pieces))
    theirs = LlamaTokenizer(vocab=vocabulary, merges=merges, add_prefix_space=False)
    theirs.backend_tokenizer.encode_special_tokens = True
    for text in CORPUS:
        assert ids_of(tokenizer, text) == theirs.encode(text, add_special_tokens=False), text
    assert begin_token_ids(tmp_path / "x.gguf", tokenizer) == [1]
    assert find_template(tokenizer.get_vocab()) == FIM_TEMPLATES["codellama"]


def test_sentence_pieces_lose_no_byte_and_make_no_control_token() -> None:
    tokenizer = built(sentence_pieces()[0])
    of_ids = token_bytes(tokenizer)
    for text in (*CORPUS, "</s><s>▁<PRE>", "𐍈"):
        ids = ids_of(tokenizer, text)
        assert b"".join(of_ids[token_id] for token_id in ids).decode() == text.replace("▁", " ")
        assert not {1, 2} & set(ids)


@pytest.mark.parametrize("sign", ["▁", " "])
def test_indentation_is_one_token_where_the_family_has_runs_of_spaces(sign: str) -> None:
    """Gemma's converter has written them in both ways."""
    metadata, _, _ = sentence_pieces()
    run = sign * 4
    metadata["tokenizer.ggml.tokens"] = [*metadata["tokenizer.ggml.tokens"], run]
    metadata["tokenizer.ggml.token_type"] = np.append(metadata["tokenizer.ggml.token_type"], np.int32(USER_DEFINED))
    metadata["tokenizer.ggml.scores"] = np.append(metadata["tokenizer.ggml.scores"], np.float32(0))
    tokenizer = built(metadata)
    last = len(metadata["tokenizer.ggml.tokens"]) - 1
    assert ids_of(tokenizer, "    x\n    y").count(last) == 2
    assert token_bytes(tokenizer)[last] == b"    "


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"tokenizer.ggml.scores": None}, "scores must be a list"),
        ({"tokenizer.ggml.scores": np.zeros(3, np.float32)}, "scores must be a list"),
        ({"tokenizer.ggml.tokens": []}, "holds no tokenizer"),
        ({"tokenizer.ggml.tokens": "text"}, "holds no tokenizer"),
        ({"tokenizer.ggml.tokens": ["a", "a"], "tokenizer.ggml.token_type": None}, "both the token 'a'"),
    ],
)
def test_tables_that_do_not_fit_are_refused(changes: dict[str, Any], expected: str) -> None:
    metadata = sentence_pieces()[0] | changes
    if "tokenizer.ggml.token_type" in changes:
        metadata["tokenizer.ggml.scores"] = np.zeros(2, np.float32)
    with pytest.raises(ModelError, match=expected):
        built(metadata)


def test_scores_that_are_not_numbers_do_no_harm() -> None:
    metadata, _, _ = sentence_pieces()
    metadata["tokenizer.ggml.scores"] = np.full(len(metadata["tokenizer.ggml.tokens"]), np.nan, np.float32)
    assert built(metadata).encode(PYTHON).ids
