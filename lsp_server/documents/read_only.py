"""Tells which documents the user can't edit: views of other things, and files without write permission.

Only permissions are looked at; no file is read.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from pygls.uris import to_fs_path

# The schemes of URIs under which editors show version control, archives, terminals, the output of programs and more.
_VIEWS: Final = frozenset(
    (
        *("git", "gitfs", "gitlens", "gitlens-git", "gitsigns", "neogit", "fugitive", "diffview", "diff", "review"),
        *("output", "debug", "search-editor", "term", "vscode-terminal", "quickfix", "help", "man", "info"),
        *("walkthrough", "zipfile", "tarfile", "jar", "jdt", "oil", "dired", "octo", "vscode-local-history"),
    )
)


def is_read_only(uri: str) -> bool:
    """Return whether the user can't edit this document. A document that isn't a file yet can be edited."""
    scheme = uri.partition(":")[0].lower()
    if scheme in _VIEWS:
        return True
    path = to_fs_path(uri) if scheme == "file" else None
    return path is not None and Path(path).is_file() and not os.access(path, os.W_OK)
