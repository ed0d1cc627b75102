"""Finds a language by the identifier that an editor sends: those of LSP and VS Code, and what other editors say."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from lsp_server.languages.braces import BRACES
from lsp_server.languages.forms import TRIPLE, end, line
from lsp_server.languages.language import DOUBLE, SINGLE, Language
from lsp_server.languages.layout import LAYOUT
from lsp_server.languages.markup import MARKUP
from lsp_server.languages.words import WORDS

LANGUAGES: Final[Mapping[str, Language]] = MappingProxyType({**BRACES, **WORDS, **LAYOUT, **MARKUP})
_ALIASES: Final = {
    "arduino": "cpp",
    "bash": "shellscript",
    "common-lisp": "lisp",
    "commonlisp": "lisp",
    "conf": "ini",
    "cs": "csharp",
    "css.scss": "scss",
    "cuda": "cpp",
    "cuda-cpp": "cpp",
    "delphi": "pascal",
    "dosini": "ini",
    "elisp": "lisp",
    "emacs-lisp": "lisp",
    "ejs": "html",
    "eruby": "html",
    "fish": "ruby",
    "gitcommit": "git-commit",
    "git-rebase": "git-commit",
    "glsl": "c",
    "gomod": "go",
    "scminput": "git-commit",
    "hcl": "terraform",
    "heex": "html",
    "hlsl": "c",
    "htmldjango": "html",
    "javascript.jsx": "javascript",
    "javascriptreact": "javascript",
    "jinja": "html",
    "jinja-html": "html",
    "json5": "jsonc",
    "make": "makefile",
    "mdx": "markdown",
    "objc": "objective-c",
    "objcpp": "objective-c",
    "objective-cpp": "objective-c",
    "octave": "matlab",
    "opentofu": "terraform",
    "proto": "proto3",
    "ps1": "powershell",
    "protobuf": "proto3",
    "quarto": "markdown",
    "restructuredtext": "plaintext",
    "rmd": "markdown",
    "rst": "plaintext",
    "sh": "shellscript",
    "starlark": "python",
    "bzl": "python",
    "tex": "latex",
    "text": "plaintext",
    "tf": "terraform",
    "typescript.tsx": "typescript",
    "typescriptreact": "typescript",
    "typst": "markdown",
    "viml": "vim",
    "xhtml": "html",
    "xsl": "xml",
    "zsh": "shellscript",
}
# What is safe where a language isn't known: comments of both common kinds, strings that end with their line, headers
# that look like Python's or end with a brace.
_UNKNOWN: Final = Language(
    line_comments=("#", "//"),
    header_end=end(r"[:{]"),
    header_start=line(
        r"(?:async\s+)?(?:def|class|if|elif|else|for|while|with|try|except|finally|match|case)\b|[^\n]*\{\s*\Z"
    ),
    strings=(*TRIPLE, DOUBLE, SINGLE),
    goes_on=line(r"(?:else|elif|except|catch|finally|case)\b"),
    definition=line(r"(?:(?:async\s+)?def|class|func|function|fn)\s|\s*@"),
)


def language_named(name: str) -> Language:
    """Return the language that an editor calls so; one with safe defaults if it isn't known."""
    return LANGUAGES.get(name_of(name), _UNKNOWN)


def is_known(name: str) -> bool:
    """Return whether the table has a language that an editor calls so."""
    return name_of(name) in LANGUAGES


def name_of(name: str) -> str:
    """Return the table's name of a language that an editor calls so."""
    known = name.lower()
    return _ALIASES.get(known, known)
