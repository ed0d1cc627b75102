"""Reads a model from one GGUF file, or from several that were split from one, if all of them are there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from decoding.errors import ModelError
from decoding.models.gguf.reader import Header, Value, one_value, read_header
from decoding.models.gguf.tensor_table import StoredTensor

COUNT: Final = "split.count"
NUMBER: Final = "split.no"
NUM_TENSORS: Final = "split.tensors.count"
MAX_FILES: Final = 1024
SUFFIX: Final = ".gguf"
NAME: Final = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufModel:
    """The contents of a model's files; the metadata is that of the first."""

    file: Path
    metadata: Mapping[str, Value]
    tensors: Mapping[str, StoredTensor]


def is_gguf(path: Path) -> bool:
    """Return whether a model's path means a GGUF file and no folder; a file of Ollama's has no ending."""
    return path.suffix == SUFFIX or path.is_file()


def read_model(file: Path) -> GgufModel:
    """Read the headers of a model's files, of which `file` may be any. Raises `ModelError` with one sentence."""
    header = read_header(file)
    count = one_value(header.metadata, COUNT, file)
    if count in (None, 0, 1):
        return GgufModel(file=file, metadata=header.metadata, tensors=header.tensors)
    if type(count) is not int or not 1 < count <= MAX_FILES:
        raise ModelError(f"{file}: {COUNT} must be a number of files up to {MAX_FILES}")
    headers = [_part(file, header, number, count) for number in range(count)]
    tensors: dict[str, StoredTensor] = {}
    for part in headers:
        if twice := tensors.keys() & part.tensors.keys():
            raise ModelError(f"{file}: tensor {min(twice)} is in two of the model's {count} files")
        tensors |= part.tensors
    told = one_value(headers[0].metadata, NUM_TENSORS, file)
    if told not in (None, len(tensors)):
        raise ModelError(f"{file}: the model's {count} files hold {len(tensors)} tensors, and should hold {told}")
    return GgufModel(file=_sibling(file, 0, count), metadata=headers[0].metadata, tensors=tensors)


def _part(file: Path, header: Header, number: int, count: int) -> Header:
    """Read one of the files that `file` was split with."""
    path = _sibling(file, number, count)
    if path != file:
        if not path.is_file():
            raise ModelError(f"{file} is one of {count} files of a model, and {path.name} is missing beside it")
        header = read_header(path)
    told = [one_value(header.metadata, key, path) for key in (COUNT, NUMBER)]
    if told != [count, number]:
        raise ModelError(f"{path} isn't file {number + 1} of the {count} that its name tells of")
    return header


def _sibling(file: Path, number: int, count: int) -> Path:
    found = NAME.fullmatch(file.name)
    if found is None or int(found["count"]) != count:
        wanted = f"NAME-00001-of-{count:05}.gguf"
        raise ModelError(f"{file} is one of {count} files of a model, whose names must be like {wanted}")
    return file.with_name(f"{found['stem']}-{number + 1:05}-of-{count:05}.gguf")
