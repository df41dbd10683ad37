"""Histogram of the probability integral transform: the paper's figures 1 to 3."""

import numpy as np
from matplotlib.axes import Axes
from scipy import stats
from torch import Tensor

from photoz_losses.plots._axes import axes_or_new


def plot_pit(pit: Tensor, *, n_bins: int = 20, ax: Axes | None = None) -> Axes:
    """Histogram of PIT values, against what a calibrated estimator gives.

    Engel & Strube (2023), appendix C, figures 1 to 3: flat on the line if calibrated, a valley if
    the densities are too narrow, a hill if too wide, a slope if biased. The grey band holds 95 % of
    the bars of a calibrated estimator with as many galaxies (binomial).

    Parameters
    ----------
    pit : Tensor, shape (N,)
        Values of `photoz_losses.metrics.pit`.
    n_bins : int
        Number of bars.
    ax : matplotlib Axes, optional
        Where to draw. Default: a new figure.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If there are no values, or one lies outside [0, 1] or is NaN.

    Examples
    --------
    >>> import torch
    >>> plot_pit(torch.linspace(0.0, 1.0, 200)).get_xlabel()
    'PIT'
    """
    values = pit.detach().cpu().double().numpy().ravel()
    if not len(values) or not ((values >= 0) & (values <= 1)).all():
        raise ValueError("pit must hold values in [0, 1], at least one and no NaN")
    ax = axes_or_new(ax, figsize=(5, 4))
    low, high = stats.binom.interval(0.95, len(values), 1 / n_bins)
    scale = n_bins / len(values)
    ax.axhspan(low * scale, high * scale, color="0.85", label="95 % if calibrated")
    edges = np.linspace(0, 1, n_bins + 1)
    ax.hist(values, edges.tolist(), density=True, color="tab:blue", alpha=0.8, edgecolor="white")
    ax.axhline(1, color="black", linewidth=1.5)
    ax.set(xlim=(0, 1), ylim=(0, 1.15 * ax.get_ylim()[1]))  # room for the legend
    ax.set(xlabel="PIT", ylabel="relative frequency")
    ax.legend(loc="upper right", frameon=False)
    return ax
