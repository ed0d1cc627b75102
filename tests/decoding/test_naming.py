"""What people are told of the weights in use: a name and a kind, and never the path of a blob."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from decoding.cli import inspect_models
from decoding.config import BUNDLED, EngineConfig
from decoding.models.folder.model_folder import ModelFolder
from decoding.models.folder.summary import ModelSummary
from decoding.models.loading.model_set import load_models
from decoding.service import worker
from decoding.service.jobs import EngineState, Mailbox
from tests.gguf_models import tiny_gguf


@pytest.mark.parametrize(
    ("told", "title"),
    [
        ({"name": "Qwen2.5 Coder 1.5B Instruct GGUF"}, "Qwen2.5 Coder 1.5B Instruct"),
        (
            {"basename": "Qwen2.5-Coder", "size_label": "0.5B", "finetune": "Instruct-AWQ"},
            "Qwen2.5-Coder-0.5B-Instruct",
        ),
        ({"basename": "codellama-7b", "size_label": "7B"}, "codellama-7b"),
        ({"name": "a\x1b[31m\nred"}, "a[31mred"),
        ({"name": "long" * 40}, "long" * 15),
        ({"name": ""}, "tiny-coder"),
        ({"name": 7}, "tiny-coder"),
    ],
)
def test_a_file_says_what_its_model_is_called(
    tiny_model: Path, tmp_path: Path, told: dict[str, object], title: str
) -> None:
    settings = {f"general__{key}": value for key, value in told.items()}
    file = tiny_gguf(tmp_path / "tiny-coder-Q4_K_M.gguf", tiny_model, **settings)
    assert ModelSummary.read(file).title == ModelFolder.read(file).title == title


def test_a_folder_is_called_by_its_own_name(tiny_model: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "models--owner--Tiny-Coder" / "snapshots" / "0a1b2c"
    for path, title in ((tmp_path / "owner" / "Tiny-Coder", "Tiny-Coder"), (snapshot, "Tiny-Coder")):
        path.parent.mkdir(parents=True)
        path.symlink_to(tiny_model)
        assert ModelSummary.read(path).title == title
    assert ModelSummary.read(BUNDLED / "target").title == "the shipped pair"


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"kernels": "auto"}, "Q4_K_M"),
        ({"kernels": "torch", "dtype": "float32"}, "Q4_K_M in float32"),
        ({"quantize": "int8"}, "Q4_K_M in int8"),
    ],
)
def test_a_file_is_named_with_the_kind_in_which_it_is_held(
    tiny_model: Path, tmp_path: Path, settings: dict[str, str], kind: str
) -> None:
    if settings.get("kernels") == "auto":
        pytest.importorskip("numba")
    file = tiny_gguf(tmp_path / "tiny.gguf", tiny_model, general__name="Tiny 1B", general__file_type=15)
    models, _ = load_models(EngineConfig(model=str(file), draft=str(file), device="cpu", **settings))  # type: ignore[arg-type]
    assert models.weights == models.draft_weights == f"Tiny 1B, {kind}"


def test_a_folder_is_named_with_the_dtype_and_the_shipped_pair_as_what_it_is(tiny_model: Path) -> None:
    models, _ = load_models(EngineConfig(model=str(tiny_model), draft="none", device="cpu", dtype="float32"))
    assert (models.weights, models.draft_weights) == (f"{tiny_model.name}, float32", "")
    shipped, _ = load_models(EngineConfig(device="cpu"))
    assert (shipped.weights, shipped.draft_weights) == ("the shipped pair", "")


def test_doctor_names_the_weights_and_not_a_dtype_in_which_nothing_is_held(tiny_model: Path, tmp_path: Path) -> None:
    pytest.importorskip("numba")
    file = tiny_gguf(tmp_path / "sha256-0123", tiny_model, general__name="Tiny 1B", general__file_type=15)
    rows = {row["name"]: row for row in inspect_models.doctor(EngineConfig(model=str(file), device="cpu"))}
    assert rows["device"]["detail"] == "cpu"
    assert rows["models"]["detail"].startswith("Tiny 1B, Q4_K_M: target ")
    shown = inspect_models.show_model(str(file), EngineConfig(device="cpu"))
    assert shown["called"] == "Tiny 1B, Q4_K_M"
    assert "bfloat16" not in json.dumps(shown)


def test_a_model_without_a_middle_is_told(tiny_model: Path) -> None:
    config = EngineConfig(model=str(tiny_model), device="cpu", fim={"order": "none"})
    assert load_models(config)[0].num_code_weights == 0
    rows = {row["name"]: row for row in inspect_models.doctor(config)}
    assert "sees only the text before the cursor" in rows["middle"]["detail"]
    state, mailbox = EngineState(), Mailbox()
    mailbox.put(None)
    worker.run(config, mailbox, state)
    assert state.health.detail.startswith(rows["middle"]["detail"])
