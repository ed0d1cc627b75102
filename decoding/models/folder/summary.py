"""Describes a model for a list of models: by headers alone, because a tokenizer takes longer than all the rest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from decoding.models.folder.model_config import config_of, read_config, read_file
from decoding.models.folder.model_folder import ModelFolder
from decoding.models.folder.naming import kind_of, title_of
from decoding.models.folder.safetensors_headers import Entry, entries_of, read_headers
from decoding.models.gguf.split_files import is_gguf


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelSummary:
    """The configuration and the tensors of a model folder or a GGUF file."""

    path: Path
    config: Mapping[str, Any] = field(repr=False)
    entries: Mapping[str, Entry] = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> ModelSummary:
        """Read headers and config.json. Raises `ModelError` if one is missing, broken or of no language model."""
        if not is_gguf(path):
            return cls(path=path, config=read_config(path), entries=read_headers(path))
        model = read_file(path)
        return cls(path=path, config=config_of(model), entries=entries_of(model))

    @property
    def architecture(self) -> str:
        """The architecture, by the name of Hugging Face's config.json."""
        return str(self.config["model_type"])

    @property
    def kind(self) -> str:
        """How the weights are stored: the name of a mixture of types, such as Q4_K_M, or the commonest type."""
        return kind_of(self.config, self.entries)

    @property
    def title(self) -> str:
        """What people call the model."""
        return title_of(self.path, self.config)

    @property
    def is_file(self) -> bool:
        """Whether it is one GGUF file."""
        return is_gguf(self.path)

    @property
    def num_parameters(self) -> int:
        """The number of weights in the model's files."""
        return sum(math.prod(entry.shape) for entry in self.entries.values())

    @property
    def num_bytes(self) -> int:
        """The size of the files that hold the weights."""
        return sum(file.stat().st_size for file in {entry.file for entry in self.entries.values()})


# What memory is planned by.
Described = ModelFolder | ModelSummary
