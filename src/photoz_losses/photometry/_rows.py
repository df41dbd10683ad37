"""Which rows of a table or of spectra an index asks for."""

from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from photoz_losses import _check


def checked(index: Any, length: int) -> Any:
    """`index` as a slice, an int, or a tensor of integers, none negative; IndexError otherwise.

    Only a plain int counts from the end: in a list or a tensor, -1 more often means "not found".
    """
    if isinstance(index, slice):
        return _ascending(index, length)
    if isinstance(index, Integral) and not isinstance(index, bool):
        number = int(index)
        if not -length <= number < length:
            raise IndexError(f"index {number} is out of range for {length} galaxies")
        return number % length
    try:
        rows = torch.as_tensor(index)
    except (TypeError, ValueError, RuntimeError):
        rows = torch.tensor(torch.nan)
    if rows.dtype == torch.bool:
        if rows.shape != (length,):
            raise IndexError(
                f"index, a mask, must have the shape {(length,)} of the galaxies, "
                f"got {tuple(rows.shape)}"
            )
        return rows.nonzero().squeeze(-1)
    if rows.numel() and (rows.is_floating_point() or rows.is_complex()):
        got = f"{rows.dtype}" if isinstance(index, Tensor) else _check.shown(index)
        raise IndexError(f"index must be of integers, a slice or a mask, got {got}")
    rows = rows.long()  # of NumPy's unsigned ones torch takes no least
    if rows.numel() and _check.can_read(rows):
        least, most = int(rows.min()), int(rows.max())
        if least < 0:
            raise IndexError(
                f"index must not hold negative numbers, got {least}: leave out what was not "
                f"found, index[index >= 0]"
            )
        if most >= length:
            raise IndexError(f"index {most} is out of range for {length} galaxies")
    return rows


def _ascending(index: slice, length: int) -> Any:
    """The slice itself, or its rows where it goes backwards, which no tensor takes."""
    try:
        start, stop, step = index.indices(length)
    except (TypeError, ValueError):
        raise IndexError(
            f"index, a slice, must have integers in it, and no step of 0, got {index!r}"
        ) from None
    return index if step > 0 else torch.arange(start, stop, step)
