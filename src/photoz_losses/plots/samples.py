"""Redshift distribution of the whole sample: stacked densities against true redshifts."""

import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from photoz_losses import _check
from photoz_losses.bins import RedshiftBins
from photoz_losses.plots._axes import BAND, BLUE, axes_or_new, vector


def plot_nz(probs: Tensor, z_spec: Tensor, bins: RedshiftBins, *, ax: Axes | None = None) -> Axes:
    """Mean of all densities, the stacked N(z), against the histogram of the true redshifts.

    The stack of calibrated densities is not the true N(z) unless they carry the right prior: a
    difference of width alone says little, one of the mean does. The histogram takes as many of the
    bins together as give it 30 galaxies a column on average, but no more than leave ten columns.

    Parameters
    ----------
    probs : Tensor, shape (N, C)
        Masses per bin.
    z_spec : Tensor, shape (N,)
        True redshifts, within the bins.
    bins : RedshiftBins
        The C bins.
    ax : matplotlib Axes, optional
        Where to draw. Default: a new figure.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If there are no galaxies, `probs` is not two-dimensional, shapes disagree, a redshift lies
        outside the bins, or rows are no masses.
    TypeError
        If `probs` or `z_spec` is no floating-point tensor, `bins` no RedshiftBins, or `ax` no Axes.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses import RedshiftBins
    >>> from photoz_losses.plots import plot_nz
    >>> bins = RedshiftBins.uniform(0.0, 0.4, 4)
    >>> plot_nz(torch.full((3, 4), 0.25), torch.tensor([0.1, 0.2, 0.2]), bins).get_xlabel()
    'redshift'
    """
    _check.instance("bins", bins, RedshiftBins)
    if _check.floating("probs", probs).ndim != 2 or not len(probs):
        raise ValueError(f"probs must have shape (galaxies, bins), got {tuple(probs.shape)}")
    density = bins.density(probs)
    bins.locate(z_spec, probs.shape[:-1])
    ax = axes_or_new(ax, figsize=(5.4, 4))
    edges, truth = vector("edges", bins.edges), vector("z_spec", z_spec)
    together = max(1, min(-(-30 * len(bins) // len(truth)), len(bins) // 10))
    wide = np.append(edges[:-1:together], edges[-1])
    counts = np.histogram(truth.clip(edges[0], edges[-1]), wide)[0]
    columns = counts / np.diff(wide) / len(truth)
    ax.stairs(columns, wide, fill=True, color=BAND, label="spectroscopic redshifts")
    stacked = vector("probs", density.mean(0))
    ax.stairs(stacked, edges, color=BLUE, linewidth=1.6, label="stacked densities")
    ax.set(xlim=(edges[0], edges[-1]), ylim=(0, 1.22 * ax.get_ylim()[1]))  # room for the legend
    ax.set(xlabel="redshift", ylabel="share of galaxies per unit redshift")
    ax.legend(loc="upper right", frameon=False)
    return ax
