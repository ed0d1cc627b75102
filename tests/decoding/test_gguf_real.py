"""Published GGUF files, where `TABCAST_REAL_MODELS` names a folder that holds some."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from decoding.config import EngineConfig
from decoding.models.folder.model_folder import ModelFolder
from decoding.models.folder.summary import ModelSummary
from decoding.models.folder.tokenizer_files import load_tokenizer
from decoding.models.gguf.blocks import widen
from decoding.models.gguf.split_files import read_model
from decoding.models.loading.devices import choose_device
from decoding.models.loading.model_set import ModelSet, load_models
from decoding.models.loading.parts import planned_bytes
from decoding.text.detokenize import Detokenizer, token_bytes
from decoding.text.prompt_layout import find_layout
from tests.gguf_corpus import CORPUS
from tests.real_models import FILES, TWINS, each_file, needs_files

pytestmark = needs_files


def twin(file: Path) -> Path:
    """The Hugging Face folder of the same model beside a file, by its width and layers."""
    sizes = ModelFolder.read(file).sizes
    for folder in TWINS:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if (config["hidden_size"], config["num_hidden_layers"]) == (sizes.width, sizes.layers):
            return folder
    pytest.skip("no Hugging Face folder of this model lies beside it")


@each_file
def test_it_reads_as_the_gguf_package_reads_it(file: Path) -> None:
    gguf = pytest.importorskip("gguf", reason="the extra `bench` is not installed")
    theirs = {tensor.name: tensor for tensor in gguf.GGUFReader(file).tensors}
    ours = read_model(file).tensors
    assert list(ours) == list(theirs)
    tried: set[str] = set()
    for name, tensor in ours.items():
        other = theirs[name]
        assert (tensor.offset, tensor.kind.name) == (other.data_offset, other.tensor_type.name)
        assert tensor.shape == tuple(other.shape.tolist())[::-1]
        if tensor.kind.name in tried or tensor.num_rows > 2**16:
            continue  # one of each type, and no embedding
        tried.add(tensor.kind.name)
        wanted = torch.from_numpy(gguf.dequantize(other.data, other.tensor_type).copy()).flatten()
        assert torch.equal(torch.cat([torch.from_numpy(piece) for piece in widen(tensor)]), wanted)


@each_file
def test_its_tokens_are_those_of_its_tokenizer_json(file: Path) -> None:
    ours, theirs = load_tokenizer(file), load_tokenizer(twin(file))
    of_ids = token_bytes(ours)
    for text in (*CORPUS, "".join(CORPUS), "<|fim_prefix|>a<|fim_suffix|><tool_call>{}</tool_call>"):
        ids = ours.encode(text, add_special_tokens=False).ids
        assert ids == theirs.encode(text, add_special_tokens=False).ids, text
        detokenizer = Detokenizer(of_ids)
        assert "".join(map(detokenizer.push, ids)) == text
    for token_id in range(len(of_ids)):
        assert ours.id_to_token(token_id) == theirs.id_to_token(token_id)


@each_file
def test_its_ends_and_its_template_are_found(file: Path) -> None:
    folder = ModelFolder.read(file)
    vocabulary = folder.tokenizer.get_vocab()
    layout = find_layout(vocabulary, folder.own, folder.end_token_ids, model_name=folder.names)
    assert layout.template is not None
    assert not any(token.startswith("[PAD") for token in vocabulary)
    for name in ("<|endoftext|>", "<|im_end|>", "<|file_sep|>", "<|fim_pad|>"):
        if name in vocabulary:
            assert vocabulary[name] in layout.stop_ids


def greedy(models: ModelSet, prompt: str, num_tokens: int) -> list[int]:
    cache, ids = models.target.new_cache(), models.encode(prompt)
    chosen: list[int] = []
    for _ in range(num_tokens):
        chosen.append(int(models.target.advance(ids, cache).argmax()))
        ids = chosen[-1:]
    return chosen


@pytest.fixture(scope="module")
def smallest() -> ModelSet:
    return load_models(EngineConfig(model=str(FILES[0]), device="cpu"))[0]


def test_it_writes_sensible_code(smallest: ModelSet) -> None:
    ids = greedy(smallest, "def add(a, b):\n    return", 4)
    assert smallest.tokenizer.decode(ids).startswith(" a + b")


def test_it_finds_code_as_likely_as_its_twin_does(smallest: ModelSet) -> None:
    """The two differ only in the embedding, which a folder has once and the file twice."""
    other = load_models(EngineConfig(model=str(twin(FILES[0])), device="cpu"))[0]
    ids = smallest.encode("".join(CORPUS[:5]))[:120]
    ours, theirs = (_loss(models, ids) for models in (smallest, other))
    assert ours == pytest.approx(theirs, rel=0.02)


def _loss(models: ModelSet, ids: Sequence[int]) -> float:
    """Nats a token, token by token."""
    cache, losses = models.target.new_cache(), []
    for token, following in pairwise(ids):
        logits = models.target.advance([token], cache).float()
        losses.append(-float(logits.log_softmax(-1)[following]))
    return sum(losses) / len(losses)


# The peak that `getrusage` tells begins with that of the process which started this one.
MEASURE = r"""
import re, sys
from decoding.config import EngineConfig
from decoding.models.loading.model_set import load_models
models, _ = load_models(EngineConfig(model=sys.argv[1], draft="none", device="cpu", context_tokens=int(sys.argv[2])))
cache, ids = models.target.new_cache(), models.encode(open(sys.argv[3]).read())
while len(ids) < int(sys.argv[2]):
    ids = ids + ids
ids, width = ids[: int(sys.argv[2]) - 8], models.target.prefill_width
for at in range(0, len(ids), width):
    models.target.prefill(ids[at : at + width], cache)
print(int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) * 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="another system counts memory in another way")
@each_file
def test_it_takes_the_memory_that_is_told(file: Path) -> None:
    config = EngineConfig(model=str(file), device="cpu", context_tokens=2048)
    told = planned_bytes(ModelSummary.read(file), config, *choose_device(config))
    command = [sys.executable, "-P", "-c", MEASURE, str(file), "2048", __file__]
    for _ in range(3):  # the first may compile kernels, which takes memory once
        taken = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])
        if taken <= 1.1 * told:
            break
    assert taken == pytest.approx(told, rel=0.1)
