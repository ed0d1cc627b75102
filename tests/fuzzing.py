"""Reads thousands of spoiled models in a process of its own, which ends if one takes too much memory or time.

    python -m tests.fuzzing PATH FIRST COUNT

PATH is a GGUF file to write, or a model folder whose JSON files are to be spoiled. It is written anew for each
mutation, so that it holds the guilty one if the process ends before it prints its figures.
"""

from __future__ import annotations

import json
import re
import resource
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from decoding.errors import ModelError
from decoding.models.folder.model_folder import ModelFolder
from decoding.models.folder.summary import ModelSummary
from decoding.models.weights.weight_schema import check, decoder_schema
from decoding.text.detokenize import token_bytes
from decoding.text.prompt_layout import find_layout
from decoding.text.token_healing import TokenIndex
from tests import gguf_mutations, json_mutations
from tests.gguf_whole_files import byte_pair_file, sentence_piece_file

MEMORY = 256 * 2**20  # more than the process has before the first file
SECONDS = 5.0  # of the processor, for one file
MAX_MESSAGE = 700
JSON_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json")

Write = Callable[[int], str]
"""Writes the model that is spoiled by this seed, and returns in which way it is."""


def describe(path: Path) -> None:
    """Do what loading does before it reads a weight."""
    summary = ModelSummary.read(path)
    _ = summary.architecture, summary.kind, summary.num_parameters, summary.num_bytes
    folder = ModelFolder.read(path)
    _ = folder.num_parameters, folder.stored_as
    layout = find_layout(
        folder.tokenizer.get_vocab(),
        folder.own,
        folder.end_token_ids,
        begin_ids=folder.begin_token_ids,
        model_name=folder.names,
    )
    TokenIndex(token_bytes(folder.tokenizer))
    folder.tokenizer.encode("def f(a):\n\treturn ab  # ä 中\n", add_special_tokens=False)
    if not folder.why_not_ours(2048):
        check(folder.entries, decoder_schema(folder.sizes), path)
    assert layout.is_anchored


def problem_with(message: str) -> str:
    """Why a message isn't one sentence for people, or ""."""
    if len(message) > MAX_MESSAGE:
        return "too long"
    if re.search(r"\w(Error|Exception)\b|Traceback|<class|object at 0x", message):
        return "names of Python's"
    return "" if message.isprintable() else "holds what a terminal obeys"


def spoiled_files(file: Path) -> Write:
    good = (byte_pair_file(), sentence_piece_file())
    for whole in good:
        describe(whole.write(file))

    def write(seed: int) -> str:
        name, data = gguf_mutations.mutated(seed, good[seed % len(good)])
        file.write_bytes(data)
        return name

    return write


def spoiled_folders(folder: Path) -> Write:
    describe(folder)
    good = {name: (folder / name).read_bytes() for name in JSON_FILES}

    def write(seed: int) -> str:
        for name, text in good.items():
            (folder / name).write_bytes(text)
        file = JSON_FILES[seed % len(JSON_FILES)]
        name, data = json_mutations.mutated(seed, good[file])
        (folder / file).write_bytes(data)
        return f"{name} in {file}"

    return write


def main(path: Path, first: int, count: int) -> None:
    write = spoiled_folders(path) if path.is_dir() else spoiled_files(path)
    size = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    refused: Counter[str] = Counter()
    read: Counter[str] = Counter()
    for seed in range(first, first + count):
        name = write(seed)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)  # without a handler the process ends, even in compiled code
        try:
            describe(path)
            read[name] += 1
        except ModelError as error:
            refused[name] += 1
            if problem := problem_with(str(error)):
                raise AssertionError(f"mutation {seed} ({name}), {problem}: {error!r}") from None
        except BaseException as error:
            raise AssertionError(f"mutation {seed} ({name}) raises {error!r}") from error
    sys.stdout.write(json.dumps({"refused": refused, "read": read}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
