"""Published models, where `TABCAST_REAL_MODELS` names a folder that holds some, or that `pull` fills."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("TABCAST_REAL_MODELS", "") or "absent")
# `tabcast models pull` gives each of the catalogue's files a folder of its own.
FILES = sorted((*FOLDER.glob("*.gguf"), *FOLDER.glob("catalogue/*/*.gguf")), key=lambda file: file.stat().st_size)
# Hugging Face folders of the same models.
TWINS = sorted(path.parent for path in FOLDER.glob("*/tokenizer.json"))

needs_files = pytest.mark.skipif(not FILES, reason="TABCAST_REAL_MODELS names no folder with GGUF files")
each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
