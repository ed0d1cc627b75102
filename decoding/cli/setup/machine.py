"""Describes this machine for people: processor, memory, GPU."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from decoding.config import EngineConfig
from decoding.models.loading.devices import choose_device
from decoding.models.loading.memory import free_bytes
from decoding.storage.pulled import as_size

CPUINFO: Final = Path("/proc/cpuinfo")
# The instructions that multiply whole numbers of eight bits, the best first, by Linux's names.
INTEGER_DOTS: Final = {"avx512_vnni": "AVX-512 VNNI", "avx_vnni": "AVX-VNNI", "avx2": "AVX2", "asimddp": "dot products"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """This machine as `tabcast setup` sees it; `free_bytes` are the device's, None where the system doesn't tell."""

    processor: str
    cores: int
    device: str
    gpu: str
    free_bytes: int | None
    is_busy: bool

    @classmethod
    def look(cls, config: EngineConfig) -> Machine:
        """Look at it. Raises `ConfigError` if the settings choose a device that isn't there."""
        device, _ = choose_device(config)
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return cls(
            processor=_processor(),
            cores=cores,
            device=device.type,
            gpu=torch.cuda.get_device_name(device) if device.type == "cuda" else "",
            free_bytes=free_bytes(device),
            is_busy=hasattr(os, "getloadavg") and os.getloadavg()[0] > cores,
        )

    def describe(self) -> str:
        """Return a line for people."""
        place = self.gpu or "memory"
        free = "unknown" if self.free_bytes is None else f"{as_size(self.free_bytes)} free"
        gpu = "" if self.gpu else "; no GPU that is used"
        return f"{self.processor}, {self.cores} cores; {place}: {free}{gpu}"


def _processor() -> str:
    """Return the processor's name, and how it multiplies, as far as the system tells it."""
    fields: dict[str, str] = {}
    try:
        for line in CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            fields.setdefault(name.strip(), value.strip())
    except OSError:
        pass
    flags = f"{fields.get('flags', '')} {fields.get('Features', '')}".split()
    name = fields.get("model name") or platform.processor() or platform.machine()
    dots = next((told for flag, told in INTEGER_DOTS.items() if flag in flags), "")
    return f"{name} ({dots})" if dots else name
