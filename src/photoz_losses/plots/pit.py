"""The probability integral transform: histogram (the paper's figures 1 to 3) and P–P curve."""

import numpy as np
from matplotlib.axes import Axes
from scipy import stats
from torch import Tensor

from photoz_losses import _check
from photoz_losses.plots._axes import BLUE, EDGED, axes_or_new, pit_values


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
        If ``pit`` is no vector, has no values, one lies outside [0, 1] or is NaN, or
        `n_bins` is less than 2.
    TypeError
        If ``pit`` is no numbers, `n_bins` no integer, or `ax` no Axes.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses.plots import plot_pit
    >>> plot_pit(torch.linspace(0.0, 1.0, 200)).get_xlabel()
    'PIT'
    """
    values = pit_values(pit)
    _check.count("n_bins", n_bins, 2)
    ax = axes_or_new(ax, figsize=(5, 4))
    low, high = stats.binom.interval(0.95, len(values), 1 / n_bins)
    scale = n_bins / len(values)
    ax.axhspan(
        low * scale, high * scale,
        color="black", alpha=0.2, linewidth=0, zorder=2, label="95 % if calibrated",
    )  # fmt: skip
    edges = np.linspace(0, 1, n_bins + 1)
    ax.hist(
        values, edges.tolist(), density=True, color=BLUE, alpha=0.8, edgecolor="white", zorder=1
    )
    ax.axhline(1, color="black", linewidth=1.5)
    ax.set(xlim=(0, 1), ylim=(0, 1.15 * ax.get_ylim()[1]))  # room for the legend
    ax.set(xlabel="PIT", ylabel="relative frequency")
    ax.legend(loc="upper right", frameon=False)
    return ax


def plot_pp(pit: Tensor, *, ax: Axes | None = None) -> Axes:
    """P–P curve: the share of PIT values below each level, against the level.

    On the diagonal if calibrated, S-shaped (first above, then below) if the densities are too
    narrow, the other way round if too wide, above throughout if they lie at too high redshifts. The
    grey band belongs to the Kolmogorov–Smirnov test: 95 % of the curves of a calibrated estimator
    with as many galaxies lie in it from end to end.

    Parameters
    ----------
    pit : Tensor, shape (N,)
        Values of `photoz_losses.metrics.pit`.
    ax : matplotlib Axes, optional
        Where to draw. Default: a new figure.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If ``pit`` is no vector, has no values, or one lies outside [0, 1] or is NaN.
    TypeError
        If ``pit`` is no numbers, or `ax` no Axes.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses.plots import plot_pp
    >>> plot_pp(torch.linspace(0.0, 1.0, 200)).get_ylabel()
    'share of galaxies with PIT below'
    """
    values = np.sort(pit_values(pit))
    ax = axes_or_new(ax, figsize=(4.4, 4.2))
    level = np.linspace(0, 1, 1001)
    share = np.searchsorted(values, level, side="right") / len(values)
    reach = stats.kstwo.ppf(0.95, len(values))
    low, high = (level - reach).clip(0), (level + reach).clip(max=1)
    ax.fill_between(level, low, high, **EDGED, label="95 % if calibrated")
    ax.plot([0, 1], [0, 1], color="black", linewidth=1)
    ax.plot(level, share, color=BLUE, linewidth=1.2)
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    ax.set(xlabel="PIT", ylabel="share of galaxies with PIT below")
    ax.legend(loc="lower right" if share.mean() > 0.5 else "upper left", frameon=False)
    return ax
