"""Tags, prose, and lists of keys: text that is no program."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from lsp_server.languages.forms import HASH, HEREDOC, TRIPLE, end, line
from lsp_server.languages.language import DOUBLE, Language, StringForm

_PROSE: Final = Language(
    line_comments=(),
    block_comments=(),
    strings=(),
    brackets="",
    statements_in="",
    body="prose",
    header_end=end(r"(?!)"),
)
_VOID: Final = "area|base|br|col|embed|hr|img|input|link|meta|param|source|track|wbr"
_TAGS: Final = Language(
    line_comments=(),
    block_comments=(("<!--", "-->"),),
    strings=(),
    brackets="",
    statements_in="",
    body="tags",
    header_end=end(rf"<(?!(?:{_VOID})\b)[A-Za-z][\w:.-]*(?:\s[^<>]*)?(?<![/?])>", re.ASCII | re.IGNORECASE),
    block_end=line(r"</[\w:.-]+>\s*\Z"),
    tag=re.compile(
        r"<!--[\s\S]*?-->|<!\[CDATA\[[\s\S]*?\]\]>|</(?P<closes>[A-Za-z][\w:.-]*)\s*>"
        r"|<(?P<opens>[A-Za-z][\w:.-]*)(?:\"[^\"]*\"|'[^']*'|\{[^{}]*\}|[^\"'{<>/]|/(?!>))*+>"
    ),
)
_PAGE: Final = replace(
    _TAGS,
    tag=re.compile(
        r"<!--[\s\S]*?-->|<(?:script|style)\b[^<>]*>[\s\S]*?</(?:script|style)\s*>|</(?P<closes>[A-Za-z][\w:.-]*)\s*>"
        rf"|<(?!(?:{_VOID})\b)(?P<opens>[A-Za-z][\w:.-]*)(?:\"[^\"]*\"|'[^']*'|\{{[^{{}}]*\}}|[^\"'{{<>/]|/(?!>))*+>",
        re.IGNORECASE,
    ),
    needs_no_end=re.compile(
        r"(?:body|colgroup|dd|dt|head|html|li|optgroup|option|p|r[bpt]|t(?:body|d|foot|h|head|r))\Z", re.IGNORECASE
    ),
    embeds=True,
)
_KEYS: Final = Language(
    line_comments=("#", ";"),
    block_comments=(),
    strings=(),
    brackets="",
    statements_in="",
    body="prose",
    header_end=end(r"(?!)"),
)

MARKUP: Final[Mapping[str, Language]] = MappingProxyType(
    {
        "bibtex": _PROSE,
        "dockerfile": Language(
            line_comments=HASH,
            block_comments=(),
            statements_in="",
            body="prose",
            header_end=end(r"(?!)"),
            heredoc=HEREDOC,
        ),
        "git-commit": _PROSE,
        "html": _PAGE,
        "ini": _KEYS,
        "latex": Language(
            line_comments=("%",),
            block_comments=(),
            strings=(),
            brackets="",
            statements_in="",
            body="tags",
            header_end=end(r"\\begin\{[\w*]+\}(?:\[[^\]]*\]|\{[^}]*\})*"),
            block_end=line(r"\\end\{[\w*]+\}\s*\Z"),
            tag=re.compile(r"(?<!\\)%[^\n]*|\\begin\{(?P<opens>[\w*]+)\}|\\end\{(?P<closes>[\w*]+)\}"),
        ),
        "markdown": _PROSE,
        "plaintext": _PROSE,
        "properties": _KEYS,
        "svelte": _PAGE,
        "toml": Language(
            line_comments=HASH,
            block_comments=(),
            strings=(*TRIPLE, DOUBLE, StringForm("'", escape="")),
            statements_in="",
            body="prose",
            header_end=end(r"(?!)"),
            definition=line(r"\["),
        ),
        "vue": _PAGE,
        "xml": _TAGS,
    }
)
