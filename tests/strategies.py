"""Grids, masses, logits and redshifts; hypothesis draws every number, so that failures shrink.

What depends on sizes alone is made once for each: hypothesis looks a new strategy through before it
draws from it, and that takes longer than the draw.
"""

from functools import cache
from math import prod

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from photoz_losses import RedshiftBins

Shape = int | tuple[int, ...]


@cache
def fractions(shape: Shape) -> st.SearchStrategy[np.ndarray]:
    """Numbers from 0 to 1, each end one time in sixteen; hypothesis shrinks them towards 0.

    Drawn in one piece: one by one, an array takes hypothesis longer than most tests take with it.
    """
    size = shape if isinstance(shape, int) else prod(shape)

    def numbers(drawn: bytes) -> np.ndarray:
        spread = np.frombuffer(drawn, ">u2") / 0xFFFF
        return (spread * 8 / 7 - 1 / 14).clip(0, 1).reshape(shape)

    return st.binary(min_size=2 * size, max_size=2 * size).map(numbers)


@cache
@st.composite
def redshift_bins(draw, min_bins: int = 2, max_bins: int = 12) -> RedshiftBins:
    """Any increasing edges: widths that differ by up to a factor of 1,000."""
    widths = 10 ** (-3 * draw(fractions(draw(st.integers(min_bins, max_bins)))))
    start = draw(st.floats(0.0, 2.0))
    return RedshiftBins(start + np.concatenate([[0.0], widths.cumsum()]))


@cache
@st.composite
def masses(draw, n_bins: int, batch: int | None = None) -> Tensor:
    """Probabilities, zeros and one-hot rows among them; shape (batch, n_bins), float64."""
    batch = draw(st.integers(1, 5)) if batch is None else batch
    size, given = draw(fractions((2, batch, n_bins)))
    raw = torch.from_numpy(np.where(given > 0.5, 10 ** (-6 * size), 0.0))
    raw[:, draw(st.integers(0, n_bins - 1))] += 0.1
    return raw / raw.sum(-1, keepdim=True)


@cache
@st.composite
def logits(draw, n_bins: int, batch: int | None = None, size: float = 30.0) -> Tensor:
    """Logits that no one takes for probabilities; shape (batch, n_bins), float64."""
    batch = draw(st.integers(1, 5)) if batch is None else batch
    values = torch.from_numpy(size * (1 - 2 * draw(fractions((batch, n_bins)))))
    return values - values.max(-1, keepdim=True).values - 1  # softmax does not see the shift


@st.composite
def redshifts(draw, bins: RedshiftBins, batch: int) -> Tensor:
    """Redshifts within the bins, edges among them; shape (batch,), float64."""
    low, high = bins.edges[0], bins.edges[-1]
    drawn = (low + torch.from_numpy(draw(fractions(batch))) * (high - low)).clamp(low, high)
    edge = bins.edges[draw(st.integers(0, len(bins)))]
    return torch.where(torch.tensor(draw(st.booleans())), edge, drawn)


@cache
@st.composite
def graded(draw, min_bins: int = 2, max_bins: int = 12):
    """Bins with a batch of masses and true redshifts on them."""
    bins = draw(redshift_bins(min_bins, max_bins))
    probs = draw(masses(len(bins)))
    return bins, probs, draw(redshifts(bins, len(probs)))


@cache
@st.composite
def trained(draw, min_bins: int = 2, max_bins: int = 12):
    """Bins with a batch of logits and true redshifts on them."""
    bins = draw(redshift_bins(min_bins, max_bins))
    values = draw(logits(len(bins)))
    return bins, values, draw(redshifts(bins, len(values)))
