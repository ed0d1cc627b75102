"""What each family of models is asked with, token for token; and what the user may change about it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from decoding.config import load
from decoding.errors import ConfigError
from decoding.models.folder.tokenizer_files import begin_token_ids, load_tokenizer
from decoding.protocol import FIM_TEMPLATES, CompletionOptions, CompletionRequest, ContextFile
from decoding.text.prompt_layout import Layout, build_prompt, find_layout
from tests.tiny_models import make_tokenizer

CURSOR = CompletionRequest(prompt="def f(x):\n  re", suffix="\n\nf(1)\n")
PROJECT = replace(
    CURSOR, tabcast=CompletionOptions(path="a.py", repo="demo", context=(ContextFile(path="c.py", text="c = 1"),))
)
ABOVE, TYPED, SUFFIX = "def f(x):\n", "  re", "\n\nf(1)\n"

# Family, the special tokens that its tokenizer has, and what it is asked with, without a project and with one.
QWEN = ("<|endoftext|>", "<|im_end|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>")
CASES = {
    "qwen": (
        (*QWEN, "<|repo_name|>", "<|file_sep|>"),
        f"<|fim_prefix|>{ABOVE}<|fim_suffix|>{SUFFIX}<|fim_middle|>{TYPED}",
        (
            f"<|repo_name|>demo\n<|file_sep|>c.py\nc = 1<|file_sep|>a.py\n"
            f"<|fim_prefix|>{ABOVE}<|fim_suffix|>{SUFFIX}<|fim_middle|>{TYPED}"
        ),
    ),
    "codegemma": (
        ("<eos>", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|file_separator|>"),
        f"<|fim_prefix|>{ABOVE}<|fim_suffix|>{SUFFIX}<|fim_middle|>{TYPED}",
        (
            f"<|file_separator|>c.py\nc = 1<|file_separator|>a.py\n"
            f"<|fim_prefix|>{ABOVE}<|fim_suffix|>{SUFFIX}<|fim_middle|>{TYPED}"
        ),
    ),
    "granite-4": (
        ("<|end_of_text|>", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|filename|>", "<|reponame|>"),
        f"<|fim_prefix|>{ABOVE}<|fim_suffix|>{SUFFIX}<|fim_middle|>{TYPED}",
        (
            f"<|reponame|>demo\n<|filename|>c.py\nc = 1<|filename|>a.py\n"
            f"<|fim_prefix|>{ABOVE}<|fim_suffix|>{SUFFIX}<|fim_middle|>{TYPED}"
        ),
    ),
    "starcoder2": (
        ("<|endoftext|>", "<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<file_sep>", "<repo_name>"),
        f"<fim_prefix>{ABOVE}<fim_suffix>{SUFFIX}<fim_middle>{TYPED}",
        (
            f"<repo_name>demo\n<file_sep>c.py\nc = 1<file_sep>a.py\n"
            f"<fim_prefix>{ABOVE}<fim_suffix>{SUFFIX}<fim_middle>{TYPED}"
        ),
    ),
    "mellum": (
        ("<|endoftext|>", "<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<filename>", "<reponame>"),
        f"<fim_suffix>{SUFFIX}<fim_prefix>{ABOVE}<fim_middle>{TYPED}",
        f"<filename>c.py\nc = 1<filename>a.py\n<fim_suffix>{SUFFIX}<fim_prefix>{ABOVE}<fim_middle>{TYPED}",
    ),
    "starcoder": (
        ("<|endoftext|>", "<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<filename>", "<reponame>"),
        f"<fim_prefix>{ABOVE}<fim_suffix>{SUFFIX}<fim_middle>{TYPED}",
        (
            f"<reponame>demo\n<filename>c.py\nc = 1<filename>a.py\n"
            f"<fim_prefix>{ABOVE}<fim_suffix>{SUFFIX}<fim_middle>{TYPED}"
        ),
    ),
    "santacoder": (
        ("<|endoftext|>", "<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
        f"<fim-prefix>{ABOVE}<fim-suffix>{SUFFIX}<fim-middle>{TYPED}",
        f"<fim-prefix>{ABOVE}<fim-suffix>{SUFFIX}<fim-middle>{TYPED}",
    ),
    "deepseek-coder": (
        ("<｜end▁of▁sentence｜>", "<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
        f"<｜fim▁begin｜>{ABOVE}<｜fim▁hole｜>{SUFFIX}<｜fim▁end｜>{TYPED}",
        f"<｜fim▁begin｜>#c.py\nc = 1\n#a.py\n{ABOVE}<｜fim▁hole｜>{SUFFIX}<｜fim▁end｜>{TYPED}",
    ),
    "codestral": (
        ("</s>", "[SUFFIX]", "[PREFIX]", "[MIDDLE]"),
        f"[SUFFIX]{SUFFIX}[PREFIX] {ABOVE}{TYPED}",
        f"[SUFFIX]{SUFFIX}[PREFIX]+++++ c.py\nc = 1\n+++++ a.py\n{ABOVE}{TYPED}",
    ),
    "codellama": (
        ("</s>", "▁<PRE>", "▁<SUF>", "▁<MID>", "▁<EOT>"),
        f"▁<PRE> {ABOVE}▁<SUF>{SUFFIX}▁<MID>{TYPED}",
        f"▁<PRE> {ABOVE}▁<SUF>{SUFFIX}▁<MID>{TYPED}",
    ),
    "seed-coder": (
        ("<[end▁of▁sentence]>", "<[fim-prefix]>", "<[fim-suffix]>", "<[fim-middle]>"),
        f"<[fim-suffix]>{SUFFIX}<[fim-prefix]>{ABOVE}<[fim-middle]>{TYPED}",
        f"<[fim-suffix]>{SUFFIX}<[fim-prefix]>{ABOVE}<[fim-middle]>{TYPED}",
    ),
    "glm": (
        ("<|endoftext|>", "<|user|>", "<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"),
        f"<|code_prefix|>{ABOVE}<|code_suffix|>{SUFFIX}<|code_middle|>{TYPED}",
        f"<|code_prefix|>{ABOVE}<|code_suffix|>{SUFFIX}<|code_middle|>{TYPED}",
    ),
    "aixcoder": (
        ("</s>", "▁<AIX-SPAN-PRE>", "▁<AIX-SPAN-POST>", "▁<AIX-SPAN-MIDDLE>"),
        f"▁<AIX-SPAN-PRE>▁<AIX-SPAN-POST>{SUFFIX}▁<AIX-SPAN-MIDDLE>{ABOVE}{TYPED}",
        (
            f"▁<AIX-SPAN-PRE>▁<AIX-SPAN-POST>{SUFFIX}▁<AIX-SPAN-MIDDLE># the file path is: c.py\nc = 1\n"
            f"# the file path is: a.py\n{ABOVE}{TYPED}"
        ),
    ),
}
MODEL_NAMES = {"mellum": "JetBrains/Mellum-4b-base"}


@pytest.fixture
def tokenizer_of(tmp_path: Path) -> Callable[[str], Tokenizer]:
    """A byte-level tokenizer with a family's special tokens, and no others."""

    def make(family: str) -> Tokenizer:
        described = json.loads(make_tokenizer().to_str())
        described["added_tokens"] = []
        tokenizer = Tokenizer.from_str(json.dumps(described))
        tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in CASES[family][0]])
        tokenizer.save(str(tmp_path / "tokenizer.json"))
        return load_tokenizer(tmp_path)

    return make


