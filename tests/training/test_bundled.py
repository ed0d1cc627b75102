"""What ships is what its card says, and small enough."""

from __future__ import annotations

import hashlib
import re

from decoding.config import BUNDLED

MAX_FILE_BYTES = 16_000_000
MAX_BYTES = 64_000_000


def test_the_shipped_files_are_those_of_the_card() -> None:
    card = (BUNDLED / "README.md").read_text(encoding="utf-8")
    declared = {path: digest for digest, path in re.findall(r"^([0-9a-f]{64}) +(\S+)$", card, flags=re.M)}
    shipped = [path for name in ("*/*.safetensors", "*/tokenizer.json") for path in BUNDLED.glob(name)]
    found = {path.relative_to(BUNDLED).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in shipped}
    assert found == declared


def test_the_shipped_files_are_small() -> None:
    sizes = [path.stat().st_size for path in BUNDLED.rglob("*") if path.is_file()]
    assert max(sizes) < MAX_FILE_BYTES
    assert sum(sizes) < MAX_BYTES
