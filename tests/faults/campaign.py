"""How much of everything a fault campaign does: `--faults short` takes a minute or two, `--faults full` hours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """The numbers of faults, messages, servers and requests, and the bound on memory that a process may gain."""

    kills: int
    freezes: int
    wire_messages: int
    http_requests: int
    model_folders: int
    damages: int
    servers: int
    requests: int
    grown_mb: float = 40.0


CAMPAIGNS = {
    "short": Campaign(
        kills=3,
        freezes=1,
        wire_messages=300,
        http_requests=300,
        model_folders=100,
        damages=1,
        servers=4,
        requests=200,
    ),
    "full": Campaign(
        kills=200,
        freezes=20,
        wire_messages=5_000,
        http_requests=5_000,
        model_folders=20_000,
        damages=50,
        servers=20,
        requests=10_000,
    ),
}


def memory_mb(pid: int) -> float:
    """Return the memory that a process holds, 0 where the system doesn't tell."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith("VmRSS:"))
