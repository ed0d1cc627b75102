"""Gives the tensor its operators, and those methods that differ in one function of numpy alone."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Final

import numpy as np


def _other(value: Any) -> Any:
    return value.wide() if hasattr(value, "wide") else value


def _binary(compute: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def method(self: Any, other: Any) -> Any:
        with np.errstate(all="ignore"):
            return self.rounded(np.asarray(compute(self.wide(), _other(other))))

    return method


def _reflected(compute: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return _binary(lambda one, other: compute(other, one))


def _in_place(compute: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Any, *others: Any) -> Any:
        with np.errstate(all="ignore"):
            self.array[...] = self.as_held(type(self)(np.asarray(compute(self.wide(), *map(_other, others)))))
        return self

    return method


_OPERATORS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "truediv": operator.truediv, "pow": operator.pow,
    "and": operator.and_, "or": operator.or_, "xor": operator.xor,
    "lshift": operator.lshift, "rshift": operator.rshift,
}  # fmt: skip
_COMPARISONS: Final = ("eq", "ne", "lt", "le", "gt", "ge")
_METHODS: Final[dict[str, Callable[..., Any]]] = {
    "add": np.add, "mul": np.multiply, "div": np.divide, "log": np.log, "exp": np.exp, "neg": np.negative,
}  # fmt: skip


def give_operators(kind: type) -> None:
    """Add the methods to the class of tensors, which has `wide`, `rounded` and `as_held`."""
    for name, compute in _OPERATORS.items():
        setattr(kind, f"__{name}__", _binary(compute))
        setattr(kind, f"__r{name}__", _reflected(compute))
        setattr(kind, f"__i{name}__", _in_place(compute))
    for name in _COMPARISONS:
        setattr(kind, f"__{name}__", _binary(getattr(operator, name)))
    for name, function in _METHODS.items():
        setattr(kind, f"{name}_", _in_place(function))
