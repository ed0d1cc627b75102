"""What is loaded by importing what: seen from outside, in a fresh interpreter, in `sys.modules`.

`make check` reads the imports in the source; this sees what really happens, through other people's packages too.
"""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
HEAVY = {"torch", "transformers", "tokenizers", "safetensors", "numpy"}

LOADED_BY = """
import importlib, json, sys
before = set(sys.modules)
for name in sys.argv[1:]:
    importlib.import_module(name)
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def loaded_by(*modules: str) -> set[str]:
    """The top-level packages that a fresh interpreter loads for these modules."""
    found = subprocess.run(
        [sys.executable, "-P", "-c", LOADED_BY, *modules], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    return {name.partition(".")[0] for name in json.loads(found.stdout)}


def modules_of(package: str) -> dict[str, Path]:
    """Each module of a package, with its file; `__main__` runs on import and is left out."""
    modules = {}
    for path in sorted((REPOSITORY / package).rglob("*.py")):
        folders = path.relative_to(REPOSITORY).with_suffix("").parts
        is_module = all(
            (REPOSITORY.joinpath(*folders[: i + 1]) / "__init__.py").exists() for i in range(len(folders) - 1)
        )
        if is_module and path.name != "__main__.py":
            modules[".".join(folders).removesuffix(".__init__")] = path
    return modules


def test_front_end_loads_no_heavy_library() -> None:
    assert loaded_by(*modules_of("lsp_server")) & HEAVY == set()


def test_front_end_loads_of_the_engine_only_the_protocol() -> None:
    found = subprocess.run(
        [sys.executable, "-P", "-c", LOADED_BY, *modules_of("lsp_server")], capture_output=True, text=True, check=True
    )
    engine_side = {name for name in json.loads(found.stdout) if name.startswith("decoding.")}
    assert engine_side
    assert {".".join(name.split(".")[:2]) for name in engine_side} == {"decoding.protocol"}


def test_protocol_loads_only_the_standard_library() -> None:
    assert loaded_by("decoding.protocol") - {"decoding"} <= sys.stdlib_module_names


def test_engine_modules_without_leave_load_no_torch() -> None:
    """The modules that may import torch are those that ruff's configuration names; the others stay quick to import."""
    config = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    ignores = config["tool"]["ruff"]["lint"]["per-file-ignores"]
    allowed = [glob for pattern, rules in ignores.items() if "TID253" in rules for glob in expand(pattern)]
    light = [
        name
        for name, path in modules_of("decoding").items()
        if not any(path.relative_to(REPOSITORY).match(glob) for glob in allowed)
    ]
    assert "decoding.protocol" in light
    assert loaded_by(*light) & {"torch", "transformers"} == set()


def expand(pattern: str) -> list[str]:
    """`a/{b,c}/**` as patterns that pathlib knows: each brace by itself, and `**` for any depth."""
    head, brace, rest = pattern.partition("{")
    if brace:
        names, _, tail = rest.partition("}")
        return [glob for name in names.split(",") for glob in expand(head + name + tail)]
    return [pattern.replace("**", "/".join(["*"] * depth)) for depth in (1, 2, 3)] if "**" in pattern else [pattern]
