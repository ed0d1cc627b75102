"""Translates a GGUF file's description of its model into a Hugging Face config.json, and renames its tensors.

The keys of the files: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Numbers are taken over as they are;
the configuration is checked later like any config.json.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from decoding.errors import ModelError
from decoding.models.gguf.blocks import widen
from decoding.models.gguf.reader import Value, one_value
from decoding.models.gguf.settings import Settings
from decoding.models.gguf.split_files import GgufModel
from decoding.models.gguf.tensor_table import StoredTensor
from decoding.models.gguf.tokenizer import TokenType
from decoding.models.gguf.wrapped import FORMS, Form

# In GGUF files, Mistral's models have the architecture of Llama.
ARCHITECTURES: Final = ("llama", "qwen2", "qwen3")
# Architectures that are no language models which complete text, and what they are.
OTHER_KINDS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("clip", "mmproj"), "the part of a model that looks at pictures"),
    **dict.fromkeys(
        ("mllama", "qwen2vl", "qwen25vl", "qwen3vl", "qwen3vlmoe", "cogvlm", "chameleon",
         "deepseek2-ocr", "glmocr", "paddleocr", "hunyuan_vl", "hunyuan-vl"), "a model that looks at pictures",
    ),
    **dict.fromkeys(
        ("bert", "modern-bert", "neo-bert", "eurobert", "nomic-bert", "nomic-bert-moe", "jina-bert-v2", "jina-bert-v3",
         "t5encoder", "gemma-embedding", "llama-embed"), "a model for embeddings",
    ),
    **dict.fromkeys(
        ("flux", "sd1", "sd3", "sdxl", "aura", "lumina2", "hidream", "cosmos", "ltxv", "hyvid", "wan", "qwen_image"),
        "a model that makes pictures",
    ),
    **dict.fromkeys(("dream", "llada", "llada-moe", "rnd1"), "a model that writes all of a text at once"),
    "t5": "a model that translates a text into another",
    "whisper": "a model that listens",
    "wavtokenizer-dec": "a part of a model that speaks",
}  # fmt: skip
TYPES: Final = {"adapter": "an adapter", "mmproj": OTHER_KINDS["clip"], "imatrix": "a table for quantising"}
EMBEDDING: Final = "token_embd.weight"
HEAD: Final = "output.weight"
FACTORS: Final = "rope_freqs.weight"
NAMES: Final[Mapping[str, str]] = {
    EMBEDDING: "model.embed_tokens.weight",
    HEAD: "lm_head.weight",
    "output_norm.weight": "model.norm.weight",
    "output_norm.bias": "model.norm.bias",
}
IN_LAYER: Final[Mapping[str, str]] = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_LAYER: Final = re.compile(r"blk\.(\d{1,4})\.(\w+)\.(weight|bias)")
# Granite and others multiply by these factors, which our own forward pass doesn't support.
MULTIPLIERS: Final = ("attention.scale", "embedding_scale", "residual_scale", "logit_scale")
# Mixtures of types by their number in a file.
MIXTURES: Final[Mapping[int, str]] = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 21: "Q2_K_S", 25: "IQ4_NL",
    30: "IQ4_XS", 32: "BF16",
}  # fmt: skip
# Words of a name that tell a file's format.
FORMATS: Final = re.compile(r"[-_ ]?\b(?:GGUF|AWQ|GPTQ|imatrix)\b", re.IGNORECASE)
# Tokens that end an answer of base models or of chat models, also where a file names only one end token.
ENDS: Final = (
    "<|endoftext|>", "<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "<|EOT|>", "<｜end▁of▁sentence｜>", "</s>",
)  # fmt: skip


def describe_model(model: GgufModel) -> dict[str, Any]:
    """Return the table of a config.json. Raises `ModelError` for another kind of model, or a missing key."""
    file, metadata = model.file, model.metadata
    kind = _kind(metadata, file)
    told = Settings(metadata, kind, file)
    heads = told.needed("attention.head_count")
    width = told.needed("embedding_length")
    head_dim = told.number("attention.key_length") or width // max(heads, 1)
    if told.number("attention.value_length", head_dim) != head_dim:
        raise ModelError(f"{file}: keys and values of different sizes are not computed")
    form = FORMS.get(kind)
    _refuse_other_forms(model, told, form)
    if EMBEDDING not in model.tensors:
        raise ModelError(f"{file} holds no whole model: tensor {EMBEDDING} is missing")
    window = told.number("attention.sliding_window")
    return {
        "model_type": "mistral" if window and kind == "llama" else kind,
        "_name_or_path": " ".join(_names(metadata)),
        "hidden_size": width,
        "intermediate_size": told.needed("feed_forward_length"),
        "num_hidden_layers": told.needed("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": told.number("attention.head_count_kv", heads),
        "head_dim": head_dim,
        "vocab_size": model.tensors[EMBEDDING].num_rows,
        "max_position_embeddings": told.needed("context_length"),
        "rms_norm_eps": told.value("attention.layer_norm_rms_epsilon"),
        "tie_word_embeddings": HEAD not in model.tensors,
        "rope_parameters": _rope(model, told, head_dim),
        "use_sliding_window": bool(window),
        "sliding_window": window or None,
        "eos_token_id": _end_ids(metadata),
        "tabcast": {"weights": _mixture(metadata), "name": _title(metadata)},
        **(form.describe(told, model.tensors) if form else {}),
    }


def named_tensors(model: GgufModel) -> dict[str, StoredTensor]:
    """Return the tensors by their names in a Hugging Face folder; one without a name there keeps its own."""
    named: dict[str, StoredTensor] = {}  # the two naming schemes don't overlap, so no name can occur twice
    form = FORMS.get(str(model.metadata["general.architecture"]))
    in_layer = {**IN_LAYER, **(form.names if form else {})}
    for name, tensor in model.tensors.items():
        if name == FACTORS:
            continue  # the configuration has it
        found = _LAYER.fullmatch(name)
        known = NAMES.get(name)
        if form and form.adds_one_to_norms and name.endswith("norm.weight"):
            tensor = replace(tensor, minus=1)  # noqa: PLW2901 - the same tensor, as a folder would have it
        if found and found[2] in in_layer:
            known = f"model.layers.{int(found[1])}.{in_layer[found[2]]}.{found[3]}"
            if found[2] in ("attn_q", "attn_k"):
                named[known] = _unpaired(model, tensor, found[2])
                continue
        named[known or name] = tensor
    return named


def _unpaired(model: GgufModel, tensor: StoredTensor, part: str) -> StoredTensor:
    """Undo the order of rotary pairs: files of Llama have a pair's two rows side by side, others half a head apart."""
    kind = str(model.metadata["general.architecture"])
    form = FORMS.get(kind)
    if not (form.pairs_rows if form else kind == "llama") or len(tensor.shape) != 2:
        return tensor
    told = Settings(model.metadata, kind, model.file)
    heads = told.needed("attention.head_count")
    heads = heads if part == "attn_q" else told.number("attention.head_count_kv", heads)
    size = tensor.num_rows // heads if heads else 0
    if not size or tensor.num_rows % heads or size % 2:
        raise ModelError(f"{model.file}: {part} has {tensor.num_rows} rows, which are no {heads} heads")
    return replace(tensor, head_size=size)


