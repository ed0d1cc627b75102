"""The languages whose blocks are told by indentation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from lsp_server.languages.forms import HASH, LEAVES_UNLESS, LONG_DOUBLE, NOTHING_LEAVES, TRIPLE, end, line
from lsp_server.languages.language import CHARACTER, DOUBLE, SINGLE, Language, StringForm

_PYTHON: Final = Language(
    line_comments=HASH,
    block_comments=(),
    strings=(*TRIPLE, DOUBLE, SINGLE),
    statements_in="",
    body="indent",
    header_end=end(":"),
    header_start=line(r"(?:async\s+)?(?:def|class|if|elif|else|for|while|with|try|except|finally|match|case)\b"),
    goes_on=line(r"(?:else|elif|except|finally|case)\b"),
    definition=line(r"(?:(?:async\s+)?def|class)\s|\s*@"),
)
_LISP: Final = Language(
    line_comments=(";",),
    block_comments=(("#|", "|#"),),
    strings=(StringForm('"', over_lines=True),),
    statements_in="([{",
    body="indent",
    header_end=end(r"(?!)"),
    literal=re.compile(r"#?\\."),
)
_ML: Final = Language(
    line_comments=(),
    block_comments=(("(*", "*)"),),
    strings=(StringForm('"', over_lines=True), CHARACTER),
    statements_in="",
    body="indent",
    header_end=end(r"=|->|\b(?:begin|struct|sig|then|else|in|with|do|of|try|function|where)"),
    block_end=line(r"(?:end|done)\b"),
    goes_on=line(r"(?:else|with|and|\|)"),
    definition=line(r"(?:let|module|type)\b"),
)

LAYOUT: Final[Mapping[str, Language]] = MappingProxyType(
    {
        "clojure": _LISP,
        "coffeescript": Language(
            line_comments=HASH,
            block_comments=(("###", "###"),),
            strings=(*TRIPLE, DOUBLE, SINGLE),
            statements_in="",
            body="indent",
            leaves=LEAVES_UNLESS,
            header_end=end(r"[-=]>|\A\s*(?:if|unless|for|while|else|try|catch|class|switch|when)\b[^\n]*"),
        ),
        "elm": Language(
            line_comments=("--",),
            block_comments=(("{-", "-}"),),
            strings=(LONG_DOUBLE, DOUBLE, CHARACTER),
            statements_in="",
            body="indent",
            leaves=NOTHING_LEAVES,
            header_end=end(r"=|->|\b(?:of|let|in|then|else)"),
            goes_on=line(r"(?:else|in|\|)"),
        ),
        "fsharp": Language(
            block_comments=(("(*", "*)"),),
            strings=(LONG_DOUBLE, DOUBLE, CHARACTER),
            statements_in="{",
            body="indent",
            leaves=NOTHING_LEAVES,
            header_end=end(r"=|->|\b(?:then|else|do|with|try|in)"),
            goes_on=line(r"(?:else|elif|with|\|)"),
            definition=line(r"(?:let|module|type|member)\b"),
        ),
        "gdscript": Language(
            line_comments=HASH,
            block_comments=(),
            strings=(*TRIPLE, DOUBLE, SINGLE),
            statements_in="",
            body="indent",
            header_end=end(":"),
            header_start=line(r"(?:static\s+)?(?:func|class|if|elif|else|for|while|match)\b"),
            goes_on=line(r"(?:else|elif)\b"),
            definition=line(r"(?:static\s+)?(?:func|class)\b|@"),
        ),
        "haskell": Language(
            line_comments=("--",),
            block_comments=(("{-", "-}"),),
            strings=(DOUBLE, CHARACTER),
            statements_in="",
            body="indent",
            leaves=NOTHING_LEAVES,
            header_end=end(r"=|->|\b(?:where|do|of|let|then|else|in)"),
            goes_on=line(r"(?:else|where|in|\|)"),
        ),
        "lisp": _LISP,
        "makefile": Language(
            line_comments=HASH,
            block_comments=(),
            strings=(),
            statements_in="",
            body="indent",
            header_end=end(r"\A(?![\t ])[^#=]*:(?!=)[^=\n]*|\A\s*(?:ifeq|ifneq|ifdef|ifndef|else|define)\b[^\n]*"),
            block_end=line(r"end(?:if|ef)\b"),
            goes_on=line(r"else\b"),
        ),
        "nim": Language(
            line_comments=HASH,
            block_comments=(("#[", "]#"),),
            strings=(LONG_DOUBLE, DOUBLE, CHARACTER),
            statements_in="",
            body="indent",
            header_end=end(r"[:=]"),
            goes_on=line(r"(?:else|elif|except|finally|of)\b"),
            definition=line(r"(?:proc|func|template|macro|type)\b"),
        ),
        "ocaml": _ML,
        "pug": Language(body="indent", strings=(DOUBLE, SINGLE), statements_in="", header_end=end(r"(?!)")),
        "python": _PYTHON,
        "sass": Language(body="indent", statements_in="", header_end=end(r"(?!)")),
        "scheme": _LISP,
        "yaml": Language(
            line_comments=HASH,
            comment_after_blank=True,
            block_comments=(),
            strings=(DOUBLE, StringForm("'", escape="")),
            statements_in="",
            body="indent",
            header_end=end(r":|:\s+[|>][+-]?"),
            goes_on=line(r"(?!)"),
        ),
    }
)
