"""Decides whether a model can be computed by recorded passes, and with what; imports Triton only where it is used."""

from __future__ import annotations

import logging

import torch

from decoding.models.cuda.decoder import CudaDecoder
from decoding.models.cuda.operations import Operations, TorchOperations
from decoding.models.cuda.recording import Eager, Graphs
from decoding.models.quantize import Multiply, multiply_widened
from decoding.models.torch.decoder import Shape, Weights

log = logging.getLogger(__name__)

REHEARSED = "rehearsed"  # this value of the setting `kernels` computes a GPU's way on any device, by plain torch


def build(shape: Shape, weights: Weights, kernels: str) -> CudaDecoder | None:
    """Make the model, or return None where plain torch is to compute it.

    Args:
        shape: of the model.
        weights: on one device, rounded or not.
        kernels: the engine's setting.
    """
    device = weights.embedding.device
    if kernels == REHEARSED:
        return CudaDecoder(shape, weights, TorchOperations(), Eager())
    if kernels != "auto" or device.type != "cuda" or weights.layers[-1].input_norm.device != device:
        return None
    operations = _triton(shape, weights.embedding.dtype)
    return None if operations is None else CudaDecoder(shape, weights, operations, Graphs())


def rounded_product(device: torch.device) -> Multiply:
    """Return the function that multiplies with rounded weights on this device."""
    if device.type != "cuda":
        return multiply_widened
    try:
        from decoding.models.cuda.quantized_matmul import project  # noqa: PLC0415 - brings Triton
    except ImportError:
        return multiply_widened
    multiply: Multiply = project
    return multiply


def _triton(shape: Shape, dtype: torch.dtype) -> Operations | None:
    try:
        from decoding.models.cuda.triton_operations import TritonOperations  # noqa: PLC0415 - brings Triton
    except ImportError as error:
        log.warning("no kernels for the GPU, which torch alone uses slowly: %s", error)
        return None
    if not TritonOperations.fits(shape):
        log.warning("no kernels for heads of %d and %s", shape.head_dim, dtype)
        return None
    return TritonOperations()
