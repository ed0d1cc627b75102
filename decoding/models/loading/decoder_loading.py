"""Reads the weights of a model folder into a model of our own forward pass, or says what is wrong with them.

Weights are safetensors or GGUF: other formats can run code when they are read. Everything is read from disk; nothing is
ever fetched here.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from decoding.config import AUTO_ROUNDING, NO_ROUNDING, EngineConfig
from decoding.errors import ModelError
from decoding.models.cuda.factory import build as build_recorded
from decoding.models.cuda.factory import rounded_product
from decoding.models.folder.model_config import DecoderSizes
from decoding.models.folder.model_folder import ModelFolder
from decoding.models.language_model import LanguageModel
from decoding.models.loading.layer_reading import EMBEDDING, HEAD, NORM, read_layer, read_stored
from decoding.models.loading.memory import block_bytes
from decoding.models.loading.rounded_file import Tell, is_kept, kept_entries, wanted_for
from decoding.models.loading.rounding import KINDS, RoundedTensors, round_weights
from decoding.models.loading.weight_forms import (
    are_in_blocks,
    cpu_kernels,
    packs_itself,
    rounds_matrices,
    with_rounding,
)
from decoding.models.quantize import quantize_layer, quantize_weights
from decoding.models.sharding.pipeline import Pipeline, split
from decoding.models.torch.decoder import Decoder, Shape, Weights, rotary_table
from decoding.models.torch.rope import inverse_frequencies
from decoding.models.weights.stored_blocks import StoredWeights
from decoding.models.weights.tensors import StoredTensors, Tensors
from decoding.models.weights.weight_schema import decoder_schema
from decoding.small_torch import NeedsTorch, is_torch_missing

if TYPE_CHECKING:
    from decoding.models.cpu.decoder import CpuDecoder
    from decoding.models.cuda.decoder import CudaDecoder

log = logging.getLogger(__name__)

Places = Sequence[tuple[torch.device, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A model, and why it can't verify drafts, "" where it can."""

    model: LanguageModel
    notice: str = ""


def load_decoder(
    folder: ModelFolder,
    engine: EngineConfig,
    *,
    vocabulary: int,
    max_len: int,
    device: torch.device,
    dtype: torch.dtype,
    places: Places = (),
    tell: Tell = log.info,
) -> Pipeline | Decoder | CpuDecoder | CudaDecoder:
    """Read the weights of a folder into the quickest model for where they go.

    Args:
        folder: of an architecture that our own forward pass computes.
        engine: whose settings of kernels, threads and quantization count.
        vocabulary: number of real token ids; padding rows of the head behind them are cut off.
        max_len: wanted length of prompt and answer together, bounded by the model's own.
        device: where the weights go.
        dtype: of the stored weights.
        places: of several devices, each with its number of layers; the first is `device`.
        tell: is called with a sentence before what is done once and takes time.

    Raises:
        ModelError: the folder is missing, incomplete, of another format or of another architecture.
    """
    sizes = folder.sizes
    if sizes.vocabulary < vocabulary:
        raise ModelError(f"{folder.path}: the tokenizer has {vocabulary} tokens, the model only {sizes.vocabulary}")
    shape = _shape(sizes, vocabulary, max_len)
    frequencies = inverse_frequencies(folder.config, shape.head_dim)
    tensors = Tensors(folder.path, folder.entries, decoder_schema(sizes), device, dtype)
    engine = with_rounding(engine, folder, device)
    is_packed = len(places) < 2 and packs_itself(engine, device)
    if len(places) < 2 and are_in_blocks(folder, engine, device):
        table = rotary_table(shape.max_len + 128, frequencies)
        return _from_blocks(_blocks_of(folder, tensors, engine, dtype, tell), sizes, shape, table, engine)
    # Layers are rounded one by one, so that only one of them is ever in memory in full.
    rounding = "" if is_packed or engine.quantize == "none" else engine.quantize
    rotary = rotary_table(shape.max_len + 128, frequencies).to(device)
    weights = _read_weights(tensors, sizes, shape, rotary, places or [(device, shape.layers)], rounding)
    if len(places) > 1:
        weights = quantize_weights(weights, rounding, rounded_product(device)) if rounding else weights
        return split(shape, weights, [count for _, count in places], partial(_unpacked, engine))
    return assemble(shape, weights, engine)