def layout_of(family: str, tokenizer: Tokenizer) -> Layout:
    # What the table declares, and not what the tokenizer was trained with: those names are ordinary tokens here.
    vocabulary = {name: tokenizer.token_to_id(name) for name in CASES[family][0]}
    return find_layout(vocabulary, {}, [], model_name=MODEL_NAMES.get(family, ""))


def test_every_template_has_a_case() -> None:
    assert CASES.keys() == FIM_TEMPLATES.keys()


@pytest.mark.parametrize("family", CASES)
def test_a_family_is_asked_in_its_own_way(family: str, tokenizer_of: Callable[[str], Tokenizer]) -> None:
    tokenizer = tokenizer_of(family)
    layout = layout_of(family, tokenizer)
    special = {tokenizer.token_to_id(name): name for name in CASES[family][0]}

    def encode(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False).ids)

    for request, expected in zip((CURSOR, PROJECT), CASES[family][1:], strict=True):
        prompt = build_prompt(request, layout, encode, 300)
        shown = ""
        run: list[int] = []
        for token_id in [*prompt.ids, None]:
            if token_id in special or token_id is None:
                shown += tokenizer.decode(run)
                shown += special.get(token_id, "")  # type: ignore[arg-type]
                run = []
            else:
                run.append(token_id)
        assert shown == expected
        assert {special[token_id] for token_id in layout.stop_ids} >= set(CASES[family][0]) - {"<reponame>"}


