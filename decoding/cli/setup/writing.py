"""Writes the user's config.toml for setup, and puts it back: after a failure, and for `tabcast setup --undo`."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from decoding.errors import ConfigError
from decoding.storage.setup_record import note_replaced, read_replaced, write_replaced
from decoding.storage.user_config import read_config, set_engine_values, with_engine_values, write_config

KEYS = ("model", "draft")


@contextmanager
def written(path: Path, values: Mapping[str, str]) -> Iterator[None]:
    """Write values for as long as the body runs, and for good if it succeeds; otherwise all is as before.

    Raises `ConfigError` if the file can't be edited or written.
    """
    before, after = read_config(path), with_engine_values(path, values)
    if after == before:
        yield
        return
    entries = read_replaced(path)
    note_replaced(path, before, after)  # first, so that whatever ends us here can be undone
    try:
        write_config(path, after)
        yield
    except BaseException:
        if read_config(path) == after:
            write_config(path, before)
            write_replaced(path, entries)
        raise


def undo(path: Path) -> str:
    """Put back what was there before setup, and return what was done. Raises `ConfigError` if that can't be done.

    In a file that was edited since then, only the models are put back.
    """
    entries, now = read_replaced(path), read_config(path)
    while entries and entries[-1].before == now:
        entries.pop()  # was put back by hand, or never written
    if not entries:
        raise ConfigError(f"nothing is undone: 'tabcast setup' has not changed {path}")
    last = entries.pop()
    if now == last.written:
        write_config(path, last.before)
        write_replaced(path, entries)
        return "is as it was before" if last.before is not None else "is removed, as there was none before"
    with_engine_values(path, {})  # refuses a file that can't be read any more
    if _models(now) != _models(last.written):
        raise ConfigError(
            f"nothing is undone: {path} was edited since, and names another model; 'tabcast models use' chooses one"
        )
    set_engine_values(path, {key: _models(last.before).get(key) for key in KEYS})
    write_replaced(path, entries)
    return "was edited since, and so only its models are as they were before"


def _models(text: str | None) -> dict[str, Any]:
    try:
        engine = tomllib.loads(text or "").get("engine", {})
        return {key: engine[key] for key in KEYS if key in engine}
    except (tomllib.TOMLDecodeError, AttributeError, TypeError):
        return {}
