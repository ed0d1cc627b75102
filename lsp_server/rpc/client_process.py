"""Ends the server when the editor's process has ended, even where another process holds the editor's pipes open.

A thread of its own waits, because the event loop may hang in a write that nobody reads. On Windows nothing is watched:
the end of standard input tells it there. It must not know messages or what the server does.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

logger = logging.getLogger(__name__)

POLL_S: Final = 2.0
# chosen: the server may take so long to disconnect from the engine and stop its threads.
GRACE_S: Final = 4.0


def watch_process(process_id: int, on_end: Callable[[], None]) -> None:
    """Call `on_end` in a thread when the process has ended, and exit this process if it still runs `GRACE_S` later.

    A process that isn't there at first is not watched: the editor may run in another container or on another machine.
    Nor is one watched if this process has its parent outside of its container: the number then means another process.
    """
    if sys.platform == "win32":
        return
    if os.getppid() == 0 or not _is_running(process_id):
        logger.warning("the editor's process %d is not on this machine, so its end is not watched", process_id)
        return

    def watch() -> None:
        _wait_for_end(process_id)
        on_end()
        time.sleep(GRACE_S)
        os._exit(1)  # the event loop, or a thread that reads standard input, hangs

    threading.Thread(target=watch, name="editor's process", daemon=True).start()


def is_loopback(address: str) -> bool:
    """Return whether a socket's address belongs to this machine alone."""
    return address.startswith("127.") or address in ("::1", "::ffff:127.0.0.1")


def _wait_for_end(process_id: int) -> None:
    """Return when the process has ended."""
    if sys.platform == "linux":
        try:
            descriptor = os.pidfd_open(process_id)
        except OSError as error:
            if error.errno == errno.ESRCH:
                return
            # This kernel has no `pidfd_open`.
        else:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            poll.poll()
            os.close(descriptor)
            return
    is_parent = os.getppid() == process_id
    # A parent that has ended counts as running until its exit code is read (a zombie), but then we have a new parent.
    while _is_running(process_id) and not (is_parent and os.getppid() != process_id):
        time.sleep(POLL_S)


def _is_running(process_id: int) -> bool:
    if process_id <= 0:  # `kill` would take it for a group of processes
        return False
    try:
        os.kill(process_id, 0)
    except PermissionError:  # it belongs to another user
        return True
    except (OSError, OverflowError):
        return False
    return True
