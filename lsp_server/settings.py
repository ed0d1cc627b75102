"""Declares the settings of the front end: their names, bounds, descriptions and only defaults, and their schema.

They come from the editor, so from a place that a workspace may have filled: nothing here chooses an engine, a model, an
executable or a remote. It must not know documents or the wire.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Annotated, Any, Final, Literal, NamedTuple, get_args, get_origin, get_type_hints

SECTION: Final = "tabcast"
# Our packages for editors keep settings of their own in this section: where the server is, what traffic is logged.
OF_EDITORS: Final = frozenset({"server", "trace"})


# Where context comes from.
Source = Literal["imports", "definitions", "open", "similar", "edits", "staged"]


class Within(NamedTuple):
    """The bounds of a number, both inclusive."""

    low: float
    high: float


class Form(NamedTuple):
    """The form of each text in a list, as an expression, and an example for people."""

    pattern: str
    example: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings that users can change in the editor, in camel case there (`maxLineTokens`). Users read the texts."""

    enabled: Annotated[bool, "Show suggestions."] = True
    automatic: Annotated[bool, "Show suggestions while typing; if not, only where they are asked for by a key."] = True
    disabled_languages: Annotated[
        tuple[str, ...], "Language identifiers (`markdown`, `plaintext`) in which nothing is suggested."
    ] = ()
    disabled_scopes: Annotated[
        tuple[str, ...],
        Form(r"^([^:\s]+:)?(comment|string|docstring)$", "comment or python:docstring"),
        "Kinds of text in which nothing is suggested unless you ask by a key: `comment`, `string`, `docstring`; with a"
        " language in front (`python:docstring`) only in that language.",
    ] = ()
    eagerness: Annotated[
        Literal["auto", "low", "medium", "high"],
        "How readily suggestions are shown: `low` shows only surer ones, `high` less sure ones too; `auto` learns"
        " from those that you accept and pass over, on this machine alone.",
    ] = "auto"
    min_confidence: Annotated[
        float,
        Within(0, 1),
        "How probable a suggestion must be, by the model's own estimate; less probable ends are cut. 0 shows all.",
    ] = 0.35
    after_deletion: Annotated[bool, "Show suggestions also right after something was deleted."] = False
    context: Annotated[
        tuple[Source, ...],
        "What else of the workspace goes with a request, for models with room for it: definitions of imported modules"
        " (`imports`), in other languages definitions of the names near the cursor (`definitions`), what was open and"
        " visited lately (`open`), similar code (`similar`), recent changes (`edits`), in a commit's message what is"
        " committed (`staged`).",
    ] = ("imports", "definitions", "open", "similar", "edits", "staged")
    max_line_tokens: Annotated[int, Within(1, 1024), "The most tokens of a suggestion that ends with its line."] = 48
    max_block_tokens: Annotated[int, Within(1, 4096), "The most tokens of a suggestion of several lines."] = 160
    deadline_ms: Annotated[
        int, Within(50, 600_000), "After so many milliseconds a suggestion is made of the lines that have come."
    ] = 5000
    prefix_chars: Annotated[
        int, Within(200, 100_000), "How many characters above the cursor the model sees at the most."
    ] = 6000
    suffix_chars: Annotated[
        int, Within(0, 100_000), "How many characters below the cursor the model sees at the most."
    ] = 2000
    latency_ms: Annotated[
        int,
        Within(0, 60_000),
        "How soon a suggestion should begin to come: where a model can't read all the text by then, it reads what is"
        " nearest to the cursor, and the rest while nobody types. 0 always reads all.",
    ] = 300
    read_ahead: Annotated[
        Literal["auto", "always", "never"],
        "Let a slow model read documents and the cursor's place while nobody types, so that suggestions come sooner;"
        " `auto`: not on battery.",
    ] = "auto"
    next_edits: Annotated[
        bool, "Offer the next edit: where else something should change after what you changed, such as a name."
    ] = True
    generate_next_edits: Annotated[
        bool,
        "Ask the model for the next edit where no rule finds one, if it is an instruct model, or one for next edits, of"
        " the engine on this machine.",
    ] = False
    index_workspace: Annotated[
        bool,
        "Index the workspace's code in the background, if the engine drafts from such an index. It stays on this"
        " machine, without what `.gitignore` and `.tabcastignore` name and with secrets masked.",
    ] = True
    completion_items: Annotated[
        Literal["auto", "always", "never"],
        "Offer suggestions in the completion pop-up, too; `auto`: only in editors without inline completion.",
    ] = "auto"

    def fills_pop_ups(self, *, has_inline: bool) -> bool:
        """Return whether an editor with or without inline completion gets entries for its completion pop-up."""
        return self.completion_items == "always" or (self.completion_items == "auto" and not has_inline)


