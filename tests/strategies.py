"""Grids, masses, logits and redshifts; hypothesis draws every number, so that failures shrink."""

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from photoz_losses import RedshiftBins


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(array, dtype=np.float64))


@st.composite
def redshift_bins(draw, min_bins: int = 2, max_bins: int = 12) -> RedshiftBins:
    """Any increasing edges: widths that differ by up to a factor of 1,000."""
    n_bins = draw(st.integers(min_bins, max_bins))
    widths = draw(hnp.arrays(float, n_bins, elements=st.floats(1e-3, 1.0)))
    start = draw(st.floats(0.0, 2.0))
    return RedshiftBins(start + np.concatenate([[0.0], widths.cumsum()]))


@st.composite
def masses(draw, n_bins: int, batch: int | None = None) -> Tensor:
    """Probabilities, zeros and one-hot rows among them; shape (batch, n_bins), float64."""
    batch = draw(st.integers(1, 5)) if batch is None else batch
    element = st.one_of(st.just(0.0), st.floats(1e-6, 1.0))
    raw = _tensor(draw(hnp.arrays(float, (batch, n_bins), elements=element)))
    raw[:, draw(st.integers(0, n_bins - 1))] += 0.1
    return raw / raw.sum(-1, keepdim=True)


@st.composite
def logits(draw, n_bins: int, batch: int | None = None, size: float = 30.0) -> Tensor:
    """Logits that no one takes for probabilities; shape (batch, n_bins), float64."""
    batch = draw(st.integers(1, 5)) if batch is None else batch
    values = _tensor(draw(hnp.arrays(float, (batch, n_bins), elements=st.floats(-size, size))))
    return values - values.max(-1, keepdim=True).values - 1  # softmax does not see the shift


@st.composite
def redshifts(draw, bins: RedshiftBins, batch: int) -> Tensor:
    """Redshifts within the bins, edges among them; shape (batch,), float64."""
    place = draw(hnp.arrays(float, batch, elements=st.floats(0.0, 1.0)))
    low, high = bins.edges[0], bins.edges[-1]
    drawn = (low + _tensor(place) * (high - low)).clamp(low, high)
    edge = bins.edges[draw(st.integers(0, len(bins)))]
    return torch.where(torch.tensor(draw(st.booleans())), edge, drawn)


@st.composite
def graded(draw, min_bins: int = 2, max_bins: int = 12):
    """Bins with a batch of masses and true redshifts on them."""
    bins = draw(redshift_bins(min_bins, max_bins))
    probs = draw(masses(len(bins)))
    return bins, probs, draw(redshifts(bins, len(probs)))


@st.composite
def trained(draw, min_bins: int = 2, max_bins: int = 12):
    """Bins with a batch of logits and true redshifts on them."""
    bins = draw(redshift_bins(min_bins, max_bins))
    values = draw(logits(len(bins)))
    return bins, values, draw(redshifts(bins, len(values)))
