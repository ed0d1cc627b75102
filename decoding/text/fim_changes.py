"""Changes a template of the table of `decoding.protocol` as the user's settings or a model's folder ask for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import Any, Final, get_args

from decoding.errors import ConfigError
from decoding.protocol import FimOrder, FimTemplate

NO_ORDER: Final = "none"
# The types that a settings file must have for fields of `FimTemplate` that aren't strings.
TOML_TYPES: Final[Mapping[str, type]] = {"tuple[str, ...]": list, "bool": bool}


def change_template(
    template: FimTemplate | None, changes: Mapping[str, Any], tokens: Iterable[str], source: str
) -> FimTemplate | None:
    """Return a template with fields replaced by the user or the model's declaration; `order` "none" disables it.

    Raises `ConfigError` naming `source` for an unknown field, an unknown order, or a token that the model hasn't.
    """
    if changes.get("order") == NO_ORDER:
        return None
    kinds = {field.name: field.type for field in fields(FimTemplate)}
    for name, value in changes.items():
        if name not in kinds:
            raise ConfigError(f"{source}: unknown setting fim.{name} (known: {', '.join(sorted(kinds))})")
        if not isinstance(value, TOML_TYPES.get(str(kinds[name]), str)):
            raise ConfigError(f"{source}: fim.{name} can't be {value!r}")
    if (order := changes.get("order", "prefix_first")) not in get_args(FimOrder):
        raise ConfigError(
            f"{source}: fim.order must be one of {', '.join((*get_args(FimOrder), NO_ORDER))}, not {order!r}"
        )
    changed: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in changes.items()
    }
    # Another prefix token means another family, so its separators and stops don't apply either.
    base = template if template and "prefix" not in changed else FimTemplate(prefix="", suffix="", middle="")
    result = replace(base, **changed)
    if not (result.prefix and result.suffix):
        raise ConfigError(f"{source}: fim.prefix and fim.suffix must name tokens, because this model's are not known")
    known = frozenset(tokens)
    if missing := [name for name in result.names if name not in known and name in changed.values()]:
        raise ConfigError(f"{source}: the model's tokenizer has no token {missing[0]!r}")
    return result
