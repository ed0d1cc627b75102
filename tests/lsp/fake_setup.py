"""Stands for `tabcast setup --json`: prints the events in the file that FAKE_SETUP names, and notes how it was called.

With "waits" it goes on until it is interrupted, and then tells of that as the real one does.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path


def tell(event: object) -> None:
    sys.stdout.write(f"{event if isinstance(event, str) else json.dumps(event)}\n")
    sys.stdout.flush()


def main() -> int:
    script = Path(os.environ["FAKE_SETUP"])
    told = json.loads(script.read_text())
    with script.with_suffix(".calls").open("a") as calls:
        calls.write(json.dumps(sys.argv[1:]) + "\n")
    for event in told["events"]:
        tell(event)
    try:
        if told.get("waits"):
            script.with_suffix(".waiting").touch()
            time.sleep(600)
    except KeyboardInterrupt:
        script.with_suffix(".interrupted").touch()
        tell({"event": "error", "message": "interrupted"})
        return 130
    sys.stderr.write(told.get("complaint", ""))
    return int(told.get("code", 0))


if __name__ == "__main__":
    sys.exit(main())
