"""Holds a model folder as a value: the contents of its files, read once and checked before any weight is read."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from decoding.models.folder import model_config, tokenizer_files
from decoding.models.folder.model_config import (
    CONFIG_FILE,
    DecoderSizes,
    config_of,
    decoder_sizes,
    read_config,
    read_file,
)
from decoding.models.folder.naming import kind_of, title_of
from decoding.models.folder.safetensors_headers import Entry, entries_of, read_headers
from decoding.models.folder.tokenizer_files import Vocabulary, load_with_vocabulary, tokenizer_of
from decoding.models.gguf.split_files import is_gguf
from decoding.models.gguf.tokenizer import tokenizer_digest
from decoding.models.gguf.wrapped import FORMS


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelFolder:
    """The contents of a folder: its checked config.json, its tokenizer, and the names and shapes of its tensors.

    `vocabulary` is the tokenizer's, added tokens included; `digest` is that of a GGUF file's tokenizer.
    """

    path: Path
    config: Mapping[str, Any] = field(repr=False)
    tokenizer: Tokenizer = field(repr=False)
    vocabulary: Vocabulary = field(repr=False)
    entries: Mapping[str, Entry] = field(repr=False)
    digest: bytes = field(default=b"", repr=False)

    @classmethod
    def read(cls, path: Path, like: ModelFolder | None = None) -> ModelFolder:
        """Read everything but the weights; if the tokenizer is that of the GGUF file `like`, they share it.

        Raises `ModelError` if a file is missing, broken or can't be right.
        """
        if not is_gguf(path):
            config, (tokenizer, vocabulary), entries = read_config(path), load_with_vocabulary(path), read_headers(path)
            return cls(path=path, config=config, tokenizer=tokenizer, vocabulary=vocabulary, entries=entries)
        model = read_file(path)
        config, digest = config_of(model), tokenizer_digest(model.metadata)
        if like is not None and like.digest == digest:
            tokenizer, vocabulary = like.tokenizer, like.vocabulary
        else:
            tokenizer, vocabulary = tokenizer_of(model)
        return cls(
            path=path,
            config=config,
            tokenizer=tokenizer,
            vocabulary=vocabulary,
            entries=entries_of(model),
            digest=digest,
        )

    @property
    def own(self) -> Mapping[str, Any]:
        """The part of config.json that is for Tabcast alone."""
        declared: Mapping[str, Any] = self.config.get("tabcast") or {}
        return declared

    @property
    def names(self) -> str:
        """The names that may tell the model's family: that in config.json, and the folder's."""
        return f"{self.config.get('_name_or_path') or ''} {self.path.name}"

    @property
    def num_parameters(self) -> int:
        """The number of weights in the folder's files."""
        return sum(math.prod(entry.shape) for entry in self.entries.values())

    @property
    def num_token_ids(self) -> int:
        """One more than the tokenizer's largest id."""
        return tokenizer_files.num_token_ids(self.vocabulary)

    @property
    def sizes(self) -> DecoderSizes:
        """Return the sizes for our own forward pass. Raises `ModelError` if they contradict each other."""
        return decoder_sizes(self.config, self.path if self.is_file else self.path / CONFIG_FILE)

    @property
    def is_file(self) -> bool:
        """Whether it is one GGUF file."""
        return is_gguf(self.path)

    @property
    def is_wrapped(self) -> bool:
        """Whether transformers can compute it where our own forward pass can't."""
        return not self.is_file or self.config["model_type"] in FORMS

    @property
    def stored_as(self) -> str:
        """In which types most weights are stored, and what people call the mixture."""
        counts: Counter[str] = Counter()
        for entry in self.entries.values():
            counts[entry.dtype] += math.prod(entry.shape)
        shares = [(kind, round(100 * count / max(1, counts.total()))) for kind, count in counts.most_common()]
        listed = ", ".join(f"{kind} {percent} %" for kind, percent in shares if percent)
        mixture = self.own.get("weights")
        return f"{mixture} ({listed})" if mixture else listed

    @property
    def kind(self) -> str:
        """How the weights are stored, in a word."""
        return kind_of(self.config, self.entries)

    @property
    def title(self) -> str:
        """What people call the model."""
        return title_of(self.path, self.config)

    @property
    def begin_token_ids(self) -> list[int]:
        """Return the tokens that start every text. Raises `ModelError` for a broken tokenizer_config.json."""
        return tokenizer_files.begin_token_ids(self.path, self.tokenizer)

    @property
    def end_token_ids(self) -> list[int]:
        """Return the ids of config.json's `eos_token_id`, which is a number, a list or nothing."""
        value = self.config.get("eos_token_id")
        return [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, int)]

    def why_not_ours(self, max_len: int) -> str:
        """Return why our own forward pass can't compute this model, or ""."""
        return model_config.why_not_ours(self.config, max_len)

    def why_not_alike(self, target: ModelFolder) -> str:
        """Return why this draft's token ids mean something else than a target's, or ""."""
        return tokenizer_files.why_not_alike(target.vocabulary, self.vocabulary)
