"""Reads a model folder (config.json, safetensors, tokenizer.json) into a model, or says what is wrong with it.

Weights are safetensors only: other formats can run code when they are read. The whole folder is read from disk;
nothing is ever fetched here.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from decoding.config import EngineConfig, models_directory
from decoding.errors import ModelError
from decoding.models.cuda.factory import build as build_recorded
from decoding.models.quantize import quantize_layer, quantize_weights
from decoding.models.sharding.pipeline import Pipeline, split
from decoding.models.torch.decoder import Decoder, Layer, Shape, Weights, rotary_table
from decoding.models.torch.rope import KINDS as ROPE_KINDS
from decoding.models.torch.rope import inverse_frequencies, rope_kind
from decoding.models.weights.tensors import Tensors
from decoding.storage.hub import read_record

if TYPE_CHECKING:
    from decoding.models.cpu.decoder import CpuDecoder
    from decoding.models.cuda.decoder import CudaDecoder

log = logging.getLogger(__name__)

Places = Sequence[tuple[torch.device, int]]
ARCHITECTURES = ("llama", "mistral", "qwen2", "qwen3")
# What the compiled kernels for CPUs round to; the rest is plain torch there, slow and to compare with.
PACKED_KINDS = ("none", "int8")
# Where a tokenizer's description holds parts that hold parts.
NESTED = ("normalizer", "pre_tokenizer", "decoder", "normalizers", "pretokenizers")


def read_config(folder: Path) -> dict[str, Any]:
    """The folder's config.json. Raises `ModelError` if folder or file is missing or of another form."""
    if not folder.is_dir():
        if models_directory() in folder.parents:
            name = folder.relative_to(models_directory())
            advice = f"'tabcast models pull {name}' fetches it, and ./{name} would name a folder"
            raise ModelError(f"the model {name} was not pulled: {advice}")
        raise ModelError(f"no model folder at {folder}")
    if (pulled := read_record(folder)) is not None and not pulled.is_complete:
        raise ModelError(f"the pull of {pulled.name} was cut off: 'tabcast models pull {pulled.name}' goes on with it")
    path = folder / "config.json"
    if not path.is_file():
        raise ModelError(f"{folder} is not a complete model folder: config.json is missing")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path}: not JSON ({error})") from None
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise ModelError(f"{path}: model_type is missing, so that the architecture is not known")
    return config


def why_not_ours(config: Mapping[str, Any], max_len: int) -> str:
    """What keeps our own forward pass from computing this model, "" if nothing does."""
    kind = config["model_type"]
    window = config.get("sliding_window") if config.get("use_sliding_window", kind == "mistral") else None
    rope = {**(config.get("rope_scaling") or {}), **(config.get("rope_parameters") or {})}
    reasons = {
        f"model_type {kind}": kind not in ARCHITECTURES,
        f"hidden_act {config.get('hidden_act')}": config.get("hidden_act", "silu") != "silu",
        f"a sliding window of {window} tokens": window is not None and int(window) < max_len,
        f"rotary scaling {rope_kind(rope)}": rope_kind(rope) not in ROPE_KINDS,
        "a partial rotation": rope.get("partial_rotary_factor", config.get("partial_rotary_factor", 1)) != 1,
        "biases": bool(config.get("mlp_bias")) or (kind == "llama" and bool(config.get("attention_bias"))),
        "quantised weights": "quantization_config" in config,
    }
    return ", ".join(reason for reason, holds in reasons.items() if holds)


