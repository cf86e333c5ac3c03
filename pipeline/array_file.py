"""Frozen data of arrays, texts and numbers as named arrays, and back; nothing is pickled."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
import numpy.typing as npt

Arrays = Mapping[str, npt.NDArray[Any]]
_Data = TypeVar("_Data")


def to_arrays(data: Any, prefix: str) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Every field of a dataclass as an array `prefix.field`, those of a dataclass in it as `prefix.field.field`.

    None is left out.
    """
    for field in fields(data):
        value, name = getattr(data, field.name), f"{prefix}.{field.name}"
        if is_dataclass(value):
            yield from to_arrays(value, name)
        elif value is not None:
            yield name, np.asarray(value)


def from_arrays(kind: type[_Data], arrays: Arrays, prefix: str) -> _Data:
    """The dataclass `kind` that `to_arrays` has written; KeyError when a field is missing."""
    hints = get_type_hints(kind)
    return kind(**{field.name: _value(hints[field.name], arrays, f"{prefix}.{field.name}") for field in fields(kind)})  # type: ignore[arg-type]


def _value(kind: Any, arrays: Arrays, name: str) -> Any:
    if is_dataclass(kind):
        return from_arrays(kind, arrays, name)  # type: ignore[arg-type]
    if get_origin(kind) in (Union, UnionType):
        return _value(get_args(kind)[0], arrays, name) if name in arrays else None
    if get_origin(kind) is tuple:
        return tuple(arrays[name].tolist())
    if kind in (int, float, str, bool):
        return kind(arrays[name].item())
    return arrays[name]
