"""The tensors of a model folder by name, from one safetensors file or several; knows no architecture."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from decoding.errors import ModelError

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

    def take(self, name: str) -> Tensor:
        """The tensor, on device. Raises `ModelError` if it is missing."""
        tensor = self.find(name)
        if tensor is None:
            raise ModelError(f"{self._folder} is not a complete model folder: tensor {name} is missing")
        return tensor

    def find(self, name: str) -> Tensor | None:
        """The tensor, or None where the model has none of that name."""
        path = self._files.get(name)
        if path is None:
            return None
        self._taken.add(name)
        with safe_open(str(path), framework="pt") as file:
            tensor: Tensor = file.get_tensor(name).to(self._device, self._dtype)
        return tensor

    def untaken(self) -> list[str]:
        """Names that nothing asked for: a model half read computes nonsense. Some tools leave needless ones behind."""
        return sorted(
            name for name in self._files.keys() - self._taken if name != "lm_head.weight" and "rotary_emb" not in name
        )