def load_tokenizer(folder: Path) -> Tokenizer:
    """The folder's tokenizer.json; it puts no space of its own before a text, because a prompt is made of several.

    Raises `ModelError`.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ModelError(f"{folder} is not a complete model folder: tokenizer.json is missing")
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
        tokenizer = Tokenizer.from_str(json.dumps(_without_leading_space(described), ensure_ascii=False))
    except Exception as error:  # the library raises bare Exception
        raise ModelError(f"{path}: {error}") from None
    # A file may hold the name of a special token; there it is text like any other.
    tokenizer.encode_special_tokens = True
    return tokenizer


def begin_token_ids(folder: Path, tokenizer: Tokenizer) -> list[int]:
    """What opens every text of a model: as its tokenizer_config.json says, else as its tokenizer does by itself."""
    try:
        settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        settings = {}
    if isinstance(adds := settings.get("add_bos_token"), bool):
        name = settings.get("bos_token")
        token_id = tokenizer.token_to_id(str(name.get("content") if isinstance(name, dict) else name))
        return [token_id] if adds and token_id is not None else []
    plain, opened = (tokenizer.encode("a", add_special_tokens=adds).ids for adds in (False, True))
    return opened[: opened.index(plain[0])] if plain and plain[0] in opened else []


def _without_leading_space(part: Any) -> Any:
    """A tokenizer's description less what SentencePiece puts before every text (`▁`) and byte-level ones may."""
    if isinstance(part, list):
        return [_without_leading_space(item) for item in part if not _is_prepender(item)]
    if not isinstance(part, dict):
        return part
    kept = {
        key: None if _is_prepender(value) else _without_leading_space(value) if key in NESTED else value
        for key, value in part.items()
    }
    if part.get("type") == "Metaspace":
        return {key: value for key, value in kept.items() if key != "add_prefix_space"} | {"prepend_scheme": "never"}
    return kept | {"add_prefix_space": False} if part.get("type") == "ByteLevel" else kept


