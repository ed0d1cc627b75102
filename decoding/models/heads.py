"""Extra heads on a target's hidden state, which guess the tokens behind the one that it has chosen: weights and folder.

Medusa: Cai et al. 2024 (https://arxiv.org/abs/2401.10774); here each head knows what was guessed before it, as in
Hydra: Ankner et al. 2024 (https://arxiv.org/abs/2402.05109), the state is narrower than the target's, and only the
likeliest part of the vocabulary can be guessed, as in FR-Spec: Zhao et al. 2025 (https://arxiv.org/abs/2502.14856), and
beside it the tokens of the text, without which a fifth of all guesses would be out of reach.

Dimension letters: C width of the target, R of the heads' state, V vocabulary, M frequent tokens, P those of the text.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from decoding.errors import ModelError
from decoding.models.folder.json_files import MIB, read_json, shown
from decoding.models.folder.model_config import NUMBERS, Bounds
from decoding.models.folder.safetensors_headers import Entry, read_headers
from decoding.models.gguf.split_files import is_gguf
from decoding.models.weights.tensors import Tensors
from decoding.models.weights.weight_schema import heads_schema
from decoding.small_torch import require_torch

FOLDER: Final = "heads"  # beside a target's own files
DESCRIPTION_FILE: Final = "heads.json"
WEIGHTS_FILE: Final = "heads.safetensors"
FORMAT: Final = 1
MAX_DESCRIPTION_BYTES: Final = 64 * MIB
NUM_HEADS: Final = Bounds(int, 1, 16)
NORM_EPS: Final = NUMBERS["rms_norm_eps"]
EPS: Final = 1e-6
ROOM: Final = 1024  # chosen: the most tokens to choose from beside the frequent ones
MOST_READ: Final = 8192  # chosen: so many tokens of a text are looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadWeights:
    """The trained weights of heads; `blocks` has one item for each head."""

    embedding: Table  # (V, R)
    down: Tensor  # (R, C), the target's last norm multiplied in
    blocks: tuple[Tensor, ...]  # (R, 2 R)
    norm: Tensor  # (R,)
    kept_ids: tuple[int, ...]  # M


class Heads(Protocol):
    """Computes the heads one after the other, on the target's device."""

    @property
    def vocabulary(self) -> int:
        """V, the number of the target's tokens."""

    @property
    def device(self) -> torch.device:
        """The device that the weights are on."""

    @property
    def num_parameters(self) -> int:
        """The number of all weights."""

    def __len__(self) -> int:
        """Return the number of heads."""

    def hold(self, text_ids: Sequence[int]) -> Guessable:
        """Return the tokens to choose from behind a text: the frequent ones, and the text's own; of many the last."""

    def begin(self, hidden: Tensor) -> Tensor:
        """Return the first state (R,) from the input (C,) of the target's last norm."""

    def go_on(self, state: Tensor, number: int, token_id: int, among: Guessable) -> tuple[Tensor, Tensor]:
        """Return the next state (R,) behind a token, and a head's logits (M + P,) of the tokens to choose from."""


@dataclass(frozen=True, slots=True)
class Guessable:
    """The tokens that heads choose from: `ids` (M + P,), and of the last P of them the rows (P, R) of the head."""

    ids: NDArray[np.int64]
    rows: Tensor


class Table:
    """A row of numbers for each token of the vocabulary, which may be stored in int8 with a factor for each row."""

    def __init__(self, rows: Tensor, factors: Tensor | None = None) -> None:
        self._rows, self._factors = rows, factors
        self.shape = tuple(rows.shape)

    def take(self, ids: NDArray[np.int64]) -> Tensor:
        """Return the rows (N, R) of tokens."""
        if self._factors is None:
            return self._rows[torch.from_numpy(ids).to(self._rows.device)]
        return torch.from_numpy(self._rows.numpy()[ids] * self._factors.numpy()[ids, None])

    def row(self, token_id: int) -> Tensor:
        """Return the row (R,) of a token."""
        row = self._rows[token_id]
        return row if self._factors is None else row.float() * float(self._factors[token_id])


