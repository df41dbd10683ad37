"""Rows of masses, as files and qp take them."""

from typing import Any

import numpy.typing as npt
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
