"""Settings from the editor: what is wrong keeps its default, nothing chooses an engine, and the schema tells it all."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from lsp_server import cli
from lsp_server.settings import Settings, _problem, declared, read_settings, schema


@pytest.mark.parametrize("options", [None, {}, {"tabcast": {}}, {"tabcast": None}])
def test_no_options_are_the_defaults(options: object) -> None:
    assert read_settings(options) == (Settings(), [])


@pytest.mark.parametrize("wrap", [lambda options: options, lambda options: {"tabcast": options}])
def test_flat_and_nested(wrap: Any) -> None:
    settings, problems = read_settings(wrap({"maxLineTokens": 7, "enabled": False, "disabledLanguages": ["c"]}))
    assert problems == []
    assert (settings.max_line_tokens, settings.enabled, settings.disabled_languages) == (7, False, ("c",))


def test_a_later_layer_overrides_name_by_name() -> None:
    settings, problems = read_settings({"maxLineTokens": 7, "automatic": False}, None, {"tabcast": {"automatic": True}})
    assert (settings.max_line_tokens, settings.automatic, problems) == (7, True, [])


def test_what_editors_keep_in_the_same_section_is_theirs() -> None:
    assert read_settings({"server": {"path": "/bin/tabcast"}, "trace": {"server": "off"}}) == (Settings(), [])


@pytest.mark.parametrize(
    "options",
    [
        {"maxLineTokens": 0},
        {"maxLineTokens": True},
        {"maxLineTokens": 7.5},
        {"maxLineTokens": "7"},
        {"enabled": 1},
        {"disabledLanguages": "c"},
        {"disabledLanguages": [1]},
        {"disabledScopes": ["comments"]},
        {"disabledScopes": ["python:"]},
        {"eagerness": "eager"},
        {"model": "/evil"},
        {"engineCommand": ["rm"]},
        {"remoteUrl": "http://evil.example"},
        {7: 7},
        {"tabcast": []},
        [],
        "text",
        7,
    ],
)
def test_what_is_wrong_is_named_once_and_keeps_its_default(options: object) -> None:
    settings, problems = read_settings(options)
    assert settings == Settings()
    assert len(problems) == 1


def test_one_bad_value_does_no_harm_to_the_others() -> None:
    settings, problems = read_settings({"maxLineTokens": 0, "maxBlockTokens": 9})
    assert (settings.max_block_tokens, len(problems)) == (9, 1)


def test_every_number_has_bounds_that_hold_its_default() -> None:
    for name, setting in declared().items():
        assert (setting.bounds is not None) == (setting.kind in (int, float)), name
        default = list(setting.default) if setting.kind is tuple else setting.default
        assert not _problem(setting, default), name


def test_the_schema_describes_every_setting_and_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["lsp", "--settings-schema"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == schema()
    assert set(printed["properties"]) == set(declared())
    for name, described in printed["properties"].items():
        assert described["description"].endswith("."), name
        assert "default" in described, name


def test_no_setting_chooses_what_runs() -> None:
    assert not [name for name in declared() if re.search("model|engine|path|command|url|host|executable", name, re.I)]
