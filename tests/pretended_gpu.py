"""A CUDA device for machines without one: tensors that say they are there, compute on the CPU, and forgive nothing.

An operation between them and the CPU's fails as it would on a GPU, and what is copied back to the host is counted.
Kernels, streams and graphs are not pretended: what computes by addresses is replaced by plain torch ("rehearsed").
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_map_only

ATEN = torch.ops.aten
# What may be given an index, or a number as a tensor without dimensions, that lies on the CPU.
TAKES_INDICES = {ATEN.index.Tensor, ATEN.index_put_.default, ATEN.index_put.default, ATEN._index_put_impl_.default}
# Whose numbers torch makes tensors of before anybody is asked, and where these begin.
TAKES_NUMBERS = {Tensor.__setitem__: 2, torch.where: 1}
COPIES = {ATEN.copy_.default, ATEN._to_copy.default}
TO_HOST = {ATEN._local_scalar_dense.default, ATEN.nonzero.default, ATEN.is_nonzero.default, ATEN.equal.default}


class OnDevice(Tensor):
    """A tensor whose `there` lies on the CPU, and which says that it lies on a GPU; to torch itself it is a "meta" one.

    A build of torch for the CPU would ask CUDA's library, which it hasn't, for the device of a real one.
    """

    there: Tensor
    claimed: torch.device

    @staticmethod
    def __new__(cls, there: Tensor, claimed: torch.device) -> OnDevice:
        made: OnDevice = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            there.size(),
            strides=there.stride(),
            storage_offset=there.storage_offset(),
            dtype=there.dtype,
            device="meta",
        )
        made.there, made.claimed = there, claimed
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return self.claimed

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    @property
    def is_meta(self) -> bool:  # type: ignore[override]
        return False

    def data_ptr(self) -> int:
        return self.there.data_ptr()

    def tolist(self) -> Any:
        return self.to("cpu").tolist()

    def __repr__(self) -> str:  # type: ignore[override]
        return f"OnDevice({self.there}, {self.claimed})"

    def numpy(self, *, force: bool = False) -> Any:
        raise TypeError("can't convert a tensor on a GPU to numpy")

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        raise AssertionError(f"{function} of a tensor of a device that is no longer pretended")


@dataclass
class Device(TorchDispatchMode):
    """While it is entered, `cuda` devices are there. `reads` says where the host fetched something, call by call."""

    reads: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        keywords = dict(keywords or {})
        given = list(_tensors((*arguments, *keywords.values())))
        devices = {each.device for each in given if isinstance(each, OnDevice)}
        wanted = torch.device(keywords["device"]) if keywords.get("device") is not None else None
        if wanted is not None and wanted.type == "cuda":
            keywords["device"] = torch.device("cpu")
        if not devices and (wanted is None or wanted.type == "cpu"):
            return function(*arguments, **keywords)
        _check_devices(function, given, devices)
        here = next(iter(devices), wanted)
        is_there = function is ATEN._to_copy.default and {wanted} == devices
        if is_there and keywords.get("dtype", given[0].dtype) == given[0].dtype:
            return given[0]
        target = wanted or (arguments[0].device if function is ATEN.copy_.default else here)
        if devices and (function in TO_HOST or target.type == "cpu"):
            self._count(function)
        bare = {name: _bare(each) for name, each in keywords.items()}
        found = function(*map(_bare, arguments), **bare)
        if target.type == "cpu":
            return found
        is_one = isinstance(found, Tensor)
        wrapped = (
            OnDevice(found, target) if is_one else tree_map_only(Tensor, lambda each: OnDevice(each, target), found)
        )
        return return_and_correct_aliasing(function, arguments, keywords, wrapped)

    def _count(self, function: Any) -> None:
        frames = [frame for frame in traceback.extract_stack() if "/decoding/" in frame.filename]
        place = next((f"{f.filename.rpartition('/')[2]}:{f.lineno}" for f in reversed(frames)), "elsewhere")
        self.reads.append(f"{function} at {place}")


class _Numbered(TorchFunctionMode):
    """Where the CUDA library would be asked for a device's number, or for room, the answer is known."""

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        arguments, keywords = tuple(map(_with_number, arguments)), dict(keywords or {})
        if keywords.get("device") is not None:
            keywords["device"] = _numbered(torch.device(keywords["device"]))
        if function is torch.tensor and (device := keywords.pop("device", None)) is not None:
            return function(*arguments, **keywords).to(device)
        if (first := TAKES_NUMBERS.get(function)) is not None:
            numbers = (torch.tensor(each) if isinstance(each, int | float) else each for each in arguments[first:])
            arguments = (*arguments[:first], *numbers)
        return function(*arguments, **keywords)


class _HostGenerator(torch.Generator):
    """For any device."""

    def __new__(cls, _device: object = None) -> torch.Generator:  # type: ignore[misc]
        return torch._C.Generator.__new__(torch._C.Generator)


def _tensors(given: Iterable[Any]) -> Iterator[Tensor]:
    """Yield the tensors of an operation's arguments, which may lie in lists: torch's own search takes longer."""
    for each in given:
        if isinstance(each, Tensor):
            yield each
        elif isinstance(each, list | tuple):
            yield from _tensors(each)


def _bare(given: Any) -> Any:
    if isinstance(given, OnDevice):
        return given.there
    return type(given)(map(_bare, given)) if type(given) in (list, tuple) else given


def _numbered(device: torch.device) -> torch.device:
    return torch.device("cuda", 0) if device == torch.device("cuda") else device


def _with_number(argument: Any) -> Any:
    return _numbered(argument) if isinstance(argument, torch.device) else argument


def _check_devices(function: Any, given: list[Tensor], devices: set[torch.device]) -> None:
    if function in COPIES:
        return
    strangers = {each.device for each in given if not isinstance(each, OnDevice) and each.dim() > 0}
    if len(devices) > 1 or (devices and strangers and function not in TAKES_INDICES):
        raise RuntimeError(f"{function}: tensors on {sorted(map(str, devices | strangers))}")


@contextmanager
def pretended(monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    """Enter a device, with as much of `torch.cuda` as is asked for where nothing is recorded."""
    answers = {
        "_lazy_init": None,
        "device": nullcontext(),
        "device_count": 2,
        "empty_cache": None,
        "get_device_name": "a pretended GPU",
        "is_available": True,
        "is_bf16_supported": True,
        "mem_get_info": (2**34, 2**34),
        "synchronize": None,
    }
    with monkeypatch.context() as patch:
        for name, answer in answers.items():
            patch.setattr(torch.cuda, name, lambda *_given, answer=answer, **_named: answer)
        # Views of what says to be a "meta" tensor can't become inference tensors.
        patch.setattr(torch.inference_mode, "__enter__", lambda _self: None)
        patch.setattr(torch.inference_mode, "__exit__", lambda *_given: None)
        patch.setattr(torch, "Generator", _HostGenerator)
        with _Numbered(), Device() as device, torch.no_grad():
            yield device