class TorchHeads:
    """Computes heads by torch, on any device."""

    def __init__(self, weights: HeadWeights, norm_eps: float) -> None:
        self._weights = weights
        self._norm_eps = norm_eps
        self._kept = np.array(weights.kept_ids, np.int64)
        self.vocabulary = weights.embedding.shape[0]
        self._is_kept = np.zeros(self.vocabulary, bool)
        self._is_kept[self._kept] = True
        self._head = weights.embedding.take(self._kept) * weights.norm  # (M, R)

    def __len__(self) -> int:
        return len(self._weights.blocks)

    @property
    def device(self) -> torch.device:
        """The device that the weights are on."""
        return self._weights.down.device

    @property
    def num_parameters(self) -> int:
        """The number of all weights."""
        weights = self._weights
        others = sum(tensor.numel() for tensor in (weights.down, weights.norm, *weights.blocks))
        return others + math.prod(weights.embedding.shape)

    def hold(self, text_ids: Sequence[int]) -> Guessable:
        """Return the tokens to choose from behind a text."""
        read = np.array(text_ids[-MOST_READ:], np.int64)
        rare = read[~self._is_kept[read]][::-1]
        # The first of each here is its last in the text.
        others = rare[np.sort(np.unique(rare, return_index=True)[1])][:ROOM]
        rows = self._weights.embedding.take(others) * self._weights.norm
        return Guessable(np.concatenate([self._kept, others]), rows)

    def begin(self, hidden: Tensor) -> Tensor:
        """Return the first state (R,) from the input (C,) of the target's last norm."""
        x = hidden.to(self._weights.down.dtype)
        return torch.mv(self._weights.down, F.rms_norm(x, x.shape, eps=self._norm_eps))

    def go_on(self, state: Tensor, number: int, token_id: int, among: Guessable) -> tuple[Tensor, Tensor]:
        """Return the next state (R,) behind a token, and its logits (M + P,)."""
        read = torch.cat((state, self._weights.embedding.row(token_id)))
        state = state + F.silu(torch.mv(self._weights.blocks[number], read))
        normed = F.rms_norm(state, state.shape, eps=EPS)
        return state, torch.cat((torch.mv(self._head, normed), torch.mv(among.rows, normed)))


class CpuHeads(TorchHeads):
    """Computes heads on a CPU in float32 by numpy, without torch.

    An operation of torch on so few numbers takes ten times as long as one of numpy, and longer than the computation.
    """

    def begin(self, hidden: Tensor) -> Tensor:
        """Return the first state (R,) from the input (C,) of the target's last norm."""
        x = hidden.float().numpy()
        normed = x / np.sqrt(np.dot(x, x) / len(x) + self._norm_eps)
        return torch.from_numpy(self._weights.down.numpy() @ normed)

    def go_on(self, state: Tensor, number: int, token_id: int, among: Guessable) -> tuple[Tensor, Tensor]:
        """Return the next state (R,) behind a token, and its logits (M + P,)."""
        before = state.numpy()
        read = np.concatenate((before, self._weights.embedding.row(token_id).numpy()))
        inner = self._weights.blocks[number].numpy() @ read
        # This is the logistic function, by the hyperbolic tangent, which doesn't overflow.
        after = before + inner * (0.5 + 0.5 * np.tanh(0.5 * inner))
        normed = after / np.sqrt(np.dot(after, after) / len(after) + EPS)
        logits = np.concatenate((self._head.numpy() @ normed, among.rows.numpy() @ normed))
        return torch.from_numpy(after), torch.from_numpy(logits)


def make_heads(weights: HeadWeights, norm_eps: float) -> Heads:
    """Make the heads of these weights in the quickest form for their device."""
    return (CpuHeads if weights.down.device.type == "cpu" else TorchHeads)(weights, norm_eps)


