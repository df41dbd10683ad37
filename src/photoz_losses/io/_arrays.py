"""Tensors as arrays, and rows of masses, as files and qp take them."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from photoz_losses import _check
from photoz_losses.bins import RedshiftBins

Array = npt.NDArray[Any]


def read_rows(probs: Tensor, bins: RedshiftBins) -> Tensor:
    """`probs` itself if it is one row of masses a galaxy."""
    _check.instance("bins", bins, RedshiftBins).read_probs(probs)
    if probs.ndim != 2:
        raise ValueError(f"probs must have shape (galaxies, bins), got {tuple(probs.shape)}")
    return probs


def to_array(name: str, value: Any) -> Array:
    """NumPy array of a tensor or of anything like an array without unit; bfloat16 as float32."""
    if isinstance(value, Tensor):
        value = _check.dense(name, value).detach().cpu()
        value = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    value = _check.without_unit(name, _check.unmasked(name, value))
    try:
        array: Array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name}: rows of unequal lengths are no array: {error}") from None
    return array
