"""What the editors' own files must agree on with the rest of the project; needs no editor."""

import json
import re
from typing import Any

from decoding.models.folder.naming import SHIPPED_PAIR
from decoding.protocol import VERSION
from lsp_server.cli.parser import build_parser, engine_arguments
from lsp_server.server import COMMANDS
from lsp_server.settings import schema
from tests.editors.conftest import EXTENSION, ROOT

MANIFEST: dict[str, Any] = json.loads((EXTENSION / "package.json").read_text())
LOCK: dict[str, Any] = json.loads((EXTENSION / "package-lock.json").read_text())


def test_the_extension_has_the_version_and_the_licence_of_the_project() -> None:
    assert MANIFEST["version"] == LOCK["version"] == LOCK["packages"][""]["version"] == VERSION
    assert (EXTENSION / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


def test_the_plugin_knows_its_version() -> None:
    notice = (ROOT / "editors" / "neovim" / "lua" / "tabcast" / "notice.lua").read_text()
    assert f'M.VERSION = "{VERSION}"' in notice


def test_the_editors_know_the_name_of_the_shipped_pair() -> None:
    plugin = (ROOT / "editors" / "neovim" / "lua" / "tabcast" / "setup.lua").read_text()
    assert f'M.SHIPPED_PAIR = "{SHIPPED_PAIR}"' in plugin
    assert f'SHIPPED_PAIR = "{SHIPPED_PAIR}"' in (EXTENSION / "src" / "setup.ts").read_text()


def test_every_bundled_package_comes_from_the_npm_registry_and_is_pinned_by_its_hash() -> None:
    for name, package in LOCK["packages"].items():
        if name:
            assert package["integrity"].startswith("sha512-"), name
            assert package.get("resolved", "https://registry.npmjs.org/").startswith("https://registry.npmjs.org/"), (
                name
            )


def test_no_command_is_both_the_extensions_and_the_servers() -> None:
    # The language client registers the server's commands itself, and a second registration fails.
    ours = {command["command"] for command in MANIFEST["contributes"]["commands"]}
    assert ours.isdisjoint(COMMANDS)


def test_a_workspace_chooses_no_program_and_logs_no_text() -> None:
    properties = MANIFEST["contributes"]["configuration"]["properties"]
    of_server = {name for name in properties if name.startswith("tabcast.server.")}
    about_programs = {name for name in properties if re.search("path|command|argument|executable|env|model", name)}
    assert about_programs <= of_server
    for name in {*of_server, "tabcast.trace.server"}:
        assert properties[name]["scope"] == "machine", name
    limited = MANIFEST["capabilities"]["untrustedWorkspaces"]
    assert set(limited["restrictedConfigurations"]) == of_server
    assert (limited["supported"], MANIFEST["extensionKind"]) == ("limited", ["workspace"])


def _engine_arguments_with(name: str) -> list[str]:
    options = build_parser().parse_args(["lsp"])
    setattr(options, name, "bundled")
    return [argument for argument in engine_arguments(options) if argument.startswith("--")]


def test_every_choice_of_an_engine_is_a_setting() -> None:
    options = build_parser().parse_args(["lsp"])
    told = {argument for name in vars(options) for argument in _engine_arguments_with(name)}
    properties = MANIFEST["contributes"]["configuration"]["properties"]
    settings = {name.removeprefix("tabcast.server.") for name in properties if name.startswith("tabcast.server.")}
    assert {f"--{name}" for name in settings - {"path"}} == told


def test_the_settings_are_those_of_the_server() -> None:
    # Written by `tabcast lsp --settings-schema | npm run settings` in editors/vscode.
    properties = MANIFEST["contributes"]["configuration"]["properties"]
    of_extension = ("tabcast.server.", "tabcast.trace.")
    told = {name: value for name, value in properties.items() if not name.startswith(of_extension)}
    expected = {
        f"tabcast.{name}": {**described, "markdownDescription": described["description"], "scope": "window"}
        for name, described in schema()["properties"].items()
    }
    for described in expected.values():
        del described["description"]
    assert told == expected
