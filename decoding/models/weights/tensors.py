"""The tensors of a model folder by name, from one safetensors file or several, also where they are stored in int8.

Knows no architecture.
"""

from __future__ import annotations

from copy import copy
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from decoding.errors import ModelError
from decoding.models.weights.int8_files import FACTORS, restore_rows

OTHER_FORMATS = (".bin", ".pt", ".pth", ".ckpt", ".gguf")


class Tensors:
    """Read from the disk as they are asked for, onto a device and into a dtype."""

    def __init__(self, folder: Path, device: torch.device, dtype: torch.dtype) -> None:
        self._folder, self._device, self._dtype = folder, device, dtype
        self._files: dict[str, Path] = {}
        self._taken: set[str] = set()
        for path in sorted(folder.glob("*.safetensors")):
            try:
                with safe_open(str(path), framework="pt") as file:
                    self._files |= dict.fromkeys(file.keys(), path)
            except SafetensorError as error:
                raise ModelError(f"{path}: not a safetensors file, or cut short ({error})") from None
        if not self._files:
            others = [path.name for path in folder.iterdir() if path.suffix in OTHER_FORMATS]
            hint = f"; {others[0]} is not safetensors, and other formats are not read" if others else ""
            raise ModelError(f"{folder} is not a complete model folder: no .safetensors file{hint}")

    def on(self, device: torch.device) -> Tensors:
        """The same tensors, read onto another device; what is taken there is taken."""
        other = copy(self)
        other._device = device
        return other

    def to_device(self, tensor: Tensor) -> Tensor:
        """A tensor that was read onto another device."""
        return tensor.to(self._device)

    def take(self, name: str) -> Tensor:
        """The tensor, on device. Raises `ModelError` if it is missing."""
        tensor = self.find(name)
        if tensor is None:
            raise ModelError(f"{self._folder} is not a complete model folder: tensor {name} is missing")
        return tensor

    def find(self, name: str) -> Tensor | None:
        """The tensor, or None where the model has none of that name."""
        if name not in self._files:
            return None
        tensor = self._read(name)
        if tensor.dtype == torch.int8:
            tensor = self._restored(name, tensor)
        return tensor.to(self._device, self._dtype)

    def untaken(self) -> list[str]:
        """Names that nothing asked for: a model half read computes nonsense. Some tools leave needless ones behind."""
        return sorted(
            name
            for name in self._files.keys() - self._taken
            if not name.startswith("lm_head.weight") and "rotary_emb" not in name
        )

    def _restored(self, name: str, rounded: Tensor) -> Tensor:
        if name + FACTORS not in self._files:
            raise ModelError(f"{self._folder} is not a complete model folder: tensor {name}{FACTORS} is missing")
        factors = self._read(name + FACTORS)
        if rounded.ndim != 2 or factors.shape != rounded.shape[:1]:
            raise ModelError(f"{self._folder}: the factors of tensor {name} are not those of its rows")
        return restore_rows(rounded, factors)

    def _read(self, name: str) -> Tensor:
        self._taken.add(name)
        with safe_open(str(self._files[name]), framework="pt") as file:
            tensor: Tensor = file.get_tensor(name)
        return tensor
