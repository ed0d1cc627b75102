"""Words the command that adds a package to the environment that runs this, whatever made it."""

from __future__ import annotations

import shlex
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

NVIDIA: Final = Path("/proc/driver/nvidia")
CPU_INDEX: Final = "https://download.pytorch.org/whl/cpu"  # PyPI's torch for Linux brings gigabytes of CUDA


def how_to_add(*packages: str) -> str:
    """Return the command for an environment of pip, pipx or uv; torch is the small one where that will do."""
    python, wanted = shlex.quote(sys.executable), " ".join(packages)
    has_torch = "torch" in packages
    if find_spec("pip") is None:  # as in environments of uv
        return f"uv pip install --python {python}{' --torch-backend auto' if has_torch else ''} {wanted}"
    needs_cpu_build = has_torch and sys.platform == "linux" and not NVIDIA.exists()
    index = f" --extra-index-url {CPU_INDEX}" if needs_cpu_build else ""
    return f"{python} -m pip install{index} {wanted}"
