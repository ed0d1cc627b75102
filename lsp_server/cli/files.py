"""Implements `python -m lsp_server files FOLDER`: the code of a folder that may be read, with secrets masked.

It serves `tabcast models index`, which may not know the rules: one JSON object a line with `path` and `text` on
standard output. Files that a `.gitignore` or `.tabcastignore` excludes, that look like a secret by their name, clutter,
links and large files are left out, just as for an editor's context.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Final

from lsp_server.context.files import Workspace
from lsp_server.context.masking import mask_text

_ENDINGS: Final = """
.bash .c .cc .clj .cpp .cs .css .cu .cxx .dart .el .erl .ex .exs .f90 .fs .go .gradle .groovy .h .hh .hpp .hs .html
.java .jl .js .jsx .kt .kts .lua .m .mjs .ml .mm .nim .php .pl .proto .ps1 .py .pyi .pyx .r .rb .rs .scala .scss .sh
.sql .svelte .swift .tcl .tf .toml .ts .tsx .vim .vue .yaml .yml .zig
"""
CODE_ENDINGS: Final = frozenset(_ENDINGS.split())


def run(options: argparse.Namespace) -> int:
    """Print each file as a line of JSON and return the exit code."""
    workspace = Workspace([options.folder])
    for file in workspace.walk():
        if file is None or file.suffix.lower() not in CODE_ENDINGS:
            continue
        found = workspace.read(file)
        if found is not None:
            print(json.dumps({"path": _named(found.path, workspace.roots), "text": mask_text(found.text)}))
    return 0


def _named(path: Path, roots: list[Path]) -> str:
    return next((path.relative_to(root).as_posix() for root in roots if root in path.parents), path.name)
