"""Stands in for torch where it isn't installed: the few functions that an engine on a CPU needs, computed by numpy.

The compiled kernels compute the model, and what is left for torch is to arrange weights while they are read and to
choose tokens from logits: some seventy functions, for which an installation of torch takes 0.9 GB on a CPU, and 5 GB
with the CUDA that its package for Linux brings. `find_small_torch` makes `import torch` find this package if it finds
nothing else. Everything that isn't here raises `NeedsTorch`, which says how torch is installed.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Final

from decoding.errors import ModelError
from decoding.installing import how_to_add

_NAMES: Final = ("torch", "torch.nn", "torch.nn.functional")


class NeedsTorch(ModelError, AttributeError):  # noqa: N818 - it says what is the case
    """Something was asked for that torch computes, and torch isn't installed."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} needs torch, which isn't installed: '{how_to_install()}' adds it")


def how_to_install() -> str:
    """Return the command that adds torch, and transformers, which comes with the same extra."""
    return how_to_add("torch", "transformers")


def find_small_torch() -> None:
    """Let `import torch` find this package where torch itself isn't installed; it imports nothing yet."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())


def require_torch(what: str) -> None:
    """Raise `NeedsTorch` if torch or transformers, which comes with the same extra, isn't installed."""
    if is_torch_missing() or any(_is_missing(name) for name in ("torch", "transformers")):
        raise NeedsTorch(what)


def is_torch_installed() -> bool:
    """Return whether torch itself is there, imported or not."""
    return not _is_missing("torch")


def _is_missing(name: str) -> bool:
    spec = find_spec(name)
    return spec is None or isinstance(spec.loader, _Finder)


def is_torch_missing() -> bool:
    """Return whether what was imported as torch is this package."""
    return isinstance(sys.modules.get("torch"), _Torch)


class _Finder:
    """Finds torch after all others have looked for it in vain."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Return how a module of that name is made, None if it is none of ours."""
        del path, target
        return ModuleSpec(name, self, is_package=True) if name in _NAMES else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Make an empty module."""
        return _Torch(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Fill the module; of torch's others there is nothing here but what can be named."""
        if module.__name__ == "torch":
            from decoding.small_torch import functions  # noqa: PLC0415 - brings numpy

            vars(module).update({name: getattr(functions, name) for name in functions.__all__})


class _Torch(ModuleType):
    """A module that says of everything it lacks that it needs torch."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise NeedsTorch(f"{self.__name__}.{name}")