@pytest.mark.parametrize(
    "family", [name for name, template in FIM_TEMPLATES.items() if template.order == "prefix_first"]
)
def test_typing_within_a_line_changes_only_the_end(family: str, tokenizer_of: Callable[[str], Tokenizer]) -> None:
    tokenizer = tokenizer_of(family)
    layout = layout_of(family, tokenizer)

    def encode(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False).ids)

    prompts = [
        build_prompt(replace(CURSOR, prompt=CURSOR.prompt + more), layout, encode, 300)
        for more in ("", "t", "turn", "turn x")
    ]
    stable = prompts[0].ids[: -prompts[0].num_typed]
    assert len(stable) > len(encode(ABOVE + SUFFIX))
    assert all(prompt.ids[: len(stable)] == stable for prompt in prompts)


def test_the_user_may_change_all_of_it(tmp_path: Path, tokenizer_of: Callable[[str], Tokenizer]) -> None:
    file = tmp_path / "config.toml"
    file.write_text(
        "[engine.fim]\nprefix = '<｜fim▁begin｜>'\nsuffix = '<｜fim▁end｜>'\nmiddle = ''\n"
        "order = 'suffix_then_prefix'\nstops = ['<｜fim▁hole｜>']\n"
    )
    config = load({}, {"TABCAST_CONFIG": str(file)})
    tokenizer = tokenizer_of("deepseek-coder")
    layout = find_layout(tokenizer.get_vocab(), {}, [], chosen=config.fim)
    assert layout.template is not None
    assert (layout.template.order, layout.template.middle) == ("suffix_then_prefix", "")
    assert layout.stop_ids == {tokenizer.token_to_id(f"<｜fim▁{name}｜>") for name in ("begin", "hole", "end")}
    assert find_layout(tokenizer.get_vocab(), {}, [], chosen={"order": "none"}).template is None


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"suffix": "<nowhere>"}, "no token '<nowhere>'"),
        ({"prefix": "[X]"}, r"fim\.prefix and fim\.suffix must name tokens"),
        ({"order": "sideways"}, r"fim\.order must be one of"),
        ({"stops": "<a>"}, r"fim\.stops can't be '<a>'"),
        ({"colour": "red"}, r"unknown setting fim\.colour"),
    ],
)
def test_a_bad_template_is_refused(
    chosen: dict[str, object], message: str, tokenizer_of: Callable[[str], Tokenizer]
) -> None:
    with pytest.raises(ConfigError, match=message):
        find_layout(tokenizer_of("deepseek-coder").get_vocab(), {}, [], chosen=chosen)


def sentencepiece(folder: Path, prepends: str) -> Path:
    """A tokenizer of Llama's kind, which puts a space before every text and an opening token before that."""
    tokens = ["<unk>", "<s>", "▁", "a", "b", "▁a", "\n", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokenizer = Tokenizer(
        models.BPE({token: i for i, token in enumerate(tokens)}, [("▁", "a")], byte_fallback=True, unk_token="<unk>")
    )
    if prepends == "normalizer":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.add_special_tokens(["<s>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.mark.parametrize("prepends", ["normalizer", "pre_tokenizer"])
def test_a_prompt_of_several_texts_gets_no_spaces_between_them(tmp_path: Path, prepends: str) -> None:
    tokenizer = load_tokenizer(sentencepiece(tmp_path, prepends))
    assert tokenizer.encode("ab", add_special_tokens=False).tokens == ["a", "b"]
    assert tokenizer.encode(" ab", add_special_tokens=False).tokens == ["▁a", "b"]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("", [1]),
        ('{"add_bos_token": true, "bos_token": {"content": "<s>"}}', [1]),
        ('{"add_bos_token": false, "bos_token": "<s>"}', []),
    ],
)
def test_what_opens_a_text_comes_from_the_tokenizer(tmp_path: Path, settings: str, expected: list[int]) -> None:
    folder = sentencepiece(tmp_path, "normalizer")
    if settings:
        (folder / "tokenizer_config.json").write_text(settings)
    begin_ids = begin_token_ids(folder, load_tokenizer(folder))
    assert begin_ids == expected
    layout = find_layout({}, {}, [], begin_ids=begin_ids)
    assert build_prompt(CURSOR, layout, lambda text: [9] * len(text), 100).ids[: len(expected) + 1] == [*expected, 9]
