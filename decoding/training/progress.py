"""Shows a run to a person, who can also end it: a bar with loss and time left, and Ctrl-C that saves first."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from types import FrameType, TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from decoding.training import checkpoint

log = logging.getLogger(__name__)

LOG_EVERY_S = 60.0


class Bar:
    """Shows a bar on a terminal, and elsewhere a line of the log a minute."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._logged_s = time.monotonic()
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def __enter__(self) -> Bar:
        """Show the bar, if there is somebody to look at it."""
        if sys.stderr.isatty():
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("step {task.fields[step]}, loss {task.fields[loss]:.3f}"),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=Console(stderr=True))
            self._bar.start()
            self._task = self._bar.add_task(self._name, total=1.0, step=0, loss=0.0)
        return self

    def show(self, share: float, state: checkpoint.Progress) -> None:
        """Update the bar; `share` of the run is over, 0 to 1."""
        if self._bar is not None:
            self._bar.update(self._task, completed=share, step=state.step, loss=state.loss)
        elif time.monotonic() - self._logged_s > LOG_EVERY_S:
            self._logged_s = time.monotonic()
            left_min = state.spent_s * (1 - share) / max(share, 1e-9) / 60
            log.info("%s: step %d, loss %.3f, %.0f minutes left", self._name, state.step, state.loss, left_min)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the bar from the terminal."""
        if self._bar is not None:
            self._bar.stop()


class Stop:
    """Only notes SIGINT and SIGTERM while it is entered, so that a step ends whole and the state is saved."""

    def __init__(self) -> None:
        self.is_asked = False
        self._before: list[tuple[signal.Signals, object]] = []

    def __enter__(self) -> Stop:
        """Install the handlers; outside of the main thread, where Python allows none, do nothing."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before.append((number, signal.signal(number, self._note)))
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.is_asked = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Restore the handlers from before."""
        for number, handler in self._before:
            signal.signal(number, handler)  # type: ignore[arg-type]
