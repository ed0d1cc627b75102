"""Checks a model folder's config.json: every number that is used later has its type and its bounds here.

Memory plans and kernels get only sizes that went through this module. The shapes of tensors follow from them
(`weight_schema.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from decoding.errors import ModelError
from decoding.models.folder.json_files import MIB, read_json, shown
from decoding.models.gguf.architecture import describe_model
from decoding.models.gguf.split_files import SUFFIX, GgufModel, is_gguf, read_model
from decoding.models.listed import why_missing
from decoding.storage.pulled import read_record

CONFIG_FILE: Final = "config.json"
ADAPTER_FILE: Final = "adapter_config.json"
MAX_CONFIG_BYTES: Final = 4 * MIB
ROPE_KINDS: Final = ("default", "linear", "llama3", "factors")  # the kinds that `torch/rope.py` computes
ARCHITECTURES: Final = ("llama", "mistral", "qwen2", "qwen3")
MAX_VOCABULARY: Final = 2**22


@dataclass(frozen=True, slots=True)
class Bounds:
    """The allowed kind and range of a number; `least` is itself allowed."""

    kind: type[int] | type[float]
    least: float
    most: float

    def allow(self, value: object) -> bool:
        """Return whether a value is a number of this kind within the bounds; truth values are none."""
        kinds = (int,) if self.kind is int else (int, float)
        is_number = isinstance(value, kinds) and not isinstance(value, bool)
        return is_number and self.least <= value <= self.most  # type: ignore[operator]

    def __str__(self) -> str:
        what = "a whole number" if self.kind is int else "a number"
        return f"{what} from {self.least:,} to {self.most:,}"


_WIDTH: Final = Bounds(int, 1, 2**16)
_INNER_WIDTH: Final = Bounds(int, 1, 2**20)
_COUNT: Final = Bounds(int, 1, 1024)
_POSITIONS: Final = Bounds(int, 128, 2**30)  # no less than the least `context_tokens`
_EPSILON: Final = Bounds(float, 1e-15, 0.1)
_THETA: Final = Bounds(float, 1, 1e15)
# Other families have other names for some sizes.
NUMBERS: Final[Mapping[str, Bounds]] = {
    "hidden_size": _WIDTH,
    "n_embd": _WIDTH,
    "d_model": _WIDTH,
    "intermediate_size": _INNER_WIDTH,
    "n_inner": _INNER_WIDTH,
    "ffn_dim": _INNER_WIDTH,
    "num_hidden_layers": _COUNT,
    "n_layer": _COUNT,
    "num_attention_heads": _COUNT,
    "n_head": _COUNT,
    "num_key_value_heads": _COUNT,
    "head_dim": _COUNT,
    "vocab_size": Bounds(int, 1, MAX_VOCABULARY),
    "max_position_embeddings": _POSITIONS,
    "n_positions": _POSITIONS,
    "sliding_window": Bounds(int, 0, 2**30),
    "rms_norm_eps": _EPSILON,
    "layer_norm_eps": _EPSILON,
    "layer_norm_epsilon": _EPSILON,
    "norm_epsilon": _EPSILON,
    "rope_theta": _THETA,
    "partial_rotary_factor": Bounds(float, 0, 1),
}
ROPE_NUMBERS: Final[Mapping[str, Bounds]] = {
    "rope_theta": _THETA,
    "factor": Bounds(float, 1e-3, 1e6),
    "low_freq_factor": Bounds(float, 1e-3, 1e6),
    "high_freq_factor": Bounds(float, 1e-3, 1e6),
    "original_max_position_embeddings": Bounds(int, 1, 2**30),
    "partial_rotary_factor": Bounds(float, 0, 1),
}
TEXTS: Final = ("hidden_act", "_name_or_path")
FLAGS: Final = ("tie_word_embeddings", "attention_bias", "mlp_bias", "use_sliding_window")
ROPE_TABLES: Final = ("rope_scaling", "rope_parameters")
# By these transformers chooses a kernel; the name of a repository is one whose code it fetches and runs.
KERNELS: Final = ("attn_implementation", "_attn_implementation", "experts_implementation", "_experts_implementation")
TABLES: Final = (*ROPE_TABLES, "text_config", "tabcast", "quantization_config")


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderSizes:
    """The sizes of a model for our own forward pass; all are checked, also against one another."""

    layers: int
    width: int
    feed_forward: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    max_positions: int | None
    norm_eps: float
    is_tied: bool
    has_biases: bool  # of queries, keys and values
    has_head_norms: bool  # of queries and keys


def read_file(file: Path) -> GgufModel:
    """Read the headers of a GGUF model. Raises `ModelError`, with the nearest names if there is no such file."""
    if not file.exists():
        raise ModelError(why_missing(file))
    return read_model(file)


def read_config(folder: Path) -> dict[str, Any]:
    """Read the folder's config.json. Raises `ModelError` if folder or file is missing, or a value can't be right."""
    if is_gguf(folder):
        return config_of(read_file(folder))
    if not folder.is_dir():
        raise ModelError(why_missing(folder))
    if (pulled := read_record(folder)) is not None and not pulled.is_complete:
        raise ModelError(f"the pull of {pulled.name} was cut off: 'tabcast models pull {pulled.name}' goes on with it")
    if (folder / ADAPTER_FILE).exists():
        raise ModelError(
            f"{folder} holds an adapter ({ADAPTER_FILE}) and no whole model: merge it into the model it was made for"
        )
    path = folder / CONFIG_FILE
    if not path.is_file():
        files = sorted(file.name for file in folder.glob(f"*{SUFFIX}"))
        hint = f"; {files[0]} in it is a model of its own, so name that file" if files else ""
        raise ModelError(f"{folder} is not a complete model folder: config.json is missing{hint}")
    config = read_json(path, most_bytes=MAX_CONFIG_BYTES)
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise ModelError(f"{path}: model_type is missing, so that the architecture is not known")
    check_config(config, path)
    return config


def config_of(model: GgufModel) -> dict[str, Any]:
    """Return a GGUF file's counterpart of a config.json, checked like one. Raises `ModelError`."""
    config = describe_model(model)
    check_config(config, model.file)
    return config


