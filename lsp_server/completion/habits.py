"""Remembers how often this user accepts suggestions, by language and kind of place, and how much surer others must be.

What is kept are two fading counts for each of a few hundred places: no text and no name of a file. They lie in one file
of the user's, which several windows write in turn. It must not know documents, requests or the wire.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Final, NamedTuple

from decoding.protocol import write_private

VARIABLE: Final = "TABCAST_HABITS"
MAX_BYTES: Final = 64 * 1024
MAX_PLACES: Final = 200
MAX_NAME_CHARS: Final = 60
# chosen: an outcome counts half after about 70 others at its place.
FADING: Final = 0.99
# measured by replay (docs/experiments.md): up to where half of what is shown is accepted, a higher bound costs no
# completed code, and a share of 0.3 as the aim showed more and helped nobody.
AIM: Final = 0.5
# chosen: so many outcomes that met the aim are taken as seen before the first.
AIM_WEIGHT: Final = 20.0
# chosen: the most that habits move a bound, in log-odds. A bound of 0.35 stays between 0.17 and 0.59.
MAX_SHIFT: Final = 1.0


class Place(NamedTuple):
    """A kind of place: a language as the editor names it, and what the cursor stands in."""

    language: str
    kind: str

    @property
    def name(self) -> str:
        """Return the place's name in the file and for people."""
        return f"{self.language[:MAX_NAME_CHARS]} {self.kind}"


class Tally(NamedTuple):
    """How many suggestions were accepted and passed over, older ones counting less."""

    accepted: float = 0.0
    passed: float = 0.0

    def shift(self) -> float:
        """Return by how much the bound moves in log-odds: up where little is accepted, down where much is."""
        share = (self.accepted + AIM * AIM_WEIGHT) / (self.accepted + self.passed + AIM_WEIGHT)
        return max(-MAX_SHIFT, min(MAX_SHIFT, _log_odds(AIM) - _log_odds(share)))


class Habits:
    """The tallies of one user. `load`, `save` and `forget` block; the rest only computes."""

    def __init__(self, file: Path | None = None) -> None:
        """`file` is where they lie; None for the usual place."""
        self._file = file
        self._tallies: dict[str, Tally] = {}
        self._unsaved: list[tuple[str, bool]] = []

    @property
    def has_unsaved(self) -> bool:
        """Return whether something was learnt since the last saving."""
        return bool(self._unsaved)

    def note(self, place: Place, *, is_accepted: bool) -> None:
        """Learn that a suggestion was accepted, or passed over."""
        self._tallies = _with(self._tallies, place.name, is_accepted)
        self._unsaved.append((place.name, is_accepted))

    def shift(self, place: Place) -> float:
        """Return by how much the bound of confidence moves at such a place, in log-odds."""
        tally = self._tallies.get(place.name)
        return 0.0 if tally is None else tally.shift()

    def figures(self) -> dict[str, dict[str, float]]:
        """Return the tallies and what follows from them as JSON, by place."""
        return {
            name: {
                "accepted": round(tally.accepted, 1),
                "passedOver": round(tally.passed, 1),
                "shift": round(tally.shift(), 2),
            }
            for name, tally in self._tallies.items()
        }

    def load(self) -> None:
        """Read what was learnt before; a damaged file counts as missing."""
        tallies = _read(self._path())
        for name, is_accepted in list(self._unsaved):
            tallies = _with(tallies, name, is_accepted)
        self._tallies = tallies

    def save(self) -> None:
        """Add what was learnt here to the file, in which other windows may have written. Raises `OSError`."""
        news, self._unsaved = self._unsaved, []
        path = self._path()
        tallies = _read(path)
        for name, is_accepted in news:
            tallies = _with(tallies, name, is_accepted)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, json.dumps(tallies).encode())
        self._tallies = tallies

    def forget(self) -> int:
        """Forget all, and return how many places were known. Raises `OSError`."""
        num_known = len(self._tallies)
        self._tallies, self._unsaved = {}, []
        self._path().unlink(missing_ok=True)
        return num_known

    def _path(self) -> Path:
        return self._file or habits_file()


def habits_file() -> Path:
    """Return where this user's habits lie; `TABCAST_HABITS` names another place."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    import platformdirs  # noqa: PLC0415 - slow for a server that is starting

    return platformdirs.user_data_path("tabcast") / "habits.json"


def _read(path: Path) -> dict[str, Tally]:
    try:
        if not path.is_file() or path.stat().st_size > MAX_BYTES:
            return {}
        found = json.loads(path.read_bytes())
        return {str(name)[: 2 * MAX_NAME_CHARS]: _tally(*counts) for name, counts in list(found.items())[-MAX_PLACES:]}
    except (OSError, ValueError, RecursionError, TypeError, AttributeError, OverflowError):
        return {}


def _tally(accepted: float, passed: float) -> Tally:
    """Check two counts, which fading keeps below 100. Raises `ValueError`."""
    counts = float(accepted), float(passed)
    if not all(0 <= count <= 1 / (1 - FADING) + 1 for count in counts):
        raise ValueError("no counts")
    return Tally(*counts)


def _with(tallies: dict[str, Tally], name: str, is_accepted: bool) -> dict[str, Tally]:
    """Return the tallies with one more outcome; its place goes last, and the first of too many is dropped."""
    old = tallies.get(name, Tally())
    new = Tally(FADING * old.accepted + is_accepted, FADING * old.passed + (not is_accepted))
    known = {**{key: tally for key, tally in tallies.items() if key != name}, name: new}
    return dict(list(known.items())[-MAX_PLACES:])


def _log_odds(share: float) -> float:
    return math.log(share / (1 - share))
