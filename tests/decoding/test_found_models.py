"""Models that other programs keep: made-up stores of Ollama, LM Studio, llama.cpp and Hugging Face in a new home."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from decoding.__main__ import main
from decoding.config import EngineConfig, load
from decoding.errors import ModelError
from decoding.models.loading.model_set import load_models
from decoding.storage import discovery
from decoding.storage.discovery import found
from tests.decoding.other_programs import MEDIA_TYPE, add_to_ollama
from tests.gguf_files import Gguf
from tests.tiny_models import make_model


def listed(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    """What `tabcast models --json` says of found models, by name."""
    assert main(["models", "--json"]) == 0
    return {row["name"]: row for row in json.loads(capsys.readouterr().out) if row["role"] == "found"}


def test_an_ollama_model_is_listed_chosen_and_loaded_where_it_lies(
    home: Path, gguf_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blob = add_to_ollama(home / ".ollama" / "models", "registry.ollama.ai/library/tiny:1b", gguf_file.read_bytes())
    (row,) = listed(capsys).values()
    assert (row["name"], row["path"], row["selected"]) == ("ollama:tiny:1b", str(blob), False)
    assert (row["architecture"], row["kind"], row["fits"]) == ("llama", "Q4_K_M", True)
    assert row["megabytes"] == round(gguf_file.stat().st_size / 1e6, 1)
    assert main(["models", "show", "ollama:tiny:1b"]) == 0
    assert main(["models", "use", "ollama:tiny:1b", "--json"]) == 0
    capsys.readouterr()
    assert load({}).model_path == blob
    assert listed(capsys)["ollama:tiny:1b"]["selected"] is True
    models = load_models(EngineConfig(model=str(blob), device="cpu"))[0]
    before = models.target.advance([3, 1, 4], models.target.new_cache()).clone()
    blob.unlink()  # as 'ollama rm' does: the engine goes on, and the next start says it
    assert models.target.advance([3, 1, 4], models.target.new_cache()).equal(before)
    with pytest.raises(ModelError, match="Ollama no longer has the model"):
        load_models(EngineConfig(model=str(blob), device="cpu"))
    assert main(["models", "use", "ollama:tiny:1b"]) == 5
    assert "its weights are gone" in capsys.readouterr().err


def test_all_of_ollamas_names_and_places_are_known(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], gguf_file: Path
) -> None:
    content = gguf_file.read_bytes()
    named, shared, usual = (tmp_path / name for name in ("named", "shared", "home/.ollama/models"))
    monkeypatch.setenv("OLLAMA_MODELS", str(named))
    monkeypatch.setattr(discovery.ollama, "SHARED", (str(shared),))
    blob = add_to_ollama(named, "registry.ollama.ai/library/twice:latest", content)
    add_to_ollama(usual, "registry.ollama.ai/library/twice:latest", content)
    add_to_ollama(usual, "registry.ollama.ai/somebody/own:7b", content)
    add_to_ollama(shared, "hf.co/owner/model-GGUF:Q4_K_M", content)
    rows = listed(capsys)
    assert set(rows) == {"ollama:twice:latest", "ollama:somebody/own:7b", "ollama:hf.co/owner/model-GGUF:Q4_K_M"}
    assert rows["ollama:twice:latest"]["path"] == str(blob)


def test_what_ollama_has_and_nobody_can_use_gets_one_line(
    home: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    store, host = home / ".ollama" / "models", "registry.ollama.ai/library"
    add_to_ollama(store, f"{host}/gone:1", None)
    add_to_ollama(store, f"{host}/eyes:1", b"pictures", "model", "projector")
    add_to_ollama(store, f"{host}/added:1", b"an adapter", "model", "adapter")
    add_to_ollama(store, f"{host}/cloud:1", b"nothing", "template")
    add_to_ollama(store, f"{host}/rubbish:1", b"no model at all")
    embedding = Gguf(metadata={"general.architecture": "nomic-bert"}).written()
    add_to_ollama(store, f"{host}/vectors:1", embedding)
    add_to_ollama(store, f"{host}/broken:1", b"whole")
    (store / "manifests" / host / "broken" / "1").write_text("{")
    escape = store / "manifests" / host / "escape" / "1"
    escape.parent.mkdir()
    layer = {"mediaType": f"{MEDIA_TYPE}model", "digest": "sha256:../../../secret"}
    escape.write_text(json.dumps({"layers": [layer]}))
    rows = listed(capsys)
    for name, told in {
        "gone": "its weights are gone",
        "eyes": "looks at pictures",
        "added": "is an adapter",
        "cloud": "holds no weights",
        "rubbish": "not a GGUF file",
        "vectors": "a model for embeddings",
        "broken": "'ollama pull broken:1' fetches it again",
        "escape": "holds no weights",
    }.items():
        row = rows[f"ollama:{name}:1"]
        assert row["ok"] is False, name
        assert told in row["error"], name
        assert "\n" not in row["error"]
        assert main(["models", "use", f"ollama:{name}:1"]) == 5
        assert told in capsys.readouterr().err
    assert main(["models", "use", "ollama:never:1"]) == 5
    assert "'tabcast models' lists" in capsys.readouterr().err


def test_a_place_that_this_user_may_not_read_gets_one_line(
    home: Path, gguf_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = home / ".ollama" / "models"
    add_to_ollama(store, "registry.ollama.ai/library/tiny:1b", gguf_file.read_bytes())
    scandir = found.os.scandir

    def refuse(path: Path) -> Any:
        if str(path).startswith(str(store)):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(found.os, "scandir", refuse)
    (row,) = listed(capsys).values()
    assert row["error"] == f"{store} can't be read by this user"


def test_lm_studio_and_llama_cpp_keep_files(
    home: Path, gguf_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LLAMA_CACHE", str(tmp_path / "llama"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "windows"))
    (home / ".lmstudio-home-pointer").write_text(f"{tmp_path / 'moved'}\n")
    expected = {
        ".lmstudio/models/somebody/model-GGUF/model-Q8_0.gguf": "lmstudio:somebody/model-GGUF/model-Q8_0.gguf",
        ".cache/lm-studio/models/old/model/old.gguf": "lmstudio:old/model/old.gguf",
        str(tmp_path / "moved/models/owner/repo/there.gguf"): "lmstudio:owner/repo/there.gguf",
        str(tmp_path / "llama/first.gguf"): "llama.cpp:first.gguf",
        str(tmp_path / "llama/models--owner--new/snapshots/1/new.gguf"): "llama.cpp:owner/new/new.gguf",
        ".cache/llama.cpp/second.gguf": "llama.cpp:second.gguf",
        "Library/Caches/llama.cpp/third.gguf": "llama.cpp:third.gguf",
        str(tmp_path / "windows/llama.cpp/fourth.gguf"): "llama.cpp:fourth.gguf",
    }
    for place in expected:
        path = home / place
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(gguf_file, path)
    beside = home / ".lmstudio/models/somebody/model-GGUF"
    (beside / "mmproj-model-f16.gguf").write_bytes(b"eyes")
    (beside / "\x1b[31mred.gguf").write_bytes(b"a name that paints the terminal")
    (beside / "part-00001-of-00002.gguf").write_bytes(b"the other one is missing")
    rows = listed(capsys)
    part = rows.pop("lmstudio:somebody/model-GGUF/part-00001-of-00002.gguf")
    assert "has not all of its files" in part["error"]
    assert {row["path"]: name for name, row in rows.items()} == {str(home / place): n for place, n in expected.items()}
    assert all(row["kind"] == "Q4_K_M" for row in rows.values())


@pytest.mark.parametrize("variable", ["HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", None])
def test_the_cache_of_hugging_face_has_folders_and_files(
    home: Path,
    gguf_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variable: str | None,
) -> None:
    place = tmp_path / "elsewhere" if variable else home / ".cache" / "huggingface"
    if variable:
        monkeypatch.setenv(variable, str(place))
    below = {"HF_HUB_CACHE": "", "XDG_CACHE_HOME": "huggingface/hub"}.get(variable or "", "hub")
    cache = place / below
    repository = cache / "models--owner--tiny"
    for revision in ("aaa", "bbb"):
        make_model(repository / "snapshots" / revision, "llama")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("aaa")
    blob = cache / "models--owner--files" / "blobs" / "123"
    link = blob.parents[1] / "snapshots" / "ccc" / "model.gguf"
    for folder in (blob.parent, link.parent):
        folder.mkdir(parents=True)
    shutil.copy(gguf_file, blob)
    link.symlink_to(blob)
    (link.parent / "gone.gguf").symlink_to(blob.with_name("gone"))
    encoder = make_model(cache / "models--owner--encoder" / "snapshots" / "ddd", "llama")
    config = json.loads((encoder / "config.json").read_text())
    (encoder / "config.json").write_text(json.dumps({**config, "architectures": ["BertModel"]}))
    rows = listed(capsys)
    assert set(rows) == {"hf:owner/tiny", "hf:owner/files/model.gguf", "hf:owner/files/gone.gguf"}
    assert rows["hf:owner/tiny"]["path"] == str(repository / "snapshots" / "aaa")
    assert "has not all of its files" in rows["hf:owner/files/gone.gguf"]["error"]
    for name, path in (("hf:owner/tiny", repository / "snapshots" / "aaa"), ("hf:owner/files/model.gguf", link)):
        assert main(["models", "use", name]) == 0
        assert load({}).model_path == path
    assert main(["models", "use", "bundled"]) == 0


def test_a_file_or_a_folder_of_the_users_own_is_taken_as_it_lies(
    home: Path, gguf_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(gguf_file.parent)
    assert main(["models", "use", "tiny.gguf", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["model"] == str(gguf_file)
    assert main(["models", "use", "./llama"]) == 0
    assert load({}).model_path == gguf_file.parent / "llama"
    assert main(["models", "use", "bundled"]) == 0


def test_a_tree_without_end_is_read_in_part(home: Path, monkeypatch: pytest.MonkeyPatch, gguf_file: Path) -> None:
    models = home / ".lmstudio" / "models"
    monkeypatch.setattr(found, "MAX_ENTRIES", 20)
    monkeypatch.setattr(discovery, "MAX_FOUND", 30)
    for number in range(50):
        for inner in range(3):
            (models / f"{number}" / "repository").mkdir(parents=True, exist_ok=True)
            (models / f"{number}" / "repository" / f"{inner}.gguf").touch()
    (models / "0" / "round").symlink_to(models, target_is_directory=True)
    assert len(discovery.found_models({}, home)) == 30
    monkeypatch.setattr(discovery, "MAX_FOUND", 1000)
    assert 30 < len(discovery.found_models({}, home)) < 200
