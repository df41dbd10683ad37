"""Which rows of a table or of spectra an index asks for."""

from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

from photoz_losses import _check

ROWS = (*_check.INTEGRAL, *_check.UNSIGNED)


def checked(index: Any, length: int, of: str) -> Any:
    """`index` as a slice that every tensor takes, an int, or a tensor of integers, none negative.

    IndexError where it is none of these.

    Only a plain int counts from the end: in a list or a tensor, -1 more often means "not found".
    TypeError for what is no list of rows by its kind, and might be taken for one; `of` names what
    is looked into.
    """
    if isinstance(index, slice):
        return _ascending(index, length)
    if isinstance(index, Integral) and not isinstance(index, bool):
        number = int(index)
        if not -length <= number < length:
            raise _out_of_range(number, length)
        return number % length
    if isinstance(index, tuple):
        raise TypeError(
            f"index must be one integer, slice, list or tensor, got a tuple of {len(index)}: for "
            f"several galaxies write {of}[[0, 1]]"
        )
    rows = _tensor(index, length)
    if rows.dtype == torch.bool:
        if rows.shape != (length,):
            raise IndexError(
                f"index, a mask, must have the shape {(length,)} of the galaxies, "
                f"got {tuple(rows.shape)}"
            )
        return rows.nonzero().squeeze(-1)
    if rows.numel() and rows.dtype not in ROWS:
        got = f"{rows.dtype}" if isinstance(index, Tensor) else _check.shown(index)
        raise IndexError(f"index must be of integers, a slice or a mask, got {got}")
    signed = rows.long()  # of NumPy's unsigned ones torch takes no least
    if signed.numel() and _check.can_read(signed):
        least, most = int(signed.min()), int(signed.max())
        if least < 0 and rows.dtype == torch.uint64:
            raise _out_of_range(least + 2**64, length)
        if least < 0:
            raise IndexError(
                f"index must not hold negative numbers, got {least}: leave out what was not "
                f"found, index[index >= 0]"
            )
        if most >= length:
            raise _out_of_range(most, length)
    return signed


def _tensor(index: Any, length: int) -> Tensor:
    """`index` as a tensor with values; IndexError or TypeError where it is none."""
    if isinstance(index, Tensor):
        if _check.dense("index", index).device.type == "meta":
            raise TypeError("index must have values, got a tensor on the device meta")
        return index
    _check.unmasked("index", index)
    kinds = _kinds(index)
    if {"flags", "rows"} <= kinds:
        raise IndexError(
            "index must be of integers, or a mask of bool, got a list of both: give one kind"
        )
    if isinstance(index, np.ndarray) and index.dtype.kind in "biu":  # big-endian or reversed, too
        index = index.astype(index.dtype.newbyteorder("="), order="C")
    try:
        if "bytes" not in kinds:
            return torch.as_tensor(index)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        pass
    if isinstance(index, list) and all(isinstance(row, Integral) for row in index):
        raise _out_of_range(max(index, key=abs), length)  # beyond 64 bits
    got = _check.shown(index)
    raise IndexError(f"index must be of integers, a slice or a mask, got {got}")


def _kinds(index: Any) -> set[str]:
    """Whether `index` has flags, rows or bytes in it, which torch would all take for rows."""
    if isinstance(index, Tensor | np.ndarray):
        return {"flags" if index.dtype in (torch.bool, np.dtype(bool)) else "rows"}
    if not _check.is_nested(type(index)):
        return {_kind(type(index))}
    types = set(map(type, index))
    if any(_check.is_nested(kind) or issubclass(kind, Tensor | np.ndarray) for kind in types):
        return set().union(*map(_kinds, index))
    return set(map(_kind, types))


def _kind(scalar: type) -> str:
    if issubclass(scalar, str | bytes | bytearray | memoryview):
        return "bytes"
    return "flags" if issubclass(scalar, bool | np.bool_) else "rows"


def _out_of_range(number: int, length: int) -> IndexError:
    return IndexError(f"index {_check.shown(number)} is out of range for {length} galaxies")


def _ascending(index: slice, length: int) -> Any:
    """The slice from 0 on, or its rows where it goes backwards, which no tensor takes."""
    try:
        if "flags" in _kinds((index.start, index.stop, index.step)):  # of which Python makes 0 or 1
            raise TypeError
        start, stop, step = index.indices(length)
    except (TypeError, ValueError):
        raise IndexError(
            f"index, a slice, must have integers in it, and no step of 0, got {index!r}"
        ) from None
    most = max(length, 1)  # of steps, to which one beyond 64 bits, which torch cuts, comes down
    if step > 0:
        return slice(start, max(start, stop), min(step, most))
    return torch.arange(start, min(start, stop), max(step, -most))
