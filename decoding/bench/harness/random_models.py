"""Makes models of well-known sizes with random weights, to time their steps: the texts that they generate mean nothing.

Sizes are those of the published config.json files; vocabularies are the tokenizers' own, as loading leaves them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from tokenizers.models import BPE
from torch import Tensor
from transformers import Qwen2Config

from decoding.config import EngineConfig
from decoding.models.loading.decoder_loading import assemble
from decoding.models.loading.devices import choose_device
from decoding.models.loading.model_set import ModelSet
from decoding.models.loading.parts import draft_config
from decoding.models.parallel import ParallelModel
from decoding.models.probing.row_invariance import probe
from decoding.models.probing.step_times import measure_draft_times, measure_step_times
from decoding.models.torch.decoder import Layer, Shape, Weights, rotary_table
from decoding.models.torch.rope import inverse_frequencies
from decoding.text.prompt_layout import Layout
from decoding.text.token_healing import TokenIndex

ROPE_THETA = 1_000_000.0
NORM_EPS = 1e-6
WEIGHT_SCALE = 0.02
# chosen: multiplies a draft's logits, so that it is as sure of its tokens as a trained one, and so drafts.
DRAFT_NORM = 1000.0
STEP_WIDTH = 16  # of a parallel draft
PARALLEL_TOKENS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """The sizes of a Qwen2 model; `is_tied` is true if the head is the embedding."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    feed_forward: int
    vocabulary: int = 151_665
    is_tied: bool = False

    @property
    def head_dim(self) -> int:
        """Return the size of one attention head."""
        return self.width // self.heads


# https://huggingface.co/Qwen: Qwen2.5-Coder-0.5B and so on.
SHAPES: Mapping[str, ModelShape] = {
    "qwen2.5-coder-0.5b": ModelShape(layers=24, width=896, heads=14, kv_heads=2, feed_forward=4864, is_tied=True),
    "qwen2.5-coder-1.5b": ModelShape(layers=28, width=1536, heads=12, kv_heads=2, feed_forward=8960, is_tied=True),
    "qwen2.5-coder-7b": ModelShape(layers=28, width=3584, heads=28, kv_heads=4, feed_forward=18_944),
    "qwen2.5-coder-14b": ModelShape(layers=48, width=5120, heads=40, kv_heads=8, feed_forward=13_824),
    "qwen2.5-coder-32b": ModelShape(layers=64, width=5120, heads=40, kv_heads=8, feed_forward=27_648),
    # A tiny shape to try out commands with.
    "tiny": ModelShape(layers=2, width=32, heads=4, kv_heads=2, feed_forward=64, vocabulary=500),
    "smaller": ModelShape(layers=1, width=16, heads=2, kv_heads=1, feed_forward=32, vocabulary=500, is_tied=True),
}


def random_pair(name: str, draft_name: str | None, config: EngineConfig, max_len: int) -> ModelSet:
    """Make a model set like `load_models`'s, of named shapes and with an empty tokenizer. Raises `ConfigError`."""
    device, dtype = choose_device(config)
    if config.threads:
        torch.set_num_threads(config.threads)
    shape = SHAPES[name]
    target = assemble(*build(shape, max_len=max_len, device=device, dtype=dtype), config)
    probe(target)
    draft = parallel = None
    if draft_name is not None:
        built = build(SHAPES[draft_name], max_len=max_len, device=device, dtype=dtype, final_norm=DRAFT_NORM)
        draft = assemble(*built, draft_config(config))
        # One set of weights serves both kinds of draft, since the tokens of neither mean anything.
        vocabulary = draft.shape.vocabulary
        parallel = ParallelModel(
            model=draft, mask_id=vocabulary - 1, num_tokens=PARALLEL_TOKENS, num_real_ids=vocabulary
        )
        draft.capabilities = draft.capabilities.at_width(STEP_WIDTH)
    # Models whose steps take long on this machine are not worth the time to measure them twice.
    is_timed = device.type == "cuda"
    return ModelSet(
        name=f"{name} with random weights",
        target=target,
        tokenizer=Tokenizer(BPE()),
        layout=Layout(template=None, ids={}, stop_ids=frozenset()),
        index=TokenIndex([b""] * shape.vocabulary),
        draft=draft,
        parallel=parallel,
        step_ms=measure_step_times(target) if is_timed else {},
        draft_step_ms=measure_draft_times(draft) if is_timed and draft is not None else {},
    )


def _layer(shape: ModelShape, draw: Callable[..., Tensor], norm: Tensor) -> Layer:
    query_width = shape.heads * shape.head_dim
    qkv_width = query_width + 2 * shape.kv_heads * shape.head_dim
    return Layer(
        input_norm=norm,
        qkv=draw(qkv_width, shape.width),
        qkv_bias=draw(qkv_width),
        query_norm=None,
        key_norm=None,
        out=draw(shape.width, query_width),
        post_norm=norm,
        gate_up=draw(2 * shape.feed_forward, shape.width),
        down=draw(shape.width, shape.feed_forward),
    )


def build(
    shape: ModelShape,
    *,
    max_len: int,
    device: torch.device,
    dtype: torch.dtype,
    final_norm: float = 1.0,
    weight_scale: float = WEIGHT_SCALE,
) -> tuple[Shape, Weights]:
    """Make a model of this shape, for `assemble`. The draws are seeded, so a device always gets equal weights."""
    generator = torch.Generator(device).manual_seed(0)

    def draw(*sizes: int) -> Tensor:
        return torch.empty(sizes, device=device, dtype=dtype).normal_(0, weight_scale, generator=generator)

    ones = torch.ones(shape.width, device=device, dtype=dtype)
    layers = [_layer(shape, draw, ones) for _ in range(shape.layers)]
    embedding = draw(shape.vocabulary, shape.width)
    frequencies = inverse_frequencies({"rope_theta": ROPE_THETA}, shape.head_dim)
    sizes = Shape(
        layers=shape.layers,
        width=shape.width,
        heads=shape.heads,
        kv_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        vocabulary=shape.vocabulary,
        max_len=max_len,
        norm_eps=NORM_EPS,
    )
    weights = Weights(
        embedding=embedding,
        layers=layers,
        norm=final_norm * ones,
        head=embedding if shape.is_tied else draw(shape.vocabulary, shape.width),
        rotary=rotary_table(max_len + 128, frequencies).to(device),
    )
    return sizes, weights


def transformers_config(shape: ModelShape) -> Qwen2Config:
    """Return the architecture as a transformers config, with which it draws weights of its own."""
    return Qwen2Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.feed_forward,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        rms_norm_eps=NORM_EPS,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
        max_position_embeddings=32_768,
        tie_word_embeddings=shape.is_tied,
    )
