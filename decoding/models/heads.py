"""Extra heads on a target's hidden state, which guess the tokens behind the one that it has chosen: weights and folder.

Medusa: Cai et al. 2024 (https://arxiv.org/abs/2401.10774); here each head knows what was guessed before it, as in
Hydra: Ankner et al. 2024 (https://arxiv.org/abs/2402.05109), the state is narrower than the target's, and only the
likeliest part of the vocabulary can be guessed, as in FR-Spec: Zhao et al. 2025 (https://arxiv.org/abs/2502.14856).

Dimension letters: C width of the target, R of the heads' state, V vocabulary, M tokens that can be guessed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from safetensors import SafetensorError, safe_open
from torch import Tensor

from decoding.errors import ModelError
from decoding.models.folder.json_files import MIB, read_json, shown
from decoding.models.folder.model_config import NUMBERS, Bounds
from decoding.models.folder.safetensors_headers import read_headers
from decoding.models.weights.tensors import Tensors
from decoding.models.weights.weight_schema import heads_schema

FOLDER: Final = "heads"  # beside a target's own files
DESCRIPTION_FILE: Final = "heads.json"
WEIGHTS_FILE: Final = "heads.safetensors"
FORMAT: Final = 1
MAX_DESCRIPTION_BYTES: Final = 64 * MIB
NUM_HEADS: Final = Bounds(int, 1, 16)
NORM_EPS: Final = NUMBERS["rms_norm_eps"]
EPS: Final = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadWeights:
    """The trained weights of heads; `blocks` has one item for each head."""

    embedding: Tensor  # (V, R)
    down: Tensor  # (R, C), the target's last norm multiplied in
    blocks: tuple[Tensor, ...]  # (R, 2 R)
    norm: Tensor  # (R,)
    kept_ids: tuple[int, ...]  # M


class Heads:
    """Computes the heads one after the other, on the target's device."""

    def __init__(self, weights: HeadWeights, norm_eps: float) -> None:
        self._weights = weights
        self._norm_eps = norm_eps
        self.kept_ids = weights.kept_ids
        self.kept = torch.tensor(weights.kept_ids, device=weights.down.device)  # (M,)
        self.vocabulary = len(weights.embedding)
        self._head = weights.embedding[self.kept] * weights.norm  # (M, R)
        self._lean = _Lean(weights, self._head) if weights.down.device.type == "cpu" else None

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
        every = (weights.embedding, weights.down, weights.norm, *weights.blocks)
        return sum(tensor.numel() for tensor in every)

    def begin(self, hidden: Tensor) -> Tensor:
        """Return the first state (R,) from the input (C,) of the target's last norm."""
        x = hidden.to(self._weights.down.dtype)
        return torch.mv(self._weights.down, F.rms_norm(x, x.shape, eps=self._norm_eps))

    def go_on(self, state: Tensor, number: int, token_id: int) -> tuple[Tensor, Tensor]:
        """Return the next state (R,) behind a token, and its logits (M,) of a head; valid until the next call."""
        if self._lean is not None:
            return self._lean.go_on(state, number, token_id)
        read = torch.cat((state, self._weights.embedding[token_id]))
        state = state + F.silu(torch.mv(self._weights.blocks[number], read))
        return state, torch.mv(self._head, F.rms_norm(state, state.shape, eps=EPS))


class _Lean:
    """Computes heads on a CPU in float32: torch multiplies into memory that numpy shares, and numpy does the rest.

    An operation of torch on so few numbers takes ten times as long as one of numpy, and longer than the computation.
    """

    def __init__(self, weights: HeadWeights, head: Tensor) -> None:
        width = len(weights.norm)
        self._blocks, self._head = weights.blocks, head
        self._embedding = weights.embedding.numpy()
        self._read, self._inner = torch.zeros(2 * width), torch.zeros(width)
        self._normed, self._logits = torch.zeros(width), torch.zeros(len(head))

    def go_on(self, state: Tensor, number: int, token_id: int) -> tuple[Tensor, Tensor]:
        before, read = state.numpy(), self._read.numpy()
        width = len(before)
        read[:width] = before
        read[width:] = self._embedding[token_id]
        inner = torch.mv(self._blocks[number], self._read, out=self._inner).numpy()
        # This is the logistic function, by the hyperbolic tangent, which doesn't overflow.
        after = before + inner * (0.5 + 0.5 * np.tanh(0.5 * inner))
        self._normed.numpy()[:] = after / np.sqrt(np.dot(after, after) / width + EPS)
        return torch.from_numpy(after), torch.mv(self._head, self._normed, out=self._logits)


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
        embedding=tensors.take("embedding"),
        down=tensors.take("down"),
        blocks=tuple(tensors.take(name) for name in names),
        norm=tensors.take("norm"),
        kept_ids=tuple(described["kept_ids"]),
    )
    return Heads(weights, described["norm_eps"])


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


def identity(folder: Path) -> str:
    """Return a digest that names a model's weights, however they are spread over files: of each tensor's first row.

    Raises `ModelError` if a file is broken.
    """
    rows: dict[str, bytes] = {}
    for path in sorted({entry.file for entry in read_headers(folder).values()}):
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
    return hashlib.sha256(b"".join(rows[name] for name in sorted(rows))).hexdigest()[:32]
