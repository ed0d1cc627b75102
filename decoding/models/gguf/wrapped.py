"""Lists the architectures of GGUF files that transformers computes and our own forward pass doesn't: a table.

Each entry says in what a file differs from one of Llama: names of tensors, and settings of its config.json. Only
architectures stand here whose settings are all in the file, or fixed, so that nothing is guessed. The names are those
of llama.cpp's converter (https://github.com/ggml-org/llama.cpp).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from decoding.models.gguf.settings import Settings

Config = dict[str, Any]
GEMMA_27B_LAYERS: Final = 46  # llama.cpp knows this size of Gemma 2 by its layers: it scales attention otherwise


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What a file of one architecture has otherwise than one of Llama.

    `names`: of tensors in a layer, the file's and Hugging Face's. `describe` makes the settings of config.json, from
    those of the file and the names of its tensors. `adds_one_to_norms`: the file has one more than Hugging Face's
    folders. `refused`: parts of a tensor's name that stand for what is not computed.
    """

    describe: Callable[[Settings, Collection[str]], Config]
    names: Mapping[str, str] = field(default_factory=dict)
    adds_one_to_norms: bool = False
    pairs_rows: bool = False
    refused: tuple[str, ...] = ()


def _starcoder2(told: Settings, _tensors: Collection[str]) -> Config:
    epsilon = told.factor("attention.layer_norm_epsilon", 1e-5)
    return {"norm_epsilon": epsilon, "hidden_act": "gelu_pytorch_tanh", "use_bias": True}


def _stablelm(told: Settings, tensors: Collection[str]) -> Config:
    return {
        "layer_norm_eps": told.factor("attention.layer_norm_epsilon", 1e-5),
        "hidden_act": "silu",
        "use_qkv_bias": any(name.endswith("attn_q.bias") for name in tensors),
        "use_parallel_residual": not any("ffn_norm" in name for name in tensors),
        "qk_layernorm": False,
    }


def _gemma(told: Settings, _tensors: Collection[str]) -> Config:
    return {"hidden_act": "gelu_pytorch_tanh", "attention_bias": False}


def _gemma2(told: Settings, _tensors: Collection[str]) -> Config:
    is_largest = told.number("block_count") == GEMMA_27B_LAYERS
    heads = max(1, told.number("attention.head_count"))
    return {
        "hidden_activation": "gelu_pytorch_tanh",
        "attention_bias": False,
        "attn_logit_softcapping": told.factor("attn_logit_softcapping", 50.0),
        "final_logit_softcapping": told.factor("final_logit_softcapping", 30.0),
        "query_pre_attn_scalar": told.number("embedding_length") // heads
        if is_largest
        else told.number("attention.key_length"),
    }


def _phi3(told: Settings, _tensors: Collection[str]) -> Config:
    return {"hidden_act": "silu", "original_max_position_embeddings": told.needed("context_length")}


def _granite(told: Settings, _tensors: Collection[str]) -> Config:
    head_dim = told.number("attention.key_length") or told.number("embedding_length") // max(
        1, told.number("attention.head_count")
    )
    return {
        "hidden_act": "silu",
        "attention_multiplier": told.factor("attention.scale", 0.0) or 1 / math.sqrt(max(1, head_dim)),
        "embedding_multiplier": told.factor("embedding_scale", 1.0),
        "residual_multiplier": told.factor("residual_scale", 1.0),
        "logits_scaling": told.factor("logit_scale", 1.0),
    }


FORMS: Final[Mapping[str, Form]] = {
    "starcoder2": Form(describe=_starcoder2, names={"ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj"}),
    # Also Stable Code.
    "stablelm": Form(describe=_stablelm, refused=("attn_q_norm", "attn_k_norm")),
    # Also CodeGemma.
    "gemma": Form(describe=_gemma, adds_one_to_norms=True),
    "gemma2": Form(
        describe=_gemma2,
        names={
            "post_attention_norm": "post_attention_layernorm",
            "ffn_norm": "pre_feedforward_layernorm",
            "post_ffw_norm": "post_feedforward_layernorm",
        },
        adds_one_to_norms=True,
    ),
    "phi3": Form(
        describe=_phi3,
        names={"attn_qkv": "self_attn.qkv_proj", "ffn_up": "mlp.gate_up_proj"},
        refused=("rope_factors_long", "rope_factors_short"),
    ),
    "granite": Form(describe=_granite, pairs_rows=True, refused=("rope_factors",)),
}