def check_config(config: Mapping[str, Any], path: Path) -> None:
    """Raise `ModelError` for the first value that is of another kind or out of bounds; null stands for a default."""
    for key in TABLES:
        _demand(isinstance(config.get(key), (dict, type(None))), path, key, config.get(key), "a table")
    for key in TEXTS:
        _demand(isinstance(config.get(key), (str, type(None))), path, key, config.get(key), "a text")
    for key in FLAGS:
        _demand(isinstance(config.get(key), (bool, type(None))), path, key, config.get(key), "true or false")
    for key in KERNELS:
        _demand("/" not in str(config.get(key)), path, key, config.get(key), "a kernel that is no repository")
    is_ours = config.get("model_type") in ARCHITECTURES
    _check_numbers(config, NUMBERS, path, "", may_be_lists=not is_ours)
    for key in ROPE_TABLES:
        _check_rope(config.get(key) or {}, path, key)
    languages = (config.get("tabcast") or {}).get("languages") or []
    _demand(_are_texts(languages), path, "tabcast.languages", languages, "a list of texts")
    kinds = config.get("layer_types") or []
    _demand(_are_texts(kinds), path, "layer_types", kinds, "a list of texts")
    ends = config.get("eos_token_id")
    are_ids = all(isinstance(end, int) for end in (ends if isinstance(ends, list) else [ends]) if end is not None)
    _demand(are_ids, path, "eos_token_id", ends, "a token id, a list of them or null")
    if (inner := config.get("text_config")) is not None:
        check_config(inner, path)


def decoder_sizes(config: Mapping[str, Any], path: Path) -> DecoderSizes:
    """Return the sizes of a model for our own forward pass.

    Args:
        config: what `read_config` returned.
        path: the config.json, for messages.

    Raises:
        ModelError: a size is missing, or two contradict each other.
    """
    heads, width = _needed(config, path, "num_attention_heads"), _needed(config, path, "hidden_size")
    kv_heads = config.get("num_key_value_heads") or heads
    if heads % kv_heads:
        raise ModelError(
            f"{path}: num_attention_heads must be a multiple of num_key_value_heads, not {heads} and {kv_heads}"
        )
    head_dim = config.get("head_dim")
    if head_dim is None and width % heads:
        raise ModelError(f"{path}: hidden_size must be a multiple of num_attention_heads, not {width} and {heads}")
    head_dim = head_dim or width // heads
    if head_dim % 2:
        raise ModelError(f"{path}: head_dim must be an even number, because positions turn pairs, not {head_dim}")
    kind = config["model_type"]
    epsilon = config.get("rms_norm_eps")
    return DecoderSizes(
        layers=_needed(config, path, "num_hidden_layers"),
        width=width,
        feed_forward=_needed(config, path, "intermediate_size"),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocabulary=_needed(config, path, "vocab_size"),
        max_positions=config.get("max_position_embeddings"),
        norm_eps=1e-6 if epsilon is None else float(epsilon),
        is_tied=bool(config.get("tie_word_embeddings")),
        has_biases=kind == "qwen2",
        has_head_norms=kind == "qwen3",
    )