class Setting(NamedTuple):
    """The declaration of one setting. `kind` is bool, int, float, tuple (of texts, perhaps of a form) or Literal."""

    kind: Any
    default: Any
    description: str
    bounds: Within | None
    choices: tuple[str, ...]
    form: Form | None


@cache
def declared() -> dict[str, Setting]:
    """Return all settings by the names that editors use."""
    hints = get_type_hints(Settings, include_extras=True)
    found: dict[str, Setting] = {}
    for field in fields(Settings):
        kind, *limits, description = get_args(hints[field.name])
        found[_camel_case(field.name)] = Setting(
            kind=get_origin(kind) or kind,
            default=field.default,
            description=description,
            bounds=next((limit for limit in limits if isinstance(limit, Within)), None),
            choices=_choices(kind),
            form=next((limit for limit in limits if isinstance(limit, Form)), None),
        )
    return found


def read_settings(*layers: object) -> tuple[Settings, list[str]]:
    """Read an editor's options, `{"tabcast": {...}}` or flat. Return the settings and a list of problems found.

    Later layers override earlier ones name by name. A wrong value keeps its default; nothing raises.
    """
    values: dict[Any, Any] = {}
    problems: list[str] = []
    for layer in layers:
        options = layer[SECTION] if isinstance(layer, Mapping) and SECTION in layer else layer
        is_flat = options is layer
        if isinstance(options, Mapping):
            # Some editors send the sections of all programs. An object under a name that isn't ours is such a section.
            strange = {key for key, value in options.items() if key not in declared() and isinstance(value, Mapping)}
            values.update({key: value for key, value in options.items() if not (is_flat and key in strange)})
        elif options is not None:
            problems.append(f"the options are not an object but {type(options).__name__}")
    attributes = {_camel_case(field.name): field.name for field in fields(Settings)}
    chosen: dict[str, Any] = {}
    for key, value in values.items():
        if key in OF_EDITORS:
            continue
        if key not in attributes:
            problems.append(f"{key}: no such setting (engine and models are chosen in the user's configuration file)")
        elif problem := _problem(declared()[key], value):
            problems.append(f"{key}: {problem}")
        else:
            chosen[attributes[key]] = tuple(value) if isinstance(value, list) else value
    return Settings(**chosen), problems


def schema() -> dict[str, Any]:
    """Return the JSON schema of the settings: an object with one property for each setting."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tabcast",
        "type": "object",
        "properties": {name: _property(setting) for name, setting in declared().items()},
        "additionalProperties": False,
    }


def _property(setting: Setting) -> dict[str, Any]:
    about = {"description": setting.description}
    if setting.kind is bool:
        return {"type": "boolean", "default": setting.default, **about}
    if setting.kind is tuple:
        items = {"type": "string", **({"enum": list(setting.choices)} if setting.choices else {})}
        items |= {"pattern": setting.form.pattern} if setting.form else {}
        return {"type": "array", "items": items, "default": list(setting.default), **about}
    if setting.choices:
        return {"type": "string", "enum": list(setting.choices), "default": setting.default, **about}
    assert setting.bounds is not None
    kind = "integer" if setting.kind is int else "number"
    low, high = setting.bounds
    return {"type": kind, "minimum": low, "maximum": high, "default": setting.default, **about}


def _choices(kind: Any) -> tuple[str, ...]:
    if get_origin(kind) is tuple:
        kind = get_args(kind)[0]
    return get_args(kind) if get_origin(kind) is Literal else ()


def _problem(setting: Setting, value: object) -> str:
    if setting.kind is bool:
        return "" if isinstance(value, bool) else "expected true or false"
    if setting.kind is tuple:
        return _problem_of_list(setting, value)
    if setting.choices:
        return "" if value in setting.choices else f"expected one of {', '.join(setting.choices)}"
    assert setting.bounds is not None
    low, high = setting.bounds
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if setting.kind is int:
        is_number = is_number and isinstance(value, int)
    if not is_number or not low <= value <= high:  # type: ignore[operator]
        return f"expected a {'whole ' if setting.kind is int else ''}number from {low} to {high}"
    return ""


def _problem_of_list(setting: Setting, value: object) -> str:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        return "expected a list of texts"
    if (form := setting.form) and not all(re.fullmatch(form.pattern, item) for item in value):
        return f"expected texts like {form.example}"
    is_known = not setting.choices or set(value).issubset(setting.choices)
    return "" if is_known else f"expected some of {', '.join(setting.choices)}"


def _camel_case(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