def _is_prepender(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "Prepend"


def num_token_ids(tokenizer: Tokenizer) -> int:
    """One more than the largest id: a table of tokens may have holes, and logits behind its end are padding."""
    return max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1


def why_not_alike(target: Tokenizer, draft: Tokenizer) -> str:
    """What makes a draft's token ids mean something else than the target's, "" if nothing does."""
    ours, theirs = (tokenizer.get_vocab(with_added_tokens=True) for tokenizer in (target, draft))
    if ours == theirs:
        return ""
    others = {token_id: token for token, token_id in theirs.items()}
    differing = sorted(token_id for token, token_id in ours.items() if others.get(token_id) != token)
    if not differing:
        return f"it has {len(theirs)} tokens and the target {len(ours)}"
    token_id = differing[0]
    return f"{len(differing)} ids differ: {token_id} is {target.id_to_token(token_id)!r} and {others.get(token_id)!r}"


def load_decoder(
    folder: Path,
    engine: EngineConfig,
    *,
    vocabulary: int,
    max_len: int,
    device: torch.device,
    dtype: torch.dtype,
    places: Places = (),
) -> Pipeline | Decoder | CpuDecoder | CudaDecoder:
    """Read the weights.

    Args:
        folder: a Hugging Face model folder.
        engine: whose settings of kernels, threads and quantization count.
        vocabulary: number of real token ids; padding rows of the head behind them are cut off.
        max_len: wanted length of prompt and answer together, bounded by the model's own.
        device: where the weights go.
        dtype: what they are stored in.
        places: of several devices, each with its number of layers; the first is `device`.

    Raises:
        ModelError: the folder is missing, incomplete, not safetensors or of another architecture.
    """
    config = read_config(folder)
    shape = _shape(config, vocabulary, max_len)
    tensors = Tensors(folder, device, dtype)
    embedding = tensors.take("model.embed_tokens.weight")
    if len(embedding) < vocabulary:
        raise ModelError(f"{folder}: the tokenizer has {vocabulary} tokens, the model only {len(embedding)}")
    last = tensors.on(places[-1][0] if places else device)
    is_tied = bool(config.get("tie_word_embeddings"))
    head = last.to_device(embedding) if is_tied else last.take("lm_head.weight")
    frequencies = inverse_frequencies(config, shape.head_dim)
    # Rounded one by one, so that no more than one layer is ever there in full.
    is_packed = len(places) < 2 and _packs_itself(engine, device)
    rounding = "" if is_packed or engine.quantize == "none" else engine.quantize
    layers = []
    for i, place in enumerate(place for place, count in places or [(device, shape.layers)] for _ in range(count)):
        layer = _layer(tensors.on(place), f"model.layers.{i}", shape)
        layers.append(quantize_layer(layer, rounding) if rounding else layer)
    norm = last.take("model.norm.weight")
    if left := tensors.untaken():
        raise ModelError(f"{folder}: tensor {left[0]} (and {len(left) - 1} more) has no place in this architecture")
    weights = Weights(
        embedding=embedding,
        layers=layers,
        norm=norm,
        head=head[:vocabulary],
        rotary=rotary_table(shape.max_len + 128, frequencies).to(device),
    )
    if len(places) > 1:
        weights = quantize_weights(weights, rounding) if rounding else weights
        return split(shape, weights, [count for _, count in places], partial(_unpacked, engine))
    return assemble(shape, weights, engine)


def assemble(shape: Shape, weights: Weights, engine: EngineConfig) -> Decoder | CpuDecoder | CudaDecoder:
    """The model of these weights in the quickest form for where they lie; those that are not rounded yet are."""
    if _packs_itself(engine, weights.embedding.device) and (kernels := _cpu_kernels(engine)):
        threads = engine.threads or torch.get_num_threads()
        model: CpuDecoder = kernels.build(shape, weights, threads=threads, quantize=engine.quantize)
        return model
    weights = quantize_weights(weights, engine.quantize) if engine.quantize != "none" else weights
    return _unpacked(engine, shape, weights)


def _unpacked(engine: EngineConfig, shape: Shape, weights: Weights) -> Decoder | CudaDecoder:
    """By recorded passes where the device can, by torch otherwise."""
    return build_recorded(shape, weights, engine.kernels) or Decoder(shape, weights)


def _packs_itself(engine: EngineConfig, device: torch.device) -> bool:
    """Whether the compiled kernels compute it, which store weights in a form of their own."""
    return device.type == "cpu" and engine.quantize in PACKED_KINDS and _cpu_kernels(engine) is not None


def _cpu_kernels(engine: EngineConfig) -> ModuleType | None:
    """The compiled kernels, unless the settings or the machine are against them."""
    if engine.kernels != "auto":
        return None
    try:
        from decoding.models.cpu import decoder  # noqa: PLC0415 - brings numba, which some machines don't have
    except ImportError as error:
        log.info("no compiled kernels: %s", error)
        return None
    return decoder


def _shape(config: Mapping[str, Any], vocabulary: int, max_len: int) -> Shape:
    try:
        heads, width = int(config["num_attention_heads"]), int(config["hidden_size"])
        return Shape(
            layers=int(config["num_hidden_layers"]),
            width=width,
            heads=heads,
            kv_heads=int(config.get("num_key_value_heads") or heads),
            head_dim=int(config.get("head_dim") or width // heads),
            vocabulary=vocabulary,
            max_len=min(max_len, int(config.get("max_position_embeddings") or max_len)),
            norm_eps=float(config.get("rms_norm_eps", 1e-6)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"config.json: {error!r} is missing or not a number") from None


def _layer(tensors: Tensors, name: str, shape: Shape) -> Layer:
    attention = f"{name}.self_attn"
    kinds = ("q_proj", "k_proj", "v_proj")
    order = _pair_order(shape.head_dim)
    weights = [tensors.take(f"{attention}.{kind}.weight") for kind in kinds]
    biases = [tensors.find(f"{attention}.{kind}.bias") for kind in kinds]
    norms = [tensors.find(f"{attention}.{kind}.weight") for kind in ("q_norm", "k_norm")]
    present = [bias for bias in biases if bias is not None]
    return Layer(
        input_norm=tensors.take(f"{name}.input_layernorm.weight"),
        qkv=torch.cat([_pair_up(weights[0], order), _pair_up(weights[1], order), weights[2]]),
        qkv_bias=torch.cat([_pair_up(present[0], order), _pair_up(present[1], order), present[2]]) if present else None,
        query_norm=None if norms[0] is None else _pair_up(norms[0], order),
        key_norm=None if norms[1] is None else _pair_up(norms[1], order),
        out=tensors.take(f"{attention}.o_proj.weight"),
        post_norm=tensors.take(f"{name}.post_attention_layernorm.weight"),
        gate_up=torch.cat([tensors.take(f"{name}.mlp.{kind}.weight") for kind in ("gate_proj", "up_proj")]),
        down=tensors.take(f"{name}.mlp.down_proj.weight"),
    )


def _pair_order(head_dim: int) -> Tensor:
    """Hugging Face turns dimension i with i + D/2; side by side they are one complex number."""
    return torch.arange(head_dim).view(2, -1).T.flatten()


def _pair_up(rows: Tensor, order: Tensor) -> Tensor:
    paired: Tensor = rows.unflatten(0, (-1, len(order)))[:, order.to(rows.device)]
    return paired.flatten(0, 1).contiguous()
