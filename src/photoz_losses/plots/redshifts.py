"""Predicted against true redshift, with outliers marked: the paper's figures 4 to 9."""

import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from photoz_losses import _check
from photoz_losses.plots._axes import ORANGE, VERMILLION, axes_or_new, numbers


def plot_redshifts(
    z_phot: Tensor,
    z_spec: Tensor,
    *,
    threshold: float = 0.15,
    low: Tensor | None = None,
    high: Tensor | None = None,
    bars: int = 40,
    ax: Axes | None = None,
) -> Axes:
    """Density of predicted against true redshifts, every outlier as a point.

    Engel & Strube (2023), appendix D, figures 4 to 6, with hexagonal counts in place of their
    kernel density estimate; with `low` and `high`, their figures 7 to 9.

    Parameters
    ----------
    z_phot, z_spec : Tensor, shape (N,)
        Point estimates and true redshifts.
    threshold : float
        An outlier's residual ``|z_phot - z_spec| / (1 + z_spec)`` exceeds this; the two dashed
        lines are drawn there.
    low, high : Tensor, shape (N,), optional
        Ends of an interval about each estimate, ``bins.quantile(probs, 0.05)`` and 0.95, say.
    bars : int
        Number of galaxies whose interval is drawn, at most, spread evenly over the true redshifts.
    ax : matplotlib Axes, optional
        Where to draw. Default: a new figure.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If the shapes disagree, there are no galaxies, or one end of the intervals is missing.

    Examples
    --------
    >>> import torch
    >>> z = torch.linspace(0.01, 0.4, 50)
    >>> plot_redshifts(z + 0.01, z).get_ylabel()
    'photometric redshift'
    """
    _check.same_shape("z_spec", z_spec, z_phot.shape, "z_phot")
    truth, guess = numbers(z_spec), numbers(z_phot)
    if not len(truth):
        raise ValueError("z_phot and z_spec are empty: there is nothing to draw")
    ax = axes_or_new(ax, figsize=(5.2, 5))
    start, end = min(truth.min(), guess.min(), 0.0), 1.02 * max(truth.max(), guess.max())
    outlier = np.abs(guess - truth) > threshold * (1 + truth)
    if not outlier.all():
        ax.hexbin(
            truth[~outlier],
            guess[~outlier],
            gridsize=int(np.clip(2 * len(truth) ** 0.4, 20, 90)),  # finer with more galaxies
            extent=(start, end, start, end),
            mincnt=1,
            cmap="viridis",
            linewidths=0.1,
        )
    if low is not None or high is not None:
        _draw_bars(ax, z_phot, z_spec, low, high, bars)
    line = np.array([start, end])
    ax.plot(line, line, color="black", linewidth=1)
    for sign in (-1, 1):
        ax.plot(line, line + sign * threshold * (1 + line), color="black", ls="--", linewidth=0.8)
    ax.plot(
        truth[outlier],
        guess[outlier],
        "o",
        color=VERMILLION,
        markersize=3,
        label=f"{outlier.sum()} outliers of {len(truth)}",
    )
    ax.set(xlim=(start, end), ylim=(start, end), aspect="equal")
    ax.set(xlabel="spectroscopic redshift", ylabel="photometric redshift")
    ax.legend(loc="upper left", frameon=True, framealpha=0.9)
    return ax


def _draw_bars(
    ax: Axes, z_phot: Tensor, z_spec: Tensor, low: Tensor | None, high: Tensor | None, bars: int
) -> None:
    """Vertical bars from `low` to `high` for some galaxies, a point at each estimate."""
    if low is None or high is None:
        raise ValueError("low and high belong together: give both ends of the intervals, or none")
    _check.same_shape("low", low, z_phot.shape, "z_phot")
    _check.same_shape("high", high, z_phot.shape, "z_phot")
    truth, guess, lower, upper = (numbers(z) for z in (z_spec, z_phot, low, high))
    order = truth.argsort(kind="stable")
    places = np.linspace(truth.min(), truth.max(), bars)
    some = order[np.unique(np.searchsorted(truth[order], places))]
    ax.vlines(truth[some], lower[some], upper[some], color=ORANGE, linewidth=1)
    ax.plot(truth[some], guess[some], ".", color=ORANGE, markersize=4)
