"""Settings from the editor: what is wrong keeps its default, and nothing chooses an engine."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from lsp_server.settings import HIGH, LOW, Settings, read_settings


@pytest.mark.parametrize("options", [None, {}, {"tabcast": {}}, {"tabcast": None}])
def test_no_options_are_the_defaults(options: object) -> None:
    assert read_settings(options) == (Settings(), [])


@pytest.mark.parametrize("wrap", [lambda options: options, lambda options: {"tabcast": options}])
def test_flat_and_nested(wrap: Any) -> None:
    settings, problems = read_settings(wrap({"maxLineTokens": 7, "enabled": False, "disabledLanguages": ["c"]}))
    assert problems == []
    assert (settings.max_line_tokens, settings.enabled, settings.disabled_languages) == (7, False, ("c",))


@pytest.mark.parametrize(
    "options",
    [
        {"maxLineTokens": 0},
        {"maxLineTokens": True},
        {"maxLineTokens": "7"},
        {"enabled": 1},
        {"disabledLanguages": "c"},
        {"disabledLanguages": [1]},
        {"model": "/evil"},
        {"engineCommand": ["rm"]},
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


def test_every_number_has_bounds_that_hold_its_default() -> None:
    numbers = {field.name for field in fields(Settings) if type(field.default) is int}
    assert set(LOW) == set(HIGH) == numbers
    assert all(LOW[name] <= getattr(Settings(), name) <= HIGH[name] for name in numbers)
