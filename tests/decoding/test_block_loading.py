"""A GGUF file on a CPU: its blocks are multiplied with as they are, and what else is in it is widened."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from decoding.config import EngineConfig
from decoding.errors import ModelError
from decoding.models.catalogue import engine_bytes
from decoding.models.cpu.block_repacking import block_types
from decoding.models.cpu.decoder import CpuDecoder
from decoding.models.cpu.quantized_forms import FORMS
from decoding.models.cpu.simd import FLOAT32
from decoding.models.folder.model_folder import ModelFolder
from decoding.models.gguf.tensor_types import TYPES
from decoding.models.language_model import LanguageModel
from decoding.models.loading.memory import block_bytes
from decoding.models.loading.model_set import load_model
from decoding.models.loading.parts import planned_bytes
from decoding.models.loading.weight_forms import keeps_blocks
from decoding.models.weights.stored_blocks import KEPT_TYPES
from tests.gguf_files import Gguf, Stored
from tests.gguf_models import quantised, settings_of, tensors_of
from tests.tiny_models import make_model

CPU = torch.device("cpu")
SIZES = {"hidden_size": 256, "intermediate_size": 512, "head_dim": 64}


@pytest.fixture(scope="module", params=["llama", "qwen2", "qwen3"])
def family(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("wide")
    return {name: make_model(root / name, name, layers=2, **SIZES) for name in ("llama", "qwen2", "qwen3")}


def tamed(tensors: dict[str, Stored], kind: str) -> dict[str, Stored]:
    """Random blocks of weights near zero: their scales have the size of a trained model's."""
    block = next(one for one in TYPES.values() if one.name == kind)
    places = {"Q6_K": [208], "Q4_1": [0], "Q5_1": [0], "Q2_K": [80], "Q3_K": [108]}.get(kind, [0])
    zeros = {"Q4_1": [2], "Q5_1": [2], "Q4_K": [2], "Q5_K": [2], "Q2_K": [82]}.get(kind, [])
    result = {}
    for name, tensor in quantised(tensors, kind).items():
        data = tensor.data
        if len(tensor.dimensions) == 2:
            blocks = np.frombuffer(data, np.uint8).reshape(-1, block.num_bytes).copy()
            for at in (*places, *zeros):
                size = np.float16(0 if at in zeros else 2e-4 if kind.endswith("K") else 4e-3)
                blocks[:, at : at + 2] = np.frombuffer(size.tobytes(), np.uint8)
            data = blocks.tobytes()
        result[name] = Stored(kind=tensor.kind, dimensions=tensor.dimensions, data=data)
    return result


def load(file: Path, dtype: torch.dtype = torch.float32, **settings: object) -> LanguageModel:
    return load_model(ModelFolder.read(file), EngineConfig(**settings), CPU, dtype).model  # type: ignore[arg-type]


def logits(model: LanguageModel) -> torch.Tensor:
    return model.advance(list(range(20, 50)), model.new_cache()).clone().float()


@pytest.mark.parametrize("kind", ["Q4_K", "Q6_K", "Q5_0", "Q8_0", "Q2_K"])
def test_logits_are_near_those_of_the_widened_weights(
    folders: dict[str, Path], family: str, kind: str, tmp_path: Path
) -> None:
    """Rows of eight bits are what they differ by; rows of heads in a wrong order would make all of it different."""
    tensors = tamed(tensors_of(folders[family]), kind)
    file = Gguf(metadata=settings_of(folders[family]), tensors=tensors).write(tmp_path / "x.gguf")
    model, exact = load(file), load(file, kernels="torch")
    assert isinstance(model, CpuDecoder)
    assert bool(model._packed.kinds & set(FORMS)) == (kind in block_types())
    assert model.num_parameters == exact.num_parameters
    expected = logits(exact)
    assert (logits(model) - expected).norm() < 0.15 * expected.norm()


def test_types_are_mixed_as_a_file_has_them(folders: dict[str, Path], family: str, tmp_path: Path) -> None:
    fine, coarse = (tamed(tensors_of(folders[family]), kind) for kind in ("Q6_K", "Q4_K"))
    plain = tensors_of(folders[family])
    tensors = {name: (fine if "attn_v" in name or "ffn_down" in name else coarse)[name] for name in coarse}
    tensors["blk.1.ffn_up.weight"] = plain["blk.1.ffn_up.weight"]  # of float32, beside a gate in blocks
    file = Gguf(metadata=settings_of(folders[family]), tensors=tensors).write(tmp_path / "x.gguf")
    model = load(file)
    assert isinstance(model, CpuDecoder)
    assert len(model._packed.kinds & set(FORMS)) == 2
    assert FLOAT32 in model._packed.kinds
    expected = logits(load(file, kernels="torch"))
    assert (logits(model) - expected).norm() < 0.15 * expected.norm()


def test_damaged_blocks_are_told_with_file_and_tensor(folders: dict[str, Path], tmp_path: Path) -> None:
    tensors = tamed(tensors_of(folders["llama"]), "Q8_0")
    name = "blk.0.ffn_up.weight"
    data = bytearray(tensors[name].data)
    data[-33] = 0x7E
    tensors[name] = Stored(kind=tensors[name].kind, dimensions=tensors[name].dimensions, data=bytes(data))
    file = Gguf(metadata=settings_of(folders["llama"]), tensors=tensors).write(tmp_path / "x.gguf")
    with pytest.raises(ModelError, match=r"x\.gguf: tensor .*up_proj.* not finite"):
        load(file)


def test_memory_is_planned_for_what_is_kept(folders: dict[str, Path], tmp_path: Path) -> None:
    assert block_types() == KEPT_TYPES
    plain = folders["llama"]
    needs = {}
    for kind in ("Q4_K", "Q2_K", "IQ4_NL", "F32"):
        file = Gguf(metadata=settings_of(plain), tensors=quantised(tensors_of(plain), kind)).write(tmp_path / kind)
        folder, config = ModelFolder.read(file), EngineConfig()
        assert keeps_blocks(folder, config, CPU)
        needs[kind] = planned_bytes(folder, config, CPU, torch.bfloat16)
        assert block_bytes(folder, torch.bfloat16) <= 2 * folder.num_parameters
        assert keeps_blocks(folder, EngineConfig(quantize="int8"), CPU)
        assert not keeps_blocks(folder, EngineConfig(kernels="torch"), CPU)
        assert not keeps_blocks(folder, config, torch.device("cuda"))
    whole = planned_bytes(ModelFolder.read(plain), EngineConfig(kernels="torch"), CPU, torch.bfloat16)
    draft = planned_bytes(ModelFolder.read(tmp_path / "F32"), EngineConfig(), CPU, torch.bfloat16, is_draft=True)
    assert needs["F32"] - draft == engine_bytes()
    assert needs["Q4_K"] < needs["IQ4_NL"] < needs["Q2_K"] == needs["F32"]
    assert needs["F32"] == pytest.approx(whole, rel=0.01)
    assert not keeps_blocks(ModelFolder.read(plain), EngineConfig(), CPU)
