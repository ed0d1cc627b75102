"""Lists the special tokens that each model family was taught for filling in the middle, and their order: a table.

Tokenizers name their special tokens and don't tell the order, so the table is keyed by the names, and where two
families share them, by another token or by the model's own name. The engine finds a model's entry by its tokenizer; a
front end that asks another server knows only the model's name. Knows names alone: no ids, no request.

Sources: the families' papers and model cards; StarCoder (Li et al. 2023, https://arxiv.org/abs/2305.06161), Code Llama
(https://arxiv.org/abs/2308.12950), DeepSeek-Coder (https://arxiv.org/abs/2401.14196), Qwen2.5-Coder
(https://arxiv.org/abs/2409.12186), Seed-Coder (https://arxiv.org/abs/2506.03524), Mellum
(https://arxiv.org/abs/2510.05788), aiXcoder (https://arxiv.org/abs/2410.13187).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

# The order of prefix p and suffix s behind their tokens P and S, and of the middle token M: `P p S s M`, `P S s M p`,
# `S s P p M`.
FimOrder = Literal["prefix_first", "suffix_first", "suffix_then_prefix"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FimTemplate:
    """The names of a model's special tokens; "" where it has none of a kind.

    `middle` "": the prefix token plays its part. `file_separator` and `repository` are tokens before paths and the
    repository's name; `file_mark` is text that plays the separator's part, within the prefix. `has_leading_space`: the
    prefix begins with the space that its SentencePiece puts before every text. `marker` and `model_name` tell apart
    families whose tokens have equal names.
    """

    prefix: str
    suffix: str
    middle: str
    order: FimOrder = "prefix_first"
    file_separator: str = ""
    file_mark: str = ""
    repository: str = ""
    stops: tuple[str, ...] = ()
    has_leading_space: bool = False
    marker: str = ""
    model_name: str = ""

    @property
    def parts(self) -> tuple[str, ...]:
        """Return the tokens that filling in the middle needs."""
        return tuple(name for name in (self.prefix, self.suffix, self.middle) if name)

    @property
    def names(self) -> tuple[str, ...]:
        """Return all tokens that may stand in a prompt. If the model generates one of them, its answer is over."""
        return tuple(name for name in (*self.parts, self.file_separator, self.repository) if name)


_PIPES: Final[dict[str, Any]] = {"prefix": "<|fim_prefix|>", "suffix": "<|fim_suffix|>", "middle": "<|fim_middle|>"}
_PLAIN: Final[dict[str, Any]] = {"prefix": "<fim_prefix>", "suffix": "<fim_suffix>", "middle": "<fim_middle>"}
# The first template counts whose tokens are all there, and whose marker and model name fit.
FIM_TEMPLATES: Final[Mapping[str, FimTemplate]] = {
    "qwen": FimTemplate(
        **_PIPES,
        marker="<|file_sep|>",
        file_separator="<|file_sep|>",
        repository="<|repo_name|>",
        stops=("<|endoftext|>", "<|im_end|>", "<|fim_pad|>"),
    ),
    "codegemma": FimTemplate(
        **_PIPES, marker="<|file_separator|>", file_separator="<|file_separator|>", stops=("<eos>", "<end_of_turn>")
    ),
    "granite-4": FimTemplate(
        **_PIPES,
        file_separator="<|filename|>",
        repository="<|reponame|>",
        stops=("<|end_of_text|>", "<|endoftext|>", "<|fim_pad|>"),
    ),
    "starcoder2": FimTemplate(
        **_PLAIN,
        marker="<file_sep>",
        file_separator="<file_sep>",
        repository="<repo_name>",
        stops=("<|endoftext|>", "<fim_pad>"),
    ),
    "mellum": FimTemplate(
        **_PLAIN,
        model_name="mellum",
        order="suffix_then_prefix",
        file_separator="<filename>",
        stops=("<|endoftext|>", "<fim_pad>"),
    ),
    # Also Granite 3.3, Stable Code and Refact.
    "starcoder": FimTemplate(
        **_PLAIN,
        file_separator="<filename>",
        repository="<reponame>",
        stops=("<|endoftext|>", "<|end_of_text|>", "<fim_pad>"),
    ),
    "santacoder": FimTemplate(
        prefix="<fim-prefix>", suffix="<fim-suffix>", middle="<fim-middle>", stops=("<|endoftext|>", "<fim-pad>")
    ),
    "deepseek-coder": FimTemplate(
        prefix="<｜fim▁begin｜>",
        suffix="<｜fim▁hole｜>",
        middle="<｜fim▁end｜>",
        file_mark="#",
        stops=("<｜end▁of▁sentence｜>", "<|EOT|>"),
    ),
    "codestral": FimTemplate(
        prefix="[PREFIX]",
        suffix="[SUFFIX]",
        middle="",
        order="suffix_then_prefix",
        file_mark="+++++ ",
        stops=("</s>", "[MIDDLE]"),
        has_leading_space=True,
    ),
    "codellama": FimTemplate(
        prefix="▁<PRE>", suffix="▁<SUF>", middle="▁<MID>", stops=("▁<EOT>", "</s>"), has_leading_space=True
    ),
    "seed-coder": FimTemplate(
        prefix="<[fim-prefix]>",
        suffix="<[fim-suffix]>",
        middle="<[fim-middle]>",
        order="suffix_then_prefix",
        stops=("<[end▁of▁sentence]>",),
    ),
    "glm": FimTemplate(
        prefix="<|code_prefix|>",
        suffix="<|code_suffix|>",
        middle="<|code_middle|>",
        stops=("<|endoftext|>", "<|user|>", "<|observation|>"),
    ),
    "aixcoder": FimTemplate(
        prefix="▁<AIX-SPAN-PRE>",
        suffix="▁<AIX-SPAN-POST>",
        middle="▁<AIX-SPAN-MIDDLE>",
        order="suffix_first",
        file_mark="# the file path is: ",
        stops=("</s>",),
    ),
}


def find_template(tokens: Iterable[str], model_name: str = "") -> FimTemplate | None:
    """Return the template of a model by its tokens' names, or None if it wasn't taught to fill in the middle."""
    known = frozenset(tokens)
    for template in FIM_TEMPLATES.values():
        wanted = {*template.parts, *([template.marker] if template.marker else [])}
        if wanted <= known and template.model_name in model_name.lower():
            return template
    return None


# What the names of models have in them, the more special first: servers tell a model's name and not its tokens.
_NAMES: Final[Mapping[str, str]] = {
    "qwen": "qwen",
    "codegemma": "codegemma",
    "granite-4": "granite-4",
    "granite4": "granite-4",
    "granite": "starcoder",
    "starcoder2": "starcoder2",
    "starcoder": "starcoder",
    "stable-code": "starcoder",
    "refact": "starcoder",
    "mellum": "mellum",
    "santacoder": "santacoder",
    "deepseek": "deepseek-coder",
    "codestral": "codestral",
    "codellama": "codellama",
    "code-llama": "codellama",
    "seed-coder": "seed-coder",
    "glm": "glm",
    "codegeex": "glm",
    "aixcoder": "aixcoder",
}


def name_of_template(model_name: str) -> str:
    """Return the table's key for a model of this name, "" if no family's name is in it."""
    wanted = model_name.lower().replace("_", "-")
    return next((template for part, template in _NAMES.items() if part in wanted), "")
