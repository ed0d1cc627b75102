"""What all tests share: tiny random models made on the spot, and a runtime directory of their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from decoding import config as engine_config

if TYPE_CHECKING:
    from tests.decoding.hub_stand_in import StandIn

# Set before torch is imported anywhere; the engine does the same for itself.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# Where a test finds what it can't do without.
KEPT = ("TABCAST_EVAL_DIR", "TABCAST_EDITORS_DIR", "TABCAST_REAL_MODELS")
# What a test has for itself: each in a folder of its own.
PRIVATE = {
    "TABCAST_RUNTIME_DIR": "run",
    "TABCAST_CONFIG": "config/config.toml",
    "TABCAST_DATASTORES": "datastores",
    "TABCAST_EXPERIENCE": "experience/experience.json",
    "TABCAST_KEPT_CACHES": "kept/keys-and-values",
    "TABCAST_HABITS": "habits/habits.json",
}
HAS_BUNDLED = (engine_config.BUNDLED / "target" / "config.json").is_file()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults", choices=["short", "full"], help="run the fault campaign of tests/faults")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the fault campaign, and leave it out where it wasn't asked for."""
    campaign = [item for item in items if item.path.parent.name == "faults"]
    for item in campaign:
        item.add_marker(pytest.mark.faults)
    if campaign and config.getoption("--faults") is None:
        items[:] = [item for item in items if item not in campaign]
        config.hook.pytest_deselected(items=campaign)


@pytest.fixture(scope="session", autouse=True)
def private_experience(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Models that are loaded once for all tests keep no times of passes in the user's cache folder either."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TABCAST_EXPERIENCE", str(tmp_path_factory.mktemp("experience") / "experience.json"))
        yield


@pytest.fixture(scope="session")
def private_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yields a new folder's path at each turn.

    `mktemp` looks through all that lies in the folder of the session, which took minutes with six more a test.
    """
    root = tmp_path_factory.mktemp("private")
    return (root / str(number) for number in count())


@pytest.fixture(autouse=True)
def private_runtime(private_folders: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test finds, uses or leaves an engine of the user's, or reads the user's settings."""
    for name in list(os.environ):
        if name.startswith("TABCAST_") and name not in KEPT:
            monkeypatch.delenv(name)
    home = next(private_folders)
    for name, place in PRIVATE.items():
        folder = home / place.partition("/")[0]
        folder.mkdir(parents=True, mode=0o700)
        monkeypatch.setenv(name, str(home / place))
    if hasattr(os, "nice"):  # a command that runs in this process must not slow every later test
        monkeypatch.setattr(os, "nice", lambda _: 0)
    yield
    from tests.engines import stop_all

    stop_all(Path(os.environ["TABCAST_RUNTIME_DIR"]))


class MadeOnDemand(dict[Any, Any]):
    """A table whose entries are made when they are first asked for."""

    def __init__(self, make: Callable[[Any], Any]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, key: object) -> Any:
        self[key] = self._make(key)
        return self[key]


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of tiny random models of each family, all with one tokenizer."""
    from tests.tiny_models import make_model

    root = tmp_path_factory.mktemp("models")
    return MadeOnDemand(lambda family: make_model(root / family, family))


@pytest.fixture(scope="session")
def tiny_model(tiny_models: dict[str, Path]) -> Path:
    """Folder of a tiny random Llama with a tokenizer: what `--model` takes."""
    return tiny_models["llama"]


@pytest.fixture
def real_engine_model(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Makes every engine that this test starts run the tiny model."""
    monkeypatch.setenv("TABCAST_MODEL", str(tiny_model))
    monkeypatch.setenv("TABCAST_DRAFT", "none")
    return tiny_model


@pytest.fixture(scope="session")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny file with the name of the catalogue's first, which can be fetched."""
    from decoding.models.catalogue import CATALOGUE
    from tests.gguf_models import tiny_gguf
    from tests.tiny_models import make_model

    folder = tmp_path_factory.mktemp("served")
    model = make_model(tmp_path_factory.mktemp("model") / "llama", "llama")
    return tiny_gguf(folder / CATALOGUE[0].file, model, general__file_type=15)


@pytest.fixture
def stand_in(gguf: Path) -> Iterator[StandIn]:
    """A hub that has it."""
    from tests.decoding.hub_stand_in import serve

    with serve(gguf.parent) as served:
        yield served
