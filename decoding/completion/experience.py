"""Says what is known of drafting with these models on this machine at first, and under which key more of it is kept."""

from __future__ import annotations

import torch

from decoding.models.loading.model_set import ModelSet
from decoding.policy.policy import Policy


def new_policy(models: ModelSet) -> Policy:
    """Make a policy from what is known of these models at first: the times of their steps on this machine."""
    return Policy(models.step_ms, max_chains=models.target.capabilities.max_chains)


def experience_key(models: ModelSet) -> str:
    """Return the key under which the policy's state for these models on this device is saved."""
    target, draft = models.target, models.draft
    device = torch.cuda.get_device_name(target.device) if target.device.type == "cuda" else target.device.type
    drafted = "none" if draft is None else f"{draft.num_parameters}"
    kinds = f"{target.dtype}".removeprefix("torch.")
    return f"{device}, {models.name}, {target.num_parameters}, {kinds}, {type(target).__name__}, draft {drafted}"
