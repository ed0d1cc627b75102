"""Holds the settings that a GGUF file's metadata has for its architecture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from decoding.errors import ModelError
from decoding.models.gguf.reader import Value, one_value


class Settings:
    """The settings of one architecture in a file's metadata."""

    def __init__(self, metadata: Mapping[str, Value], kind: str, file: Path) -> None:
        self._metadata, self._kind, self._file = metadata, kind, file

    def value(self, key: str) -> bool | int | float | str | None:
        """Return a setting, None where the file has none."""
        return one_value(self._metadata, f"{self._kind}.{key}", self._file)

    def number(self, key: str, default: int = 0) -> int:
        """Return a whole number; some files give one for each layer, which have to be equal."""
        value = self._metadata.get(f"{self._kind}.{key}")
        if isinstance(value, np.ndarray) and len(value) and (value == value[0]).all():
            value = value[0].item()
        if value is None:
            return default
        if type(value) is not int or value < 0:
            raise ModelError(f"{self._file}: {self._kind}.{key} must be one whole number, the same in all layers")
        return value

    def needed(self, key: str) -> int:
        """Return a number that has no default."""
        if f"{self._kind}.{key}" not in self._metadata:
            raise ModelError(f"{self._file} holds no whole model: {self._kind}.{key} is missing")
        return self.number(key)

    def factor(self, key: str, default: float) -> float:
        """Return a factor, which is no text and no list."""
        value = self.value(key)
        if value is not None and (isinstance(value, (str, bool)) or not np.isfinite(value)):
            raise ModelError(f"{self._file}: {self._kind}.{key} must be a number")
        return default if value is None else float(value)
