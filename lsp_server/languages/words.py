"""The languages whose blocks end with a word, such as `end` or `done`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from lsp_server.languages.forms import HASH, LEAVES_UNLESS, LONG_DOUBLE, TRIPLE, end, line
from lsp_server.languages.language import CHARACTER, DOUBLE, SINGLE, Language, StringForm

_PLAIN_SINGLE: Final = StringForm("'", over_lines=True, escape="")
_SQL_QUOTE: Final = StringForm("'", over_lines=True, escape="")
_END_WORD: Final = line(r"end\b[\s;,.)\]}]*\Z")
_END_WORD_OR_CALL: Final = line(r"end\b")
_RUBY: Final = Language(
    line_comments=HASH,
    block_comments=(("=begin", "=end"),),
    strings=(StringForm('"', over_lines=True, interpolation="#{"), SINGLE, StringForm("`")),
    body="words",
    header_end=end(
        r"\{(?:\s*\|[^|]*\|)?|\bdo(?:\s*\|[^|]*\|)?|\A\s*(?:def|class|module|if|unless|while|until|for|case|begin|else"
        r"|elsif|when|in|rescue|ensure)\b(?:(?!\bend\b)[^\n])*"
    ),
    block_end=_END_WORD_OR_CALL,
    goes_on=line(r"(?:else|elsif|when|in|rescue|ensure)\b"),
    leaves=LEAVES_UNLESS,
    label=line(r"(?:when|in|else)\b"),
    definition=line(r"(?:def|class|module)\b"),
    heredoc=re.compile(r"<<[-~][\"']?([A-Za-z_]\w*)[\"']?"),
)
_SHELL: Final = Language(
    line_comments=HASH,
    comment_after_blank=True,
    block_comments=(),
    strings=(StringForm('"', over_lines=True), _PLAIN_SINGLE),
    body="words",
    header_end=end(r"\b(?:then|do|else)|\{|\bin|\A\s*[^\s()]+\)"),
    block_end=line(r"(?:(?:done|fi|esac)\b|;;)"),
    goes_on=line(r"(?:else|elif)\b"),
    leaves=line(r"(?:return|exit|break|continue)\b(?!.*(?:\|\||&&))"),
    label=line(r"[^\s()]+\)"),
    definition=line(r"(?:function\s+)?[\w-]+\s*\(\)"),
    heredoc=re.compile(r"(?<!<)<<-?[ \t]*[\"']?([A-Za-z_]\w*)[\"']?"),
    literal=re.compile(r"\$\{[^}\n]*\}|\\."),
)
_JULIA: Final = Language(
    line_comments=HASH,
    block_comments=(("#=", "=#"),),
    strings=(LONG_DOUBLE, DOUBLE, CHARACTER),
    statements_in="",
    body="words",
    header_end=end(
        r"\bdo\b[\w, ]*|\A\s*(?:function|for|while|if|let|struct|mutable\s+struct|module|begin|else|elseif|try|catch"
        r"|finally|macro|quote)\b(?:(?!\bend\b)[^\n])*"
    ),
    block_end=_END_WORD_OR_CALL,
    goes_on=line(r"(?:else|elseif|catch|finally)\b"),
    definition=line(r"(?:function|struct|mutable|module|macro)\b"),
)
_HARDWARE: Final = Language(
    strings=(DOUBLE,),
    body="words",
    header_end=end(r"\bbegin(?:\s*:\s*\w+)?|\A\s*(?:module|always|initial|case|function|task)\b[^;]*"),
    block_end=line(r"end\w*\b"),
    goes_on=line(r"else\b"),
)

WORDS: Final[Mapping[str, Language]] = MappingProxyType(
    {
        "ada": Language(
            line_comments=("--",),
            block_comments=(),
            strings=(DOUBLE, CHARACTER),
            body="words",
            header_end=end(r"\b(?:is|then|loop|begin|else|record)", re.IGNORECASE),
            block_end=line(r"end\b"),
            goes_on=line(r"(?:else|elsif|when|exception|begin)\b"),
        ),
        "cmake": Language(
            line_comments=HASH,
            block_comments=(("#[[", "]]"),),
            strings=(StringForm('"', over_lines=True),),
            statements_in="",
            body="words",
            header_end=end(r"\A\s*(?:if|else|elseif|foreach|while|function|macro)\s*\(.*\)", re.IGNORECASE),
            block_end=line(r"(?i:end\w+)\s*\("),
            goes_on=line(r"(?i:else(?:if)?)\s*\("),
        ),
        "elixir": Language(
            line_comments=HASH,
            block_comments=(),
            strings=(*TRIPLE, StringForm('"', over_lines=True, interpolation="#{"), SINGLE),
            statements_in="",
            body="words",
            header_end=end(r"\b(?:do|else|after|rescue|catch)|->"),
            block_end=_END_WORD_OR_CALL,
            goes_on=line(r"(?:else|after|rescue|catch)\b"),
            definition=line(r"(?:defp?|defmodule|defmacro)\b|@\w"),
        ),
        "erlang": Language(
            line_comments=("%",),
            block_comments=(),
            strings=(DOUBLE, SINGLE),
            statements_in="",
            body="words",
            header_end=end(r"->|\b(?:of|begin|try|after|catch|receive)"),
            block_end=_END_WORD_OR_CALL,
            goes_on=line(r"(?:of|after|catch)\b"),
        ),
        "fortran": Language(
            line_comments=("!",),
            block_comments=(),
            statements_in="",
            body="words",
            header_end=end(
                r"\bthen|\A\s*(?:do|else|program|module|contains|(?:\w+\s+)*(?:function|subroutine))\b[^\n]*",
                re.IGNORECASE,
            ),
            block_end=line(r"(?i:end)"),
            goes_on=line(r"(?i:else|contains)"),
        ),
        "julia": _JULIA,
        "lua": Language(
            line_comments=("--",),
            block_comments=(("--[[", "]]"),),
            strings=(StringForm("[[", "]]", over_lines=True, escape=""), DOUBLE, SINGLE),
            statements_in="",
            body="words",
            header_end=end(r"\b(?:then|do|else|repeat)|\bfunction\b[\w\s.:]*\([^()]*\)"),
            block_end=line(r"(?:end\b[\s,;)}]*\Z|until\b)"),
            goes_on=line(r"(?:else|elseif)\b"),
            definition=line(r"(?:local\s+)?function\b"),
        ),
        "matlab": Language(
            line_comments=("%",),
            block_comments=(("%{", "%}"),),
            strings=(DOUBLE,),
            statements_in="",
            body="words",
            header_end=end(
                r"\A\s*(?:function|if|elseif|else|for|while|switch|case|otherwise|try|catch|classdef|properties|methods)\b[^\n]*"
            ),
            block_end=_END_WORD,
            goes_on=line(r"(?:else|elseif|case|otherwise|catch)\b"),
            definition=line(r"(?:function|classdef)\b"),
        ),
        "pascal": Language(
            block_comments=(("{", "}"), ("(*", "*)")),
            strings=(StringForm("'", escape=""),),
            brackets="()[]",
            statements_in="",
            body="words",
            header_end=end(r"\b(?:begin|then|else|do|of|repeat|var|type|const|try|record)", re.IGNORECASE),
            block_end=line(r"(?i:end|until)\b"),
            goes_on=line(r"(?i:else|except|finally)\b"),
            definition=line(r"(?i:procedure|function)\b"),
        ),
        "ruby": _RUBY,
        "shellscript": _SHELL,
        "sql": Language(
            line_comments=("--",),
            strings=(
                StringForm("$$", over_lines=True, escape=""),
                _SQL_QUOTE,
                StringForm('"', escape=""),
                StringForm("`", escape=""),
            ),
            statements_in="",
            body="words",
            header_end=end(r"\(|\b(?:begin|then|else|loop|as|select|from|where|set|values)", re.IGNORECASE),
            block_end=line(r"(?i:end)\b"),
            goes_on=line(
                r"(?i:from|where|join|left|inner|on|and|or|group|order|having|limit|set|values|union|else|when)\b"
            ),
        ),
        "systemverilog": _HARDWARE,
        "vb": Language(
            line_comments=("'",),
            block_comments=(),
            strings=(StringForm('"', escape=""),),
            statements_in="",
            body="words",
            header_end=end(
                r"\bthen|\A\s*(?:(?:public|private|friend|shared)\s+)*(?:sub|function|class|module|for|while|do|select|else|try|catch|with)\b[^\n]*",
                re.IGNORECASE,
            ),
            block_end=line(r"(?i:end|next|loop|wend)\b"),
            goes_on=line(r"(?i:else|elseif|case|catch|finally)\b"),
        ),
        "verilog": _HARDWARE,
        "vhdl": Language(
            line_comments=("--",),
            block_comments=(),
            strings=(DOUBLE, CHARACTER),
            statements_in="",
            body="words",
            header_end=end(r"\b(?:is|then|begin|loop|generate|else|port|generic)\s*\(?", re.IGNORECASE),
            block_end=line(r"(?i:end)\b"),
            goes_on=line(r"(?i:else|elsif|when|begin)\b"),
        ),
        "vim": Language(
            line_comments=('"',),
            comment_after_blank=True,
            block_comments=(),
            strings=(StringForm("'", escape=""),),
            statements_in="",
            body="words",
            header_end=end(r"\A\s*(?:function!?|if|else|elseif|for|while|try|catch|finally|augroup)\b[^\n]*"),
            block_end=line(r"end\w*\b|augroup END"),
            goes_on=line(r"(?:else|elseif|catch|finally)\b"),
            definition=line(r"function!?\b"),
        ),
    }
)
