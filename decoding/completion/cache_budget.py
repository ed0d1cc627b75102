"""Decides how much memory the caches of all sessions may take. Knows no session."""

from __future__ import annotations

import os

import torch

SHARE_OF_MEMORY = 0.1
SHARE_OF_DEVICE = 0.25  # chosen: of the device's memory that is free once the models are loaded
MEMORY_IF_UNKNOWN = 4 << 30


def cache_budget_bytes(megabytes: int, device: torch.device) -> int:
    """Return the bytes that the setting `cache_mb` allows; 0 means a tenth of the memory or a quarter of a GPU's."""
    if megabytes:
        return megabytes << 20
    if device.type == "cuda":
        return int(SHARE_OF_DEVICE * torch.cuda.mem_get_info(device)[0])
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no `sysconf`
        memory = MEMORY_IF_UNKNOWN
    return int(SHARE_OF_MEMORY * memory)
