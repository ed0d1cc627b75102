"""Rounded weights in a file: made once, made again when it is no longer right, and never needed."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from decoding.cli.inspect_models import doctor, show_model
from decoding.config import EngineConfig
from decoding.errors import ModelError
from decoding.models.cpu.decoder import CpuDecoder
from decoding.models.folder.model_folder import ModelFolder
from decoding.models.loading import decoder_loading, rounded_file, rounding, weight_forms
from decoding.models.loading.model_set import load_model
from decoding.models.loading.parts import planned_bytes
from decoding.models.loading.weight_forms import with_rounding
from decoding.storage import rounded_files
from decoding.storage.discovery.found import Found
from decoding.storage.rounded_files import cache_folder, candidates, files_of, note_use, remove_rounded
from tests.decoding.test_block_models import read
from tests.gguf_files import Gguf
from tests.gguf_models import settings_of, tensors_of
from tests.tiny_models import make_model

CPU = torch.device("cpu")
SIZES = {"hidden_size": 64, "intermediate_size": 256, "head_dim": 32}


@pytest.fixture(autouse=True)
def every_model_is_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sizes from which on models are rounded and files are kept; a cache folder of the test's own."""
    monkeypatch.setattr(rounded_file, "LEAST_KEPT", 0)
    monkeypatch.setattr(weight_forms, "LARGE", 0)
    monkeypatch.setattr(rounded_files.platformdirs, "user_cache_path", lambda _name: tmp_path / "cache")
    monkeypatch.setattr(rounded_files, "found_models", lambda *_: [])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_model(tmp_path / "model", "qwen2", layers=2, **SIZES)


@pytest.fixture
def roundings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The types that matrices were rounded to meanwhile."""
    done: list[str] = []
    true = rounding.round_matrix

    def counting(matrix: torch.Tensor, type_name: str, *rest: object) -> object:
        done.append(type_name)
        return true(matrix, type_name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(rounding, "round_matrix", counting)
    return done


def load(path: Path, tell: Callable[[str], None] = str, **settings: object) -> CpuDecoder:
    config = EngineConfig(**{"threads": 1, "context_tokens": 256} | settings)  # type: ignore[arg-type]
    model = load_model(ModelFolder.read(path), config, CPU, torch.float32, tell=tell).model
    assert isinstance(model, CpuDecoder)
    return model


def logits(model: CpuDecoder) -> torch.Tensor:
    return model.advance(list(range(20, 50)), model.new_cache()).clone()


def in_memory(path: Path, kind: str = "int4") -> torch.Tensor:
    """What a model computes whose weights were never in a file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoder_loading, "is_kept", lambda _folder: False)
        return logits(load(path, quantize=kind))


@pytest.mark.parametrize("kind", ["int4", "int8"])
def test_a_model_is_rounded_once_and_says_where(folder: Path, roundings: list[str], kind: str) -> None:
    told: list[str] = []
    wanted = in_memory(folder, kind)
    roundings.clear()
    first = logits(load(folder, told.append, quantize=kind))
    file = candidates(folder, kind)[0]
    assert [file.parent, files_of(folder)] == [folder, [file]]
    assert roundings
    assert len(told) == 1
    assert str(file) in told[0]
    roundings.clear()
    second = logits(load(folder, told.append, quantize=kind))
    assert (roundings, len(told)) == ([], 1)
    assert torch.equal(first, wanted)
    assert torch.equal(second, wanted)
    assert file.stat().st_mode & 0o777 == (folder / "model.safetensors").stat().st_mode & 0o666
    assert sorted(path.name for path in folder.iterdir() if path.suffix == ".part") == []


@pytest.mark.parametrize(("kind", "most"), [("int4", 0.7), ("int8", 0.1)])
@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_a_rounded_model_is_near_the_whole_one(tmp_path: Path, family: str, kind: str, most: float) -> None:
    """Random weights are sensitive, and rows of heads in a wrong order make all of it different: 1.4 and more."""
    path = make_model(tmp_path / family, family, layers=2, **SIZES)
    whole = logits(load(path, quantize="none"))
    assert 0 < (logits(load(path, quantize=kind)) - whole).norm() < most * whole.norm()


@pytest.mark.parametrize("kind", ["int4", "int8"])
def test_any_cut_of_the_work_gives_the_same_bits(folder: Path, kind: str) -> None:
    one, many = load(folder, quantize=kind), load(folder, quantize=kind, threads=3)
    tokens = list(range(20, 90))
    whole = read(one, tokens, [64])
    wanted = one.step(tokens[:16], whole).clone()
    for model, sizes in ((one, [1]), (many, [7, 64, 2])):
        cache = read(model, tokens, sizes)
        for rows in (1, 2, 5, 8, 9, 16):
            assert torch.equal(model.step(tokens[:rows], cache), wanted[:rows]), (sizes, rows)


