"""Finds the grammar of a language, where one is installed, and tells whether a piece of code has errors by it.

Grammars are those of tree-sitter, loaded when the first code in their language is judged. A parse ends at the first
error, since the search for a way past it costs most of the time, and can take a minute.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping
from functools import lru_cache
from itertools import count
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from lsp_server.languages.table import name_of

if TYPE_CHECKING:
    from tree_sitter import Parser

logger = logging.getLogger(__name__)

# The module of each language's grammar, and the function in it that gives the grammar.
GRAMMARS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "c": ("tree_sitter_c", "language"),
        "cpp": ("tree_sitter_cpp", "language"),
        "csharp": ("tree_sitter_c_sharp", "language"),
        "css": ("tree_sitter_css", "language"),
        "go": ("tree_sitter_go", "language"),
        "java": ("tree_sitter_java", "language"),
        "javascript": ("tree_sitter_javascript", "language"),
        "json": ("tree_sitter_json", "language"),
        "php": ("tree_sitter_php", "language_php_only"),
        "ruby": ("tree_sitter_ruby", "language"),
        "rust": ("tree_sitter_rust", "language"),
        "shellscript": ("tree_sitter_bash", "language"),
        "typescript": ("tree_sitter_typescript", "language_typescript"),
        "typescriptreact": ("tree_sitter_typescript", "language_tsx"),
    }
)
# chosen: a parse takes at most so many steps of a hundred actions each; 2,000 characters take ten to twenty.
MAX_STEPS: Final = 2_000


def grammar_name(language: str) -> str:
    """Return the name under which a language's grammar is known; "" where there is none."""
    lowered = language.lower()
    known = lowered if lowered in GRAMMARS else name_of(lowered)
    return known if known in GRAMMARS else ""


def has_grammar(language: str) -> bool:
    """Return whether code in a language can be parsed, as far as is installed."""
    name = grammar_name(language)
    return bool(name) and _parser(name) is not None


def is_without_errors(code: str, language: str) -> bool | None:
    """Return whether a grammar finds no error in some code; None without a grammar, or where that takes too long."""
    name = grammar_name(language)
    parser = _parser(name) if name else None
    if parser is None:
        return None
    source, steps = code.encode(errors="replace"), count()
    try:
        # The library asks the second function only if the first one gives it the code.
        tree = parser.parse(
            lambda start, _: source[start:],
            progress_callback=lambda _, has_error: has_error or next(steps) > MAX_STEPS,
        )
    except ValueError:  # it was given up
        parser.reset()
        return False if next(steps) <= MAX_STEPS else None
    return not tree.root_node.has_error


@lru_cache
def _parser(name: str) -> Parser | None:
    module, function = GRAMMARS[name]
    try:
        library = importlib.import_module("tree_sitter")
        grammar = library.Language(getattr(importlib.import_module(module), function)())
        parser: Parser = library.Parser(grammar)
    except (ImportError, AttributeError, ValueError):
        logger.info("the grammar %s can't be loaded; code in its language is judged by brackets", module)
        return None
    return parser
