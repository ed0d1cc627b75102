"""Shows how far a measurement is: a bar in a terminal, and a line now and then where the output is no terminal."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import Progress, TaskID

EVERY_S = 5.0


class ToldProgress(Progress):
    """A bar that becomes lines in a file or a pipe, where a bar would show nothing before its end."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` returns seconds."""
        super().__init__(console=console, transient=True)
        self._clock = clock
        self._began_s = self._told_s = clock()

    def say(self, what: str) -> None:
        """Tell in a line what begins now, with the seconds so far."""
        self.console.print(f"{self._clock() - self._began_s:.0f} s: {what}", highlight=False, soft_wrap=True)

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """Count a part of a task that is done; where no bar is seen, say so every few seconds."""
        super().advance(task_id, advance)
        if self.console.is_terminal or self._clock() - self._told_s < EVERY_S:
            return
        self._told_s = self._clock()
        task = next(task for task in self.tasks if task.id == task_id)
        whole = "" if task.total is None else f" of {task.total:g}"
        self.say(f"{task.description}, {task.completed:g}{whole}")
