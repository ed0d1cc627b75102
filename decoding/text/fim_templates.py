"""Lists the special tokens that each model family was taught for filling in the middle, and their order: a table.

Tokenizers name their special tokens and don't tell the order, so the table is keyed by the names, and where two
families share them, by another token or by the model's own name. Knows names alone: no ids, no request.

Sources: the families' papers and model cards; StarCoder (Li et al. 2023, https://arxiv.org/abs/2305.06161), Code Llama
(https://arxiv.org/abs/2308.12950), DeepSeek-Coder (https://arxiv.org/abs/2401.14196), Qwen2.5-Coder
(https://arxiv.org/abs/2409.12186), Seed-Coder (https://arxiv.org/abs/2506.03524), Mellum
(https://arxiv.org/abs/2510.05788), aiXcoder (https://arxiv.org/abs/2410.13187).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Literal, get_args

from decoding.errors import ConfigError

# The order of prefix p and suffix s behind their tokens P and S, and of the middle token M: `P p S s M`, `P S s M p`,
# `S s P p M`.
Order = Literal["prefix_first", "suffix_first", "suffix_then_prefix"]
NO_ORDER: Final = "none"
# The types that a settings file must have for fields of `Template` that aren't strings.
TOML_TYPES: Final[Mapping[str, type]] = {"tuple[str, ...]": list, "bool": bool}


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """The names of a model's special tokens; "" where it has none of a kind.

    `middle` "": the prefix token plays its part. `file_separator` and `repository` are tokens before paths and the
    repository's name; `file_mark` is text that plays the separator's part, within the prefix. `has_leading_space`: the
    prefix begins with the space that its SentencePiece puts before every text. `marker` and `model_name` tell apart
    families whose tokens have equal names.
    """

    prefix: str
    suffix: str
    middle: str
    order: Order = "prefix_first"
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
TEMPLATES: Final[Mapping[str, Template]] = {
    "qwen": Template(
        **_PIPES,
        marker="<|file_sep|>",
        file_separator="<|file_sep|>",
        repository="<|repo_name|>",
        stops=("<|endoftext|>", "<|im_end|>", "<|fim_pad|>"),
    ),
    "codegemma": Template(
        **_PIPES, marker="<|file_separator|>", file_separator="<|file_separator|>", stops=("<eos>", "<end_of_turn>")
    ),
    "granite-4": Template(
        **_PIPES,
        file_separator="<|filename|>",
        repository="<|reponame|>",
        stops=("<|end_of_text|>", "<|endoftext|>", "<|fim_pad|>"),
    ),
    "starcoder2": Template(
        **_PLAIN,
        marker="<file_sep>",
        file_separator="<file_sep>",
        repository="<repo_name>",
        stops=("<|endoftext|>", "<fim_pad>"),
    ),
    "mellum": Template(
        **_PLAIN,
        model_name="mellum",
        order="suffix_then_prefix",
        file_separator="<filename>",
        stops=("<|endoftext|>", "<fim_pad>"),
    ),
    # Also Granite 3.3, Stable Code and Refact.
    "starcoder": Template(
        **_PLAIN,
        file_separator="<filename>",
        repository="<reponame>",
        stops=("<|endoftext|>", "<|end_of_text|>", "<fim_pad>"),
    ),
    "santacoder": Template(
        prefix="<fim-prefix>", suffix="<fim-suffix>", middle="<fim-middle>", stops=("<|endoftext|>", "<fim-pad>")
    ),
    "deepseek-coder": Template(
        prefix="<｜fim▁begin｜>",
        suffix="<｜fim▁hole｜>",
        middle="<｜fim▁end｜>",
        file_mark="#",
        stops=("<｜end▁of▁sentence｜>", "<|EOT|>"),
    ),
    "codestral": Template(
        prefix="[PREFIX]",
        suffix="[SUFFIX]",
        middle="",
        order="suffix_then_prefix",
        file_mark="+++++ ",
        stops=("</s>", "[MIDDLE]"),
        has_leading_space=True,
    ),
    "codellama": Template(
        prefix="▁<PRE>", suffix="▁<SUF>", middle="▁<MID>", stops=("▁<EOT>", "</s>"), has_leading_space=True
    ),
    "seed-coder": Template(
        prefix="<[fim-prefix]>",
        suffix="<[fim-suffix]>",
        middle="<[fim-middle]>",
        order="suffix_then_prefix",
        stops=("<[end▁of▁sentence]>",),
    ),
    "glm": Template(
        prefix="<|code_prefix|>",
        suffix="<|code_suffix|>",
        middle="<|code_middle|>",
        stops=("<|endoftext|>", "<|user|>", "<|observation|>"),
    ),
    "aixcoder": Template(
        prefix="▁<AIX-SPAN-PRE>",
        suffix="▁<AIX-SPAN-POST>",
        middle="▁<AIX-SPAN-MIDDLE>",
        order="suffix_first",
        file_mark="# the file path is: ",
        stops=("</s>",),
    ),
}


def find_template(tokens: Iterable[str], model_name: str = "") -> Template | None:
    """Return the template of a model by its tokens' names, or None if it wasn't taught to fill in the middle."""
    known = frozenset(tokens)
    for template in TEMPLATES.values():
        wanted = {*template.parts, *([template.marker] if template.marker else [])}
        if wanted <= known and template.model_name in model_name.lower():
            return template
    return None


def change_template(
    template: Template | None, changes: Mapping[str, Any], tokens: Iterable[str], source: str
) -> Template | None:
    """Return a template with fields replaced by the user or the model's declaration; `order` "none" disables it.

    Raises `ConfigError` naming `source` for an unknown field, an unknown order, or a token that the model hasn't.
    """
    if changes.get("order") == NO_ORDER:
        return None
    kinds = {field.name: field.type for field in fields(Template)}
    for name, value in changes.items():
        if name not in kinds:
            raise ConfigError(f"{source}: unknown setting fim.{name} (known: {', '.join(sorted(kinds))})")
        if not isinstance(value, TOML_TYPES.get(str(kinds[name]), str)):
            raise ConfigError(f"{source}: fim.{name} can't be {value!r}")
    if (order := changes.get("order", "prefix_first")) not in get_args(Order):
        raise ConfigError(
            f"{source}: fim.order must be one of {', '.join((*get_args(Order), NO_ORDER))}, not {order!r}"
        )
    changed: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in changes.items()
    }
    # Another prefix token means another family, so its separators and stops don't apply either.
    base = template if template and "prefix" not in changed else Template(prefix="", suffix="", middle="")
    result = replace(base, **changed)
    if not (result.prefix and result.suffix):
        raise ConfigError(f"{source}: fim.prefix and fim.suffix must name tokens, because this model's are not known")
    known = frozenset(tokens)
    if missing := [name for name in result.names if name not in known and name in changed.values()]:
        raise ConfigError(f"{source}: the model's tokenizer has no token {missing[0]!r}")
    return result