def _kind(metadata: Mapping[str, Value], file: Path) -> str:
    kind = one_value(metadata, "general.architecture", file)
    if not isinstance(kind, str):
        raise ModelError(f"{file}: general.architecture is missing, so that the architecture is not known")
    other = OTHER_KINDS.get(kind) or TYPES.get(str(metadata.get("general.type")))
    if f"{kind}.vision.block_count" in metadata:
        other = "a model that looks at pictures"
    if other or one_value(metadata, f"{kind}.pooling_type", file):
        what = other or "a model for embeddings"
        raise ModelError(f"{file} holds {what} ({_shown(kind)}) and no language model that completes text")
    if kind not in ARCHITECTURES and kind not in FORMS:
        known = ", ".join((*ARCHITECTURES, *FORMS))
        raise ModelError(
            f"{file}: the architecture {_shown(kind)} is not computed from GGUF files (only {known}); its Hugging Face"
            " folder may be"
        )
    return kind


def _shown(kind: str) -> str:
    """Return an architecture's name, which may be anything, for a sentence."""
    return (kind if kind.isprintable() else repr(kind))[:40]


def _refuse_other_forms(model: GgufModel, told: Settings, form: Form | None) -> None:
    if told.number("expert_count"):
        raise ModelError(f"{model.file}: a mixture of experts is not computed from GGUF files")
    if form:
        if name := next((name for name in model.tensors for part in form.refused if part in name), ""):
            raise ModelError(f"{model.file}: a model with the tensor {name} is not computed from GGUF files")
        return
    for key in MULTIPLIERS:
        if told.value(key) not in (None, 0.0, 1.0):
            raise ModelError(f"{model.file}: a model with {key} is not computed from GGUF files")