def why_not_ours(config: Mapping[str, Any], max_len: int) -> str:
    """Return why our own forward pass can't compute this model, or ""."""
    kind = config["model_type"]
    is_windowed = config.get("use_sliding_window")
    window = config.get("sliding_window") if (kind == "mistral" if is_windowed is None else is_windowed) else None
    rope = rope_settings(config)
    reasons = {
        f"model_type {kind}": kind not in ARCHITECTURES,
        f"hidden_act {config.get('hidden_act')}": (config.get("hidden_act") or "silu") != "silu",
        f"a sliding window of {window} tokens": isinstance(window, int) and window < max_len,
        f"rotary scaling {rope_kind(rope)}": rope_kind(rope) not in ROPE_KINDS,
        "a partial rotation": (rope.get("partial_rotary_factor") or config.get("partial_rotary_factor") or 1) != 1,
        "biases": bool(config.get("mlp_bias")) or (kind != "qwen2" and bool(config.get("attention_bias"))),
        "quantised weights": config.get("quantization_config") is not None,
    }
    return ", ".join(reason for reason, holds in reasons.items() if holds)


def rope_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rotary settings in either form of transformers: `rope_scaling`, and `rope_parameters`."""
    return {**(config.get("rope_scaling") or {}), **(config.get("rope_parameters") or {})}


def rope_kind(rope: Mapping[str, Any]) -> str:
    """Return how a model's frequencies are stretched: one of `ROPE_KINDS` or another."""
    return str(rope.get("rope_type") or rope.get("type") or "default")


def size_of(config: Mapping[str, Any], *names: str) -> int:
    """Return a size by the first name that exists, the largest where layers differ; 0 where none exists."""
    table = config.get("text_config") or config
    value = next((table[name] for name in names if table.get(name) is not None), 0)
    several = value if isinstance(value, list) else [value]
    return int(max((item for item in several if item is not None), default=0))


def _needed(config: Mapping[str, Any], path: Path, key: str) -> int:
    value = config.get(key)
    if value is None:
        raise ModelError(f"{path}: {key} is missing; it must be {NUMBERS[key]}")
    return int(value)


def _check_numbers(
    table: Mapping[str, Any], bounds: Mapping[str, Bounds], path: Path, prefix: str, *, may_be_lists: bool
) -> None:
    """Check what a table holds of these numbers; other architectures may have a list, with a number for each layer."""
    for key, allowed in bounds.items():
        value = table.get(key)
        several = value if isinstance(value, list) and may_be_lists else [value]
        are_right = all(item is None or allowed.allow(item) for item in several)
        _demand(are_right, path, prefix + key, value, str(allowed))


def _check_rope(table: Mapping[str, Any], path: Path, name: str) -> None:
    """Check the settings of a rotation; some architectures have a table for each kind of layer."""
    _check_numbers(table, ROPE_NUMBERS, path, f"{name}.", may_be_lists=False)
    for key, value in table.items():
        if key in ("rope_type", "type"):
            _demand(isinstance(value, (str, type(None))), path, f"{name}.{key}", value, "a text")
        if isinstance(value, dict):
            _check_rope(value, path, f"{name}.{key}")
    factors = table.get("factors")
    are_numbers = isinstance(factors, list) and all(ROPE_NUMBERS["factor"].allow(item) for item in factors)
    _demand(factors is None or are_numbers, path, f"{name}.factors", factors, f"a list with {ROPE_NUMBERS['factor']}")
    low, high = table.get("low_freq_factor"), table.get("high_freq_factor")
    if low is not None and high is not None and low >= high:
        raise ModelError(f"{path}: {name}.high_freq_factor must be more than low_freq_factor, not {high} and {low}")


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _demand(is_right: bool, path: Path, key: str, value: object, allowed: str) -> None:
    if not is_right:
        raise ModelError(f"{path}: {key} must be {allowed}, not {shown(value)}")
