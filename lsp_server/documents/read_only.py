"""Which documents nobody can write: views of other things, and files without the right to.

Only the right is asked for; nothing is read.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from pygls.uris import to_fs_path

# What editors show of version control, programs and other machines' answers.
_VIEWS: Final = frozenset({"git", "gitfs", "output", "debug", "search-editor", "vscode-scm", "diff", "help", "man"})


def is_read_only(uri: str) -> bool:
    """Whether the user can't write this document; one that is no file yet can be written."""
    scheme = uri.partition(":")[0]
    if scheme in _VIEWS:
        return True
    path = to_fs_path(uri) if scheme == "file" else None
    return path is not None and Path(path).is_file() and not os.access(path, os.W_OK)
