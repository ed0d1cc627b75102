"""The languages whose blocks stand in braces: C and its kin, scripts, and data in braces."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from lsp_server.languages.forms import HASH, HEREDOC, LEAVES_UNLESS, LONG_DOUBLE, TRIPLE, end, line
from lsp_server.languages.language import CHARACTER, DOUBLE, SINGLE, Language, StringForm

_TEMPLATE: Final = StringForm("`", over_lines=True, interpolation="${")
_RAW_BACKTICK: Final = StringForm("`", over_lines=True, escape="")
_SCRIPT_STRINGS: Final = (_TEMPLATE, DOUBLE, SINGLE)
# A regular expression stands where a value may begin.
_SCRIPT_LITERAL: Final = re.compile(r"(?<=[(,=:\[!&|?{};])\x20?/(?![/*\s])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\[\n])+/")
_C_DEFINITION: Final = line(
    r"(?:(?:public|private|protected|internal|static|abstract|sealed|override|virtual|final)\s)+[^;=]*\("
)
_SCRIPT: Final = Language(
    strings=_SCRIPT_STRINGS,
    literal=_SCRIPT_LITERAL,
    definition=line(r"(?:export\s+)?(?:default\s+)?(?:async\s+)?(?:function|class|interface|enum)\b"),
)
_C: Final = Language(
    strings=(DOUBLE, CHARACTER), definition=line(r"(?:static\s+|inline\s+)*(?:struct|union|enum)\s+\w+\s*\{")
)
_CPP: Final = Language(
    strings=(StringForm('R"(', ')"', over_lines=True, escape=""), DOUBLE, CHARACTER),
    definition=line(r"(?:template\b|class\s|struct\s|enum\s|namespace\b|(?:public|private|protected):)"),
)
_MANAGED: Final = Language(strings=(LONG_DOUBLE, DOUBLE, CHARACTER), definition=_C_DEFINITION)
_STYLE: Final = Language(line_comments=(), strings=(DOUBLE, SINGLE))

BRACES: Final[Mapping[str, Language]] = MappingProxyType(
    {
        "bat": Language(
            line_comments=("::", "REM ", "rem "),
            block_comments=(),
            strings=(DOUBLE,),
            statements_in="(",
            header_end=end(r"\("),
        ),
        "c": _C,
        "cpp": _CPP,
        "csharp": Language(
            strings=(LONG_DOUBLE, StringForm('@"', '"', over_lines=True, escape=""), DOUBLE, CHARACTER),
            definition=_C_DEFINITION,
        ),
        "css": _STYLE,
        "dart": Language(
            strings=(*TRIPLE, StringForm('"', interpolation="${"), StringForm("'", interpolation="${")),
            definition=line(r"(?:abstract\s+)?(?:class|enum|mixin|extension)\b|@"),
        ),
        "go": Language(
            strings=(_RAW_BACKTICK, DOUBLE, CHARACTER), definition=line(r"(?:func|type)\s"), goes_on=line(r"else\b")
        ),
        "graphql": Language(line_comments=HASH, block_comments=(), strings=(LONG_DOUBLE, DOUBLE)),
        "groovy": Language(strings=(*TRIPLE, DOUBLE, SINGLE), definition=_C_DEFINITION),
        "java": _MANAGED,
        "javascript": _SCRIPT,
        "json": Language(line_comments=(), block_comments=(), strings=(DOUBLE,), statements_in="{["),
        "jsonc": Language(strings=(DOUBLE,), statements_in="{["),
        "kotlin": Language(
            strings=(LONG_DOUBLE, StringForm('"', interpolation="${"), CHARACTER),
            definition=line(
                r"(?:(?:public|private|protected|internal|override|suspend|data|open|abstract)\s+)*(?:fun|class|object|interface)\b"
            ),
            header_end=end(r"\{(?:\s*[\w, ]+->)?"),
        ),
        "less": Language(),
        "nix": Language(
            line_comments=HASH,
            strings=(
                StringForm("''", over_lines=True, escape="", interpolation="${"),
                StringForm('"', over_lines=True, interpolation="${"),
            ),
            statements_in="{",
            header_end=end(r"[\[{=(]|\b(?:let|in|rec)"),
        ),
        "objective-c": Language(
            strings=(StringForm('@"', '"'), DOUBLE, CHARACTER),
            definition=line(r"[-+]\s*\(|@(?:interface|implementation|end)"),
        ),
        "perl": Language(
            line_comments=HASH,
            comment_after_blank=True,
            block_comments=(("\n=pod", "\n=cut"),),
            strings=(StringForm('"', over_lines=True), StringForm("'", over_lines=True)),
            goes_on=line(r"(?:else|elsif|continue)\b"),
            leaves=LEAVES_UNLESS,
            definition=line(r"sub\b"),
            heredoc=re.compile(r"<<~?[\"']?([A-Z_]\w*)[\"']?"),
            literal=re.compile(r"(?<==~)\s*[ms]?/(?:\\.|[^/\\\n])*/"),
        ),
        "php": Language(
            line_comments=("//", "#"),
            strings=(StringForm('"', over_lines=True), StringForm("'", over_lines=True)),
            goes_on=line(r"(?:else|elseif|catch|finally|while)\b"),
            definition=line(
                r"(?:(?:public|private|protected|static|abstract|final)\s+)*(?:function|class|interface|trait)\b"
            ),
            heredoc=re.compile(r"<<<[\"']?([A-Za-z_]\w*)[\"']?"),
            literal=re.compile(r"#\["),
        ),
        "powershell": Language(
            line_comments=HASH,
            block_comments=(("<#", "#>"),),
            strings=(
                StringForm('@"', '\n"@', over_lines=True, escape=""),
                StringForm("@'", "\n'@", over_lines=True, escape=""),
                StringForm('"', over_lines=True, escape="`"),
                StringForm("'", over_lines=True, escape=""),
            ),
            goes_on=line(r"(?i:else|elseif|catch|finally)\b"),
            definition=line(r"(?i:function|class)\b"),
        ),
        "proto3": Language(definition=line(r"(?:message|service|enum)\b")),
        "r": Language(
            line_comments=HASH,
            block_comments=(),
            strings=(StringForm('"', over_lines=True), StringForm("'", over_lines=True)),
        ),
        "rust": Language(
            strings=(
                StringForm('r##"', '"##', over_lines=True, escape=""),
                StringForm('r#"', '"#', over_lines=True, escape=""),
                StringForm('"', over_lines=True),
                CHARACTER,
            ),
            goes_on=line(r"else\b"),
            header_end=end(r"\{|=>"),
            definition=line(
                r"(?:pub(?:\([^)]*\))?\s+)?(?:(?:async|unsafe|const|extern)\s+)*(?:fn|struct|enum|impl|trait|mod)\b|#\["
            ),
        ),
        "scala": Language(
            strings=(LONG_DOUBLE, DOUBLE, CHARACTER),
            header_end=end(r"\{|=>|=|\b(?:then|do|else)"),
            definition=line(
                r"(?:(?:private|protected|override|implicit|final|case)\s+)*(?:def|class|object|trait)\b|@\w"
            ),
        ),
        "scss": Language(),
        "solidity": Language(definition=line(r"(?:function|contract|modifier|event|constructor)\b")),
        "swift": Language(
            strings=(LONG_DOUBLE, DOUBLE),
            definition=line(
                r"(?:(?:public|private|internal|fileprivate|open|static|override|final)\s+)*(?:func|class|struct|enum|extension|protocol|init)\b|@\w"
            ),
            header_end=end(r"\{(?:[^{}]*\bin)?"),
        ),
        "tcl": Language(line_comments=HASH, block_comments=(), strings=(DOUBLE,), definition=line(r"proc\b")),
        "terraform": Language(
            line_comments=("#", "//"), strings=(StringForm('"', interpolation="${"),), heredoc=HEREDOC
        ),
        "typescript": _SCRIPT,
        "zig": Language(
            block_comments=(),
            strings=(DOUBLE, CHARACTER),
            definition=line(r"(?:pub\s+)?(?:fn|const|test)\b"),
            goes_on=line(r"else\b"),
        ),
    }
)
