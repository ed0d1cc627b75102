"""The files for serving a team: they can be read, and name commands, options and figures that exist."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
DEPLOY = REPOSITORY / "packaging" / "deploy"


def text_of(name: str) -> str:
    return (DEPLOY / name).read_text(encoding="utf-8")


def compose() -> Any:
    return yaml.safe_load(text_of("compose.yaml"))


def container_command() -> list[str]:
    """What the container runs, with what compose puts behind it."""
    entry = re.search(r"^ENTRYPOINT (\[.*\])$", text_of("Containerfile"), re.MULTILINE)
    assert entry is not None
    command: list[str] = json.loads(entry[1]) + compose()["services"]["engine"]["command"]
    return command


def service_command() -> list[str]:
    start = re.search(r"^ExecStart=/usr/bin/env (.*)$", text_of("tabcast.service"), re.MULTILINE)
    assert start is not None
    return shlex.split(start[1])


@pytest.fixture(scope="module")
def options() -> set[str]:
    """The options of `tabcast engine serve`."""
    command = [sys.executable, "-P", "-m", "lsp_server", "engine", "serve", "--help"]
    told = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"--[a-z-]+", told))


@pytest.mark.parametrize("command", [container_command(), service_command()], ids=["container", "service"])
def test_the_command_that_is_run_exists(command: list[str], options: set[str]) -> None:
    assert command[:3] == ["tabcast", "engine", "serve"]
    assert {part for part in command if part.startswith("--")} <= options


def test_compose_names_what_it_defines() -> None:
    read = compose()
    for name, service in read["services"].items():
        mounts = [volume.partition(":")[0] for volume in service.get("volumes", [])]
        assert {mount for mount in mounts if not mount.startswith(".")} <= set(read["volumes"]), name
        assert all((DEPLOY / mount).exists() for mount in mounts if mount.startswith("."))
    build = read["services"]["engine"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).resolve() == DEPLOY / "Containerfile"


def test_the_manifests_belong_together() -> None:
    manifests = {entry["kind"]: entry for entry in yaml.safe_load_all(text_of("vllm.yaml"))}
    template = manifests["Deployment"]["spec"]["template"]
    labels = template["metadata"]["labels"]
    assert manifests["Deployment"]["spec"]["replicas"] > 1
    assert manifests["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert manifests["Service"]["spec"]["selector"] == labels
    assert manifests["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    claims = [volume["persistentVolumeClaim"]["claimName"] for volume in template["spec"]["volumes"] if
              "persistentVolumeClaim" in volume]  # fmt: skip
    assert claims == [manifests["PersistentVolumeClaim"]["metadata"]["name"]]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_understands_the_service() -> None:
    command = ["systemd-analyze", "verify", "--man=no", str(DEPLOY / "tabcast.service")]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if "tabcast.service" not in found.stderr and found.returncode:
        pytest.skip("systemd-analyze can't work here")
    assert "tabcast.service" not in found.stderr


def test_the_board_shows_figures_that_the_engine_has() -> None:
    board = json.loads(text_of("grafana.json"))
    shown = {
        name
        for panel in board["panels"]
        for target in panel["targets"]
        for name in re.findall(r"tabcast_([a-z_]+)", target["expr"])
    }
    sources = [path.read_text(encoding="utf-8") for path in (REPOSITORY / "decoding" / "service").glob("*.py")]
    written = "\n".join(sources)
    for name in shown:
        known = name.removesuffix("_bucket")
        assert known in written or re.sub("^(prefill|decode)_", "{phase}_", known) in written, name
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