def _rope(model: GgufModel, told: Settings, head_dim: int) -> dict[str, Any]:
    theta = told.value("rope.freq_base")
    kind = told.value("rope.scaling.type") or "none"
    factor = told.value("rope.scaling.factor") or told.value("rope.scale_linear")
    if kind == "none" and told.value("rope.scale_linear"):
        kind = "linear"
    rope: dict[str, Any] = {"rope_theta": theta if theta is not None else 10_000.0}
    rope |= {"rope_type": "default"} if kind == "none" else {"rope_type": kind, "factor": factor}
    rotated = told.number("rope.dimension_count", head_dim)
    if rotated != head_dim:
        rope["partial_rotary_factor"] = rotated / head_dim if head_dim else 0
    if (stored := model.tensors.get(FACTORS)) is None:
        return rope
    if stored.shape != (head_dim // 2,) or kind not in ("none", "linear"):
        raise ModelError(f"{model.file}: {FACTORS} doesn't fit heads of {head_dim} numbers")
    factors = np.concatenate(list(widen(stored))).astype(np.float64)
    if kind == "linear" and isinstance(factor, (int, float)):
        factors *= factor
    return rope | {"rope_type": "factors", "factors": factors.tolist()}


def _title(metadata: Mapping[str, Value]) -> str:
    """Return what a file calls its model, put together as llama.cpp names files, else "".

    How the weights were rounded is told by their mixture of types, and stands in some names as well.
    """
    name, base, size, tuned = (_text(metadata, key) for key in ("name", "basename", "size_label", "finetune"))
    if base:
        name = "-".join([base, *(part for part in (size, tuned) if part and part.casefold() not in base.casefold())])
    return FORMATS.sub("", name).strip(" -_")


def _text(metadata: Mapping[str, Value], key: str) -> str:
    value = metadata.get(f"general.{key}")
    return value.strip() if isinstance(value, str) else ""


def _mixture(metadata: Mapping[str, Value]) -> str:
    """Return the usual name of the mixture of types in a file, "" where the file doesn't say."""
    number = metadata.get("general.file_type")
    return MIXTURES.get(number, "") if type(number) is int else ""


def _end_ids(metadata: Mapping[str, Value]) -> list[int]:
    """Return the file's own end tokens, and the control tokens that are known to end a text."""
    told = [metadata.get(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot", "eom")]
    ids = {token_id for token_id in told if type(token_id) is int}
    tokens, types = metadata.get("tokenizer.ggml.tokens"), metadata.get("tokenizer.ggml.token_type")
    if isinstance(tokens, list) and isinstance(types, np.ndarray) and len(types) == len(tokens):
        controls = np.flatnonzero(types == TokenType.CONTROL).tolist()
        ids.update(token_id for token_id in controls if tokens[token_id] in ENDS)
    return sorted(ids)


def _names(metadata: Mapping[str, Value]) -> list[str]:
    """Return the names that may tell the model's family."""
    return [name for key in ("name", "basename") if (name := _text(metadata, key))]