def _read_weights(
    tensors: Tensors, sizes: DecoderSizes, shape: Shape, rotary: Tensor, places: Places, rounding: str
) -> Weights:
    """Read all weights, each layer to its device of `places`; layers are rounded to `rounding` unless it is ""."""
    embedding = tensors.take(EMBEDDING)
    last = tensors.on(places[-1][0])
    head = last.to_device(embedding) if sizes.is_tied else last.take(HEAD)
    multiply = rounded_product(places[0][0])
    layers = []
    for i, place in enumerate(place for place, count in places for _ in range(count)):
        layer = read_layer(tensors.on(place), i, sizes)
        layers.append(quantize_layer(layer, rounding, multiply) if rounding else layer)
    return Weights(
        embedding=embedding, layers=layers, norm=last.take(NORM), head=head[: shape.vocabulary], rotary=rotary
    )


def _blocks_of(
    folder: ModelFolder, tensors: Tensors, engine: EngineConfig, dtype: torch.dtype, tell: Tell
) -> StoredTensors:
    """Return what reads the model's matrices as blocks: those of its own file, or rounded ones, kept or not."""
    device = torch.device("cpu")
    if not rounds_matrices(folder, engine, device):
        return tensors
    from decoding.models.cpu.block_rounding import round_rows  # noqa: PLC0415 - brings numba

    rounded = RoundedTensors(tensors, engine.quantize, round_rows, _threads(engine))
    if not is_kept(folder):
        return rounded
    wanted = wanted_for(folder, engine.quantize)
    kept = kept_entries(wanted, rounded, block_bytes(folder, dtype, engine.quantize), tell)
    return rounded if kept is None else Tensors(folder.path, kept, wanted.schema, device, dtype)


def _from_blocks(
    tensors: StoredTensors, sizes: DecoderSizes, shape: Shape, rotary: Tensor, engine: EngineConfig
) -> CpuDecoder:
    from decoding.models.cpu import decoder  # noqa: PLC0415 - brings numba, which some machines don't have
    from decoding.models.cpu.block_packing import can_pack  # noqa: PLC0415

    weights = read_stored(tensors, sizes, shape.vocabulary, rotary, can_pack)
    return decoder.build(shape, weights, threads=_threads(engine))


def _threads(engine: EngineConfig) -> int:
    return engine.threads or torch.get_num_threads()


def assemble(shape: Shape, weights: Weights, engine: EngineConfig) -> Decoder | CpuDecoder | CudaDecoder:
    """Make the model of these weights in the quickest form for their device; round those that are not rounded yet."""
    if packs_itself(engine, weights.embedding.device) and (kernels := cpu_kernels(engine)):
        stored: Weights | StoredWeights = weights
        if engine.quantize in KINDS:
            from decoding.models.cpu.block_rounding import round_rows  # noqa: PLC0415 - as in `_blocks_of`

            stored = round_weights(weights, shape, engine.quantize, round_rows, _threads(engine))
        model: CpuDecoder = kernels.build(shape, stored, threads=_threads(engine))
        return model
    if engine.quantize not in (AUTO_ROUNDING, NO_ROUNDING):
        weights = quantize_weights(weights, engine.quantize, rounded_product(weights.embedding.device))
    return _unpacked(engine, shape, weights)


def _unpacked(engine: EngineConfig, shape: Shape, weights: Weights) -> Decoder | CudaDecoder:
    """Make a model of recorded passes where the device can, of torch's operations otherwise."""
    if is_torch_missing():
        raise NeedsTorch("without the compiled kernels, which these settings or this processor exclude, a model")
    return build_recorded(shape, weights, engine.kernels) or Decoder(shape, weights)


def _shape(sizes: DecoderSizes, vocabulary: int, max_len: int) -> Shape:
    return Shape(
        layers=sizes.layers,
        width=sizes.width,
        heads=sizes.heads,
        kv_heads=sizes.kv_heads,
        head_dim=sizes.head_dim,
        vocabulary=vocabulary,
        max_len=min(max_len, sizes.max_positions or max_len),
        norm_eps=sizes.norm_eps,
    )
