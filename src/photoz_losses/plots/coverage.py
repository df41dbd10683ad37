"""How often intervals of each nominal level hold the true redshift."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from scipy import stats

from photoz_losses import _check
from photoz_losses.plots._axes import BLUE, EDGED, GREEN, VERMILLION, axes_or_new, text, vector


def plot_coverage(
    level: Any,
    coverage: Any,
    *,
    galaxies: int | None = None,
    label: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Share of galaxies whose interval of each level holds the truth, against the level.

    On the diagonal if calibrated, below it if the intervals are too short (over-confident), above
    it if too long. Draw central and highest-density intervals on the same Axes by calling twice.

    Parameters
    ----------
    level : Tensor or array, shape (L,)
        Nominal levels, in [0, 1].
    coverage : Tensor or array, shape (L,)
        Shares of galaxies, in [0, 1].
    galaxies : int, optional
        Their number: draws the grey band that holds 95 % of the shares, level by level, of a
        calibrated estimator (binomial).
    label : str, optional
        Name of the line in the legend.
    ax : matplotlib Axes, optional
        Where to draw. Default: a new figure.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If the two are no vectors, are empty or have different lengths, a number lies outside [0, 1]
        or is NaN, ``galaxies`` is less than 1, or `label` holds NUL, a lone surrogate or
        mathematics that cannot be drawn.
    TypeError
        If they are no numbers, ``galaxies`` is no integer, `label` no str, or `ax` no Axes.

    Examples
    --------
    >>> from photoz_losses.plots import plot_coverage
    >>> plot_coverage([0.5, 0.68, 0.95], [0.45, 0.6, 0.9]).get_xlabel()
    'nominal level'
    """
    level, coverage = vector("level", level), vector("coverage", coverage)
    if len(level) != len(coverage):
        raise ValueError(f"level and coverage must agree, got {len(level)} and {len(coverage)}")
    if not len(level):
        raise ValueError("level and coverage are empty: there is nothing to draw")
    for name, value in (("level", level), ("coverage", coverage)):
        if not ((value >= 0) & (value <= 1)).all():
            raise ValueError(f"{name} must lie in [0, 1]: give shares, not percentages, and no NaN")
    if galaxies is not None:
        _check.count("galaxies", galaxies, 1)
    label = None if label is None else text("label", label)
    ax = axes_or_new(ax, figsize=(4.4, 4.2))
    if galaxies is not None:
        grid = np.linspace(0, 1, 201)
        low, high = (end / galaxies for end in stats.binom.interval(0.95, galaxies, grid))
        ax.fill_between(grid, low, high, **EDGED, label="95 % if calibrated")
    if not ax.lines:
        ax.plot([0, 1], [0, 1], color="black", linewidth=1)
    color, marker = ((BLUE, "o"), (VERMILLION, "s"), (GREEN, "^"))[(len(ax.lines) - 1) % 3]
    ax.plot(level, coverage, color=color, marker=marker, markersize=3, linewidth=1.5, label=label)
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    ax.set(xlabel="nominal level", ylabel="share of galaxies inside the interval")
    if ax.get_legend_handles_labels()[0]:
        above = sum(np.subtract(*line.get_data()[::-1]).sum() for line in ax.lines)
        ax.legend(loc="lower right" if above > 0 else "upper left", frameon=False)
    return ax
