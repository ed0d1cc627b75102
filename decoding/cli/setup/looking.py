"""Looks at the machine and its models, measures, and says what is recommended; fetches what that needs."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from decoding.cli.fetching import fetch
from decoding.cli.setup.candidate import Candidate
from decoding.cli.setup.candidates import BUNDLED, bundled, gather, named, why_unfit
from decoding.cli.setup.machine import Machine
from decoding.cli.setup.recommend import Estimate, Recommendation, for_named, recommend
from decoding.cli.setup.report import Report
from decoding.cli.setup.speed import Speed, measure
from decoding.config import EngineConfig, models_directory
from decoding.models.catalogue import known_model
from decoding.models.listed import folder_of
from decoding.protocol import NO_MODEL
from decoding.storage.pulled import check_disk, pulled_models

MORE_TRIES: Final = 2  # chosen: on a busy machine, one of three has a moment for itself more often
NOTHING_MEASURED: Final = Estimate(tokens=0.0, prompt_tokens=0.0)


class _Stopwatch:
    """Estimates the speed of candidates; each kind of weights is measured once, when it is first asked for."""

    def __init__(self, config: EngineConfig, report: Report, *, is_busy: bool) -> None:
        self._config, self._report, self._is_busy = config, report, is_busy
        self._speeds: dict[bool, Speed] = {}

    def estimate(self, candidate: Candidate) -> Estimate:
        """Return what is to be expected of a candidate; nothing of the shipped pair, which fits into caches."""
        if candidate.name == BUNDLED:
            return NOTHING_MEASURED
        speed = self._speeds.get(candidate.in_blocks) or self._measure(in_blocks=candidate.in_blocks)
        return Estimate(
            tokens=speed.tokens_per_second(candidate.step_bytes),
            prompt_tokens=speed.prompt_tokens_per_second(candidate.num_parameters),
        )

    def _measure(self, *, in_blocks: bool) -> Speed:
        told = {"stage": "measure", "total": 1, "message": "measuring how fast this machine is"}
        self._report.tell("progress", **told, done=0)
        speed = measure(self._config, in_blocks=in_blocks)
        for _ in range(MORE_TRIES if self._is_busy else 0):
            speed = speed.best_of(measure(self._config, in_blocks=in_blocks))
        self._speeds[in_blocks] = speed
        self._report.tell("progress", **told, done=1)
        return self._speeds[in_blocks]


def recommended(name: str | None, config: EngineConfig, report: Report) -> Recommendation:
    """Tell what the machine is and what is recommended, or what the model of that name is, and return it.

    Raises `TabcastError`, also if the disk has no room for it.
    """
    machine = Machine.look(config)
    report.tell(
        "machine",
        text=machine.describe(),
        processor=machine.processor,
        cores=machine.cores,
        device=machine.device,
        gpu=machine.gpu,
        free_bytes=machine.free_bytes,
    )
    stopwatch = _Stopwatch(config, report, is_busy=machine.is_busy)
    if name is None:
        candidates = gather(config)
        chosen = recommend(
            candidates,
            bundled(config),
            stopwatch.estimate,
            machine.free_bytes,
            lambda candidate: why_unfit(candidate, config),
        )
    else:
        model = named(name, config)
        chosen = for_named(model, stopwatch.estimate(model), machine.free_bytes, why_unfit(model, config))
    model = chosen.candidate
    report.tell(
        "recommendation",
        name=model.name,
        title=model.title,
        kind=model.kind,
        source=model.source,
        draft=model.draft,
        download_bytes=model.download_bytes,
        folder=str(models_directory()),
        memory_bytes=model.memory_bytes,
        tokens_per_second=round(chosen.estimate.tokens, 1),
        prompt_tokens_per_second=round(chosen.estimate.prompt_tokens),
        is_busy=machine.is_busy,
        reason=chosen.reason,
    )
    if model.download_bytes:
        check_disk(models_directory(), max(0, model.download_bytes - _arrived(model)))
    return chosen


def fetch_all(model: Candidate, report: Report) -> None:
    """Fetch what is missing of a model and its draft. Raises `TabcastError`, and `OSError` of a full disk."""
    if model.source != "pull":
        return
    complete = {pulled.name for pulled in pulled_models() if pulled.is_complete}
    for name in (model.name, model.draft):
        if name in complete or name in (NO_MODEL, BUNDLED):
            continue

        def progress(file: str, done: int, total: int) -> None:
            report.tell("progress", stage="fetch", done=done, total=total, file=file, message=f"fetching {file}")

        def failed(reason: str) -> None:
            report.tell("notice", message=f"{reason}. Another source is tried.")

        fetch(name, None, progress, failed)


def _arrived(model: Candidate) -> int:
    """Return the bytes that an earlier run has fetched already."""
    folders = [folder_of(name) for name in (model.name, model.draft) if known_model(name) is not None]
    files = (path for folder in folders for path in Path(folder).rglob("*") if path.is_file())
    return sum(path.stat().st_size for path in files)