def load_heads(
    folder: Path, target: Path, *, width: int, vocabulary: int, device: torch.device, dtype: torch.dtype
) -> Heads:
    """Read a folder that `tabcast train draft --kind heads` wrote.

    Raises:
        ModelError: the folder is incomplete, of another form, or made for another target than the folder `target`.
    """
    described = read_description(folder)
    if described["target"] != identity(target):
        raise ModelError(f"{folder} has heads that were made for other weights than those of {target}")
    if max(described["kept_ids"]) >= vocabulary:
        raise ModelError(
            f"{folder / DESCRIPTION_FILE}: kept_ids must be ids of the target, which has {vocabulary:,} tokens"
        )
    entries = read_headers(folder)
    schema = heads_schema(entries, folder, num_heads=described["heads"], width=width, vocabulary=vocabulary)
    tensors = Tensors(folder, entries, schema, device, torch.float32 if device.type == "cpu" else dtype)
    names = [f"block.{i}" for i in range(described["heads"])]
    weights = HeadWeights(
        embedding=_table(tensors, device),
        down=tensors.take("down"),
        blocks=tuple(tensors.take(name) for name in names),
        norm=tensors.take("norm"),
        kept_ids=tuple(described["kept_ids"]),
    )
    return make_heads(weights, described["norm_eps"])


def _table(tensors: Tensors, device: torch.device) -> Table:
    """Read the embedding; on a CPU it stays in int8 if it is stored so, since it is most of the weights."""
    rounded = tensors.rounded("embedding") if device.type == "cpu" else None
    return Table(tensors.take("embedding")) if rounded is None else Table(*rounded)


def read_description(folder: Path) -> dict[str, Any]:
    """Read the folder's heads.json. Raises `ModelError` if it is missing or of another form."""
    path = folder / DESCRIPTION_FILE
    if not path.is_file():
        raise ModelError(f"{folder} holds no heads: {DESCRIPTION_FILE} is missing")
    described = read_json(path, most_bytes=MAX_DESCRIPTION_BYTES)
    if not isinstance(described, dict) or described.get("format") != FORMAT:
        raise ModelError(f"{path}: heads of another form than this version reads")
    kept = described.get("kept_ids")
    are_ids = isinstance(kept, list) and len(kept) > 1 and all(type(item) is int and item >= 0 for item in kept)
    for key, is_right, allowed in (
        ("target", isinstance(described.get("target"), str), "a text"),
        ("heads", NUM_HEADS.allow(described.get("heads")), str(NUM_HEADS)),
        ("norm_eps", NORM_EPS.allow(described.get("norm_eps")), str(NORM_EPS)),
        ("kept_ids", are_ids, "a list of token ids"),
    ):
        if not is_right:
            raise ModelError(f"{path}: {key} must be {allowed}, not {shown(described.get(key))}")
    return described


def identity(path: Path) -> str:
    """Return a digest that names a model's weights, by each tensor's first row: of a GGUF file or of a folder.

    How a folder's tensors are spread over files makes no difference. Raises `ModelError` if a file is broken.
    """
    entries = read_headers(path)
    rows = _stored_rows(entries) if is_gguf(path) else _folder_rows(entries)
    return hashlib.sha256(b"".join(rows[name] for name in sorted(rows))).hexdigest()[:32]


def _stored_rows(entries: Mapping[str, Entry]) -> dict[str, bytes]:
    rows: dict[str, bytes] = {}
    for name, entry in entries.items():
        stored = entry.stored
        assert stored is not None  # as all of a GGUF file
        try:
            with stored.file.open("rb") as stream:
                stream.seek(stored.offset)
                rows[name] = f"{name} {stored.kind.name} {stored.shape}".encode() + stream.read(stored.row_bytes)
        except OSError as error:
            raise ModelError(f"{stored.file} can't be read: {error.strerror}") from None
    return rows


def _folder_rows(entries: Mapping[str, Entry]) -> dict[str, bytes]:
    require_torch("heads on a model that is no GGUF file: a check of its weights")
    rows: dict[str, bytes] = {}
    for path in sorted({entry.file for entry in entries.values()}):
        try:
            with safe_open(str(path), framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 - it is no mapping
                    part = file.get_slice(name)
                    row = part[:1] if len(part.get_shape()) > 1 else file.get_tensor(name)
                    rows[name] = f"{name} {part.get_shape()}".encode() + row.float().numpy().tobytes()
        except SafetensorError as error:
            raise ModelError(f"{path}: not a safetensors file, or cut short ({error})") from None
        except RuntimeError:  # torch can't widen every dtype that a file may have
            raise ModelError(
                f"{path}: a tensor has a dtype that can't be compared with what heads were made for"
            ) from None
    return rows