@pytest.mark.parametrize("place", ["magic", "checksums", "data", "end", "cut", "empty", "text"])
def test_a_damaged_file_is_made_again(folder: Path, roundings: list[str], place: str) -> None:
    wanted = logits(load(folder))
    file = candidates(folder, "int4")[0]
    whole = file.read_bytes()
    spoilt = bytearray(whole)
    if place == "cut":
        del spoilt[len(spoilt) // 2 :]
    elif place in ("empty", "text"):
        spoilt = bytearray(b"" if place == "empty" else b"some words\n" * 99)
    else:
        at = {"magic": 0, "checksums": whole.index(b"tabcast.checksums") + 40, "data": -5000, "end": -1}[place]
        spoilt[at] ^= 0x10
    file.write_bytes(spoilt)
    roundings.clear()
    assert torch.equal(logits(load(folder)), wanted)
    assert roundings
    assert file.read_bytes() == whole


def test_every_byte_counts(folder: Path) -> None:
    """Any change of a byte gives the same model, or the file is made again."""
    wanted = logits(load(folder))
    file = candidates(folder, "int4")[0]
    whole = file.read_bytes()
    for at in range(0, len(whole), len(whole) // 40):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        assert torch.equal(logits(load(folder)), wanted), at


def test_other_weights_and_other_versions_are_rounded_again(
    folder: Path, roundings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = logits(load(folder))
    weights = load_file(folder / "model.safetensors")
    save_file({name: 0.9 * tensor for name, tensor in weights.items()}, folder / "model.safetensors")
    os.utime(folder / "model.safetensors", (2_000_000_000, 2_000_000_000))
    roundings.clear()
    after = logits(load(folder))
    assert roundings
    assert not torch.equal(before, after)
    assert torch.equal(after, in_memory(folder))
    roundings.clear()
    monkeypatch.setattr(rounded_file, "VERSION", rounded_file.VERSION + 1)
    assert torch.equal(logits(load(folder)), after)
    assert roundings
    assert len(files_of(folder)) == 1


def test_where_the_folder_cant_be_written_the_cache_is(
    folder: Path, roundings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    true = rounded_file.tempfile.mkstemp

    def refused(*, dir: Path, **rest: str) -> object:  # noqa: A002 - the library's name
        if Path(dir) == folder:
            raise PermissionError(13, "Permission denied")
        return true(dir=dir, **rest)

    monkeypatch.setattr(rounded_file.tempfile, "mkstemp", refused)
    wanted = logits(load(folder))
    (file,) = files_of(folder)
    assert file.parent == cache_folder()
    roundings.clear()
    assert torch.equal(logits(load(folder)), wanted)
    assert not roundings


def test_use_is_noted_without_a_change_and_what_is_unused_goes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose time of change moved would look replaced to an engine that is reading it."""
    monkeypatch.setattr(rounded_files, "found_models", lambda *_: [Found(name="hf:a/b", path=folder)])
    load(folder)
    (file,) = files_of(folder)
    changed_ns = file.stat().st_mtime_ns
    os.utime(file, ns=(0, changed_ns))
    recent, unused = cache_folder() / "recent", cache_folder() / "unused"
    for other in (recent, unused):
        other.write_bytes(b"")
    os.utime(unused, (0, 0))
    os.utime(recent, ns=(time.time_ns(), 0))
    note_use(file)
    assert file.stat().st_mtime_ns == changed_ns
    assert file.stat().st_atime_ns > 0
    assert [recent.exists(), unused.exists()] == [True, False]


def test_what_another_program_keeps_is_left_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounded_files, "found_models", lambda *_: [Found(name="hf:a/b", path=folder)])
    names = sorted(path.name for path in folder.iterdir())
    load(folder)
    assert sorted(path.name for path in folder.iterdir()) == names
    assert [file.parent for file in files_of(folder)] == [cache_folder()]


@pytest.mark.parametrize("trouble", ["no place", "full", "breaks off"])
def test_where_nothing_can_be_kept_each_start_rounds(
    folder: Path, roundings: list[str], monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    wanted = in_memory(folder)
    if trouble == "no place":
        monkeypatch.setattr(rounded_files, "cache_folder", lambda: Path("/proc/nowhere"))
        monkeypatch.setattr(rounded_file, "places", lambda *_: ())
    elif trouble == "full":
        monkeypatch.setattr(rounded_file, "MIN_FREE_BYTES", 2**62)
    else:
        monkeypatch.setattr(rounded_file.os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left")))
    for _ in range(2):
        roundings.clear()
        assert torch.equal(logits(load(folder)), wanted)
        assert roundings
    assert not files_of(folder)
    assert not list(folder.glob(".*"))


def test_two_engines_at_once_make_one_file(folder: Path) -> None:
    wanted, found, troubles = in_memory(folder), [], []

    def run() -> None:
        try:
            found.append(logits(load(folder)))
        except BaseException as error:
            troubles.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not troubles
    assert len(found) == 3
    assert all(torch.equal(one, wanted) for one in found)
    assert len(files_of(folder)) == 1
    assert not list(folder.glob("*.part"))


def test_weights_that_change_meanwhile_are_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    true = rounded_file._write

    def changing(*arguments: object) -> None:
        true(*arguments)  # type: ignore[arg-type]
        os.utime(folder / "model.safetensors", (2_000_000_000, 2_000_000_000))

    monkeypatch.setattr(rounded_file, "_write", changing)
    with pytest.raises(ModelError, match="was changed while it was read"):
        load(folder)
    assert not files_of(folder)


def test_damaged_weights_leave_no_file(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][3, 5] = torch.nan
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(ModelError, match=r"up_proj.* not finite"):
        load(folder)
    assert not files_of(folder)
    assert not list(folder.glob(".*"))


def test_removing_a_model_removes_what_was_made_of_it(folder: Path) -> None:
    load(folder, quantize="int4")
    load(folder, quantize="int8")
    assert len(files_of(folder)) == 2
    remove_rounded(folder)
    assert not files_of(folder)
    assert (folder / "model.safetensors").is_file()


def test_a_gguf_file_of_floats_is_rounded_beside_itself(folder: Path, tmp_path: Path, roundings: list[str]) -> None:
    file = Gguf(metadata=settings_of(folder), tensors=tensors_of(folder)).write(tmp_path / "x.gguf")
    assert torch.equal(logits(load(file)), logits(load(folder)))
    assert files_of(file) == [tmp_path / "x.gguf.tabcast-int4"]
    roundings.clear()
    load(file)
    assert not roundings


def test_large_models_are_rounded_by_default_and_nothing_else_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, auto = ModelFolder.read(folder), EngineConfig(context_tokens=256)
    assert with_rounding(auto, read, CPU).quantize == "int4"
    for other in ({"quantize": "none"}, {"quantize": "int8"}):
        assert with_rounding(replace(auto, **other), read, CPU).quantize == other["quantize"]
    for elsewhere in ({"kernels": "torch"}, {"kernels": "rehearsed"}, {"devices": "cpu,cpu"}):
        assert with_rounding(replace(auto, **elsewhere), read, CPU).quantize == "none"
    assert with_rounding(auto, read, torch.device("cuda")).quantize == "none"
    small, large = (planned_bytes(read, replace(auto, quantize=kind), CPU, torch.float32) for kind in ("auto", "none"))
    assert small < large
    monkeypatch.setattr(weight_forms, "LARGE", read.num_parameters)
    assert with_rounding(auto, read, CPU).quantize == "none"


def test_the_whole_weights_are_computed_with_if_the_user_says_so(folder: Path, roundings: list[str]) -> None:
    load(folder, quantize="none")
    assert not roundings
    assert not files_of(folder)


def test_show_says_what_is_rounded_and_where_it_is_kept(folder: Path) -> None:
    config = EngineConfig(context_tokens=256, device="cpu")
    assert show_model(str(folder), config)["rounded"] == "to int4, not done yet"
    load(folder)
    assert str(candidates(folder, "int4")[0]) in show_model(str(folder), config)["rounded"]
    assert show_model(str(folder), replace(config, quantize="none"))["rounded"] == ""


def test_doctor_names_the_file_of_rounded_weights_in_use(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = EngineConfig(model=str(folder), draft="none", context_tokens=256, device="cpu")
    told = {row["name"]: row["detail"] for row in doctor(config)}["rounded weights"]
    assert re.fullmatch(r'int4, because it has \d+ M parameters, kept in (.*) \(.*\); quantize = "none" .*', told)
    assert str(candidates(folder, "int4")[0]) in told
    monkeypatch.setattr(rounded_file, "LEAST_KEPT", 1 << 40)
    assert ", at each start;" in {row["name"]: row["detail"] for row in doctor(config)}["rounded weights"]
