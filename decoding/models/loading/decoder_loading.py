"""Reads the weights of a model folder into a model of our own forward pass, or says what is wrong with them.

Weights are safetensors or GGUF: other formats can run code when they are read. Everything is read from disk; nothing is
ever fetched here.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from decoding.config import EngineConfig
from decoding.errors import ModelError
from decoding.models.cuda.factory import build as build_recorded
from decoding.models.cuda.factory import rounded_product
from decoding.models.folder.model_config import DecoderSizes
from decoding.models.folder.model_folder import ModelFolder
from decoding.models.folder.summary import Described
from decoding.models.gguf.wrapped import FORMS
from decoding.models.language_model import LanguageModel
from decoding.models.loading.layer_reading import EMBEDDING, HEAD, NORM, read_layer, read_stored
from decoding.models.quantize import quantize_layer, quantize_weights
from decoding.models.sharding.pipeline import Pipeline, split
from decoding.models.torch.decoder import Decoder, Shape, Weights, rotary_table
from decoding.models.torch.rope import inverse_frequencies
from decoding.models.weights.tensors import Tensors
from decoding.models.weights.weight_schema import decoder_schema

if TYPE_CHECKING:
    from decoding.models.cpu.decoder import CpuDecoder
    from decoding.models.cuda.decoder import CudaDecoder

log = logging.getLogger(__name__)

Places = Sequence[tuple[torch.device, int]]
# The compiled CPU kernels support these; other kinds are computed by plain torch there, slowly, to compare with.
PACKED_KINDS = ("none", "int8")


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

    Raises:
        ModelError: the folder is missing, incomplete, of another format or of another architecture.
    """
    sizes = folder.sizes
    if sizes.vocabulary < vocabulary:
        raise ModelError(f"{folder.path}: the tokenizer has {vocabulary} tokens, the model only {sizes.vocabulary}")
    shape = _shape(sizes, vocabulary, max_len)
    frequencies = inverse_frequencies(folder.config, shape.head_dim)
    tensors = Tensors(folder.path, folder.entries, decoder_schema(sizes), device, dtype)
    if len(places) < 2 and keeps_blocks(folder, engine, device):
        return _from_blocks(tensors, sizes, shape, rotary_table(shape.max_len + 128, frequencies), engine)
    # Layers are rounded one by one, so that only one of them is ever in memory in full.
    is_packed = len(places) < 2 and _packs_itself(engine, device)
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


def keeps_blocks(folder: Described, engine: EngineConfig, device: torch.device) -> bool:
    """Tell whether the kernels multiply with the blocks of a GGUF file as they are."""
    is_ours = folder.config["model_type"] not in FORMS
    return folder.is_file and is_ours and engine.quantize == "none" and _packs_itself(engine, device)


def held_as(folder: Described, engine: EngineConfig, device: torch.device, dtype: torch.dtype) -> str:
    """Return how an engine holds a model's weights, for people: Q4_K_M, bfloat16, int8, Q4_K_M in bfloat16."""
    if keeps_blocks(folder, engine, device):
        return folder.kind
    held = engine.quantize if engine.quantize != "none" else str(dtype).removeprefix("torch.")
    return f"{folder.kind} in {held}" if folder.is_file else held


def _from_blocks(
    tensors: Tensors, sizes: DecoderSizes, shape: Shape, rotary: Tensor, engine: EngineConfig
) -> CpuDecoder:
    from decoding.models.cpu import decoder  # noqa: PLC0415 - as in `_cpu_kernels`
    from decoding.models.cpu.block_packing import can_pack  # noqa: PLC0415

    weights = read_stored(tensors, sizes, shape.vocabulary, rotary, can_pack)
    threads = engine.threads or torch.get_num_threads()
    return decoder.build(shape, weights, threads=threads, quantize=engine.quantize)


def assemble(shape: Shape, weights: Weights, engine: EngineConfig) -> Decoder | CpuDecoder | CudaDecoder:
    """Make the model of these weights in the quickest form for their device; round those that are not rounded yet."""
    if _packs_itself(engine, weights.embedding.device) and (kernels := _cpu_kernels(engine)):
        threads = engine.threads or torch.get_num_threads()
        model: CpuDecoder = kernels.build(shape, weights, threads=threads, quantize=engine.quantize)
        return model
    if engine.quantize != "none":
        weights = quantize_weights(weights, engine.quantize, rounded_product(weights.embedding.device))
    return _unpacked(engine, shape, weights)


def _unpacked(engine: EngineConfig, shape: Shape, weights: Weights) -> Decoder | CudaDecoder:
    """Make a model of recorded passes where the device can, of torch's operations otherwise."""
    return build_recorded(shape, weights, engine.kernels) or Decoder(shape, weights)


def _packs_itself(engine: EngineConfig, device: torch.device) -> bool:
    """Return whether the compiled kernels compute it, which store weights in a form of their own."""
    return device.type == "cpu" and engine.quantize in PACKED_KINDS and _cpu_kernels(engine) is not None


def _cpu_kernels(engine: EngineConfig) -> ModuleType | None:
    """Return the compiled kernels, or None if the settings or the machine are against them."""
    if engine.kernels != "auto":
        return None
    try:
        from decoding.models.cpu import decoder  # noqa: PLC0415 - brings numba, which some machines don't have
    except ImportError as error:
        log.info("no compiled kernels: %s", error)
        return None
    return decoder


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
