"""Writes a model folder as a GGUF file, the form that llama.cpp reads.

GGUF knows names, types and shapes of tensors and the tokenizer's table, no code of the model
(https://github.com/ggml-org/ggml/blob/master/docs/gguf.md). It has no word for a tokenizer's split pattern, only names
of patterns that llama.cpp was built with: its own tokens of a text may differ from ours, so compare by token ids.
The `gguf` package is optional (extra `bench`).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from decoding.errors import ModelError
from decoding.installing import how_to_add
from decoding.models.folder.model_config import DecoderSizes
from decoding.models.folder.model_folder import ModelFolder
from decoding.models.torch.rope import DEFAULT_THETA, inverse_frequencies
from decoding.models.weights.tensors import Tensors
from decoding.models.weights.weight_schema import decoder_schema

TYPES = ("bf16", "q8_0", "f32")
ADVICE = f"GGUF files need the `gguf` package: {how_to_add('gguf')}"
# llama.cpp has no architecture of its own for Mistral. Only for Llama does it rotate neighbouring dimensions together.
ARCHITECTURES = {"llama": "LLAMA", "mistral": "LLAMA", "qwen2": "QWEN2", "qwen3": "QWEN3"}
DEFAULT_CONTEXT = 4096  # for models that name no context length
PATTERNS = {"qwen2": "qwen2", "qwen3": "qwen2"}


def export(folder: Path, file: Path, kind: str, *, has_stops: bool = True) -> None:
    """Write `folder` to `file` with its matrices in `kind`; vectors, and rows that q8_0 can't cut, stay wider.

    Args:
        folder: a Hugging Face model folder.
        file: what to write.
        kind: one of `TYPES`.
        has_stops: False hides the special tokens' names, by which llama.cpp finds where to stop and what to bar.

    Raises:
        ModelError: the folder is incomplete or uses what GGUF or llama.cpp can't express.
    """
    try:
        import gguf  # noqa: PLC0415 - optional
    except ImportError:
        raise ModelError(ADVICE) from None
    logging.getLogger("gguf").setLevel(logging.WARNING)
    read = ModelFolder.read(folder)
    if read.is_file:
        raise ModelError(f"{folder} is a GGUF file already")
    config = read.config
    if config["model_type"] not in ARCHITECTURES or config.get("sliding_window"):
        raise ModelError(f"{folder}: {config['model_type']} models, or theirs with a sliding window, can't be written")
    sizes = read.sizes
    tensors = Tensors(folder, read.entries, decoder_schema(sizes), torch.device("cpu"), torch.float32)
    architecture = gguf.MODEL_ARCH[ARCHITECTURES[config["model_type"]]]
    writer = gguf.GGUFWriter(None, gguf.MODEL_ARCH_NAMES[architecture], use_temp_file=True)
    vocabulary = _write_tokenizer(writer, read, has_stops=has_stops)
    _write_sizes(writer, config, sizes, vocabulary)
    names = gguf.get_tensor_name_map(architecture, sizes.layers)
    for name, tensor in _laid_out(tensors, architecture == gguf.MODEL_ARCH.LLAMA, sizes, vocabulary):
        known = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if known is None:
            raise ModelError(f"{folder}: GGUF has no name for the tensor {name}")
        wanted = gguf.GGMLQuantizationType[_type_of(tensor, kind)]
        writer.add_tensor(known, gguf.quantize(tensor.float().numpy(), wanted), raw_dtype=wanted)
    writer.add_file_type(gguf.LlamaFileType[{"f32": "ALL_F32"}.get(kind, f"MOSTLY_{kind.upper()}")])
    writer.write_header_to_file(file)
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _write_sizes(writer: Any, config: Mapping[str, Any], sizes: DecoderSizes, vocabulary: int) -> None:
    heads, head_dim = sizes.heads, sizes.head_dim
    frequencies = inverse_frequencies(config, head_dim)
    theta = float((config.get("rope_parameters") or config).get("rope_theta") or DEFAULT_THETA)
    plain = inverse_frequencies({"rope_theta": theta}, head_dim)
    if not torch.equal(plain, frequencies):
        if ARCHITECTURES[config["model_type"]] != "LLAMA":
            raise ModelError(f"stretched rotary frequencies of {config['model_type']} can't be written to GGUF")
        writer.add_tensor("rope_freqs.weight", (plain / frequencies).float().numpy())
    writer.add_vocab_size(vocabulary)
    writer.add_context_length(sizes.max_positions or DEFAULT_CONTEXT)
    writer.add_embedding_length(sizes.width)
    writer.add_block_count(sizes.layers)
    writer.add_feed_forward_length(sizes.feed_forward)
    writer.add_head_count(heads)
    writer.add_head_count_kv(sizes.kv_heads)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    writer.add_rope_freq_base(theta)
    writer.add_layer_norm_rms_eps(sizes.norm_eps)


def _write_tokenizer(writer: Any, folder: ModelFolder, *, has_stops: bool) -> int:
    """Write the table of a byte-level BPE; return how many tokens it has."""
    import gguf  # noqa: PLC0415 - optional

    tokenizer, config = folder.tokenizer, folder.config
    described = json.loads((folder.path / "tokenizer.json").read_text(encoding="utf-8"))
    model = described["model"]
    if model["type"] != "BPE" or model.get("byte_fallback"):
        raise ModelError(f"{folder.path}: only byte-level BPE tokenizers can be written to GGUF")
    special = {token["id"]: bool(token["special"]) for token in described.get("added_tokens", [])}
    vocabulary = tokenizer.get_vocab_size(with_added_tokens=True)
    tokens, kinds = [], []
    for token_id in range(vocabulary):
        text = tokenizer.id_to_token(token_id)
        if text is None or (special.get(token_id) and not has_stops):
            text = f"<token {token_id}>"
        tokens.append(text)
        if token_id in special:
            kinds.append(gguf.TokenType.CONTROL if special[token_id] else gguf.TokenType.USER_DEFINED)
        else:
            kinds.append(gguf.TokenType.NORMAL)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(PATTERNS.get(config["model_type"], "default"))
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]])
    writer.add_add_bos_token(False)
    # llama.cpp needs an end token in any case. To have none, name one that no model generates.
    ends = config.get("eos_token_id") if has_stops else config.get("pad_token_id")
    if isinstance(end := ends[0] if isinstance(ends, list) and ends else ends, int):
        writer.add_eos_token_id(end)
    return vocabulary


def _laid_out(tensors: Tensors, is_llama: bool, sizes: DecoderSizes, vocabulary: int) -> Iterator[tuple[str, Tensor]]:
    """Yield (name, tensor) of the folder, one in memory at a time, in the layout that llama.cpp expects."""
    for name in tensors.names:
        tensor = tensors.take(name)
        if name in ("model.embed_tokens.weight", "lm_head.weight"):
            tensor = tensor[:vocabulary]
        elif is_llama and (".q_proj." in name or ".k_proj." in name):
            tensor = _neighbours(tensor, sizes.head_dim)
        yield name, tensor


def _neighbours(rows: Tensor, head_dim: int) -> Tensor:
    """Reorder rows: Hugging Face rotates dimension i of a head with i + D/2, llama.cpp's Llama 2i with 2i + 1."""
    heads = rows.unflatten(0, (-1, 2, head_dim // 2))
    ordered: Tensor = heads.transpose(1, 2).reshape(rows.shape)
    return ordered


def _type_of(tensor: Tensor, kind: str) -> str:
    if tensor.ndim == 1:
        return "F32"
    if kind == "q8_0" and tensor.shape[-1] % 32:
        return "BF16"
    return kind.upper()
