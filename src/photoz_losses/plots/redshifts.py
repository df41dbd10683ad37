"""Predicted against true redshift, with outliers marked: the paper's figures 4 to 9."""

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from photoz_losses import _check
from photoz_losses.plots._axes import ORANGE, VERMILLION, axes_or_new, vector

Array = npt.NDArray[np.float64]
BLUES = ListedColormap(colormaps["Blues"](np.linspace(0.3, 1, 256)))  # one galaxy is seen on white


def plot_redshifts(
    z_phot: Tensor,
    z_spec: Tensor,
    *,
    threshold: float = 0.15,
    low: Tensor | None = None,
    high: Tensor | None = None,
    bars: int = 20,
    ax: Axes | None = None,
) -> Axes:
    """Density of predicted against true redshifts, every outlier as a point.

    Engel & Strube (2023), appendix D, figures 4 to 6, with hexagonal counts in place of their
    kernel density estimate; with `low` and `high`, their figures 7 to 9: the intervals of some
    outliers, and here of some other galaxies beside them. Above the Axes stand the number of
    outliers and the scale of the counts, where they cover no galaxy; both belong to `ax`, take none
    of its room, and a title goes above them. Rows of Axes make room with ``layout="constrained"``.

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
        Number of outliers whose interval is drawn, and of other galaxies, at most; each spread
        evenly over the true redshifts.
    ax : matplotlib Axes, optional
        Where to draw. Default: a new figure.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If the shapes disagree or are no vectors, there are no galaxies, a redshift or an end of an
        interval is NaN or infinite, a true redshift is -1 or less, one end is missing or above the
        other, `threshold` does not lie between 0 and 1, or `bars` is negative.
    TypeError
        If a redshift or an end is no floating-point tensor, `threshold` no number, `bars` no
        integer, or `ax` no Axes.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses.plots import plot_redshifts
    >>> z = torch.linspace(0.01, 0.4, 50)
    >>> plot_redshifts(z + 0.01, z).get_ylabel()
    'photometric redshift'
    """
    _check.fraction("threshold", threshold)
    return draw_redshifts(z_phot, z_spec, threshold, low=low, high=high, bars=bars, ax=ax)


def draw_redshifts(
    z_phot: Tensor,
    z_spec: Tensor,
    threshold: float,
    *,
    low: Tensor | None = None,
    high: Tensor | None = None,
    bars: int = 20,
    ax: Axes | None = None,
) -> Axes:
    """`plot_redshifts` at any positive threshold: RAIL's grows with the scatter, beyond 1 too."""
    _check.floating("z_phot", z_phot)
    _check.same_shape("z_spec", _check.floating("z_spec", z_spec), z_phot.shape, "z_phot")
    truth, guess = vector("z_spec", z_spec), vector("z_phot", z_phot)
    if not len(truth):
        raise ValueError("z_phot and z_spec are empty: there is nothing to draw")
    if unknown := int((~np.isfinite(truth) | ~np.isfinite(guess)).sum()):
        raise ValueError(
            f"z_phot and z_spec must be finite, got NaN or infinity for {unknown} of {len(truth)}: "
            f"drop those galaxies, and say so"
        )
    if (least := truth.min()) <= -1:
        raise ValueError(f"z_spec must lie above -1, got {least:g}: drop those galaxies")
    _check.count("bars", bars, 0)
    interval = _interval(z_phot, low, high)
    ax = axes_or_new(ax, figsize=(5.2, 5.4))
    start, end = min(truth.min(), guess.min(), 0.0), 1.05 * max(truth.max(), guess.max(), 0.01)
    outlier = np.abs(guess - truth) > threshold * (1 + truth)
    if not outlier.all():
        _draw_counts(ax, truth[~outlier], guess[~outlier], (start, end))
    line = np.array([start, end])
    ax.plot(line, line, color="black", linewidth=1)
    for sign in (-1, 1):
        ax.plot(line, line + sign * threshold * (1 + line), color="black", ls="--", linewidth=0.8)
    if interval is not None:
        for kind, color in ((~outlier, ORANGE), (outlier, VERMILLION)):
            _draw_bars(ax, np.stack((truth, guess, *interval))[:, kind], bars, color)
    found = int(outlier.sum())
    label = f"{found:,} {'outlier' if found == 1 else 'outliers'} of {len(truth):,}"
    ax.plot(truth[outlier], guess[outlier], "o", color=VERMILLION, markersize=3, label=label)
    ax.set(xlim=(start, end), ylim=(start, end), aspect="equal")
    ax.set(xlabel="spectroscopic redshift", ylabel="photometric redshift")
    above: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0}
    # without a colour bar nothing keeps a title off what stands above the Axes
    ax.legend(**{"loc": "best"} if outlier.all() else above, frameon=False, handletextpad=0)
    return ax


def _draw_counts(ax: Axes, truth: Array, guess: Array, span: tuple[float, float]) -> None:
    """Galaxies per hexagonal cell, and above the Axes what the colours mean."""
    cells = ax.hexbin(
        truth,
        guess,
        gridsize=int(np.clip(2 * len(truth) ** 0.4, 40, 90)),  # finer with more galaxies
        extent=(*span, *span),
        mincnt=1,
        cmap=BLUES,
        linewidths=0.1,
    )
    cells.set_clim(1, max(2, cells.get_clim()[1]))
    # an inset takes no room from the Axes, so that those of a grid stay of one size
    ax.figure.colorbar(
        cells, cax=ax.inset_axes((0.55, 1.02, 0.45, 0.03)),
        orientation="horizontal", ticklocation="top",
        ticks=MaxNLocator(4, integer=True), label="galaxies per cell",
    )  # fmt: skip


def _interval(
    z_phot: Tensor, low: Tensor | None, high: Tensor | None
) -> tuple[Array, Array] | None:
    """Both ends as vectors, or None where neither is given."""
    if low is None and high is None:
        return None
    if low is None or high is None:
        raise ValueError("low and high belong together: give both ends of the intervals, or none")
    for name, end in (("low", low), ("high", high)):
        _check.same_shape(name, _check.floating(name, end), z_phot.shape, "z_phot")
    below, above = vector("low", low), vector("high", high)
    if not (np.isfinite(below) & np.isfinite(above)).all():
        raise ValueError("low and high must be finite, got NaN or infinity: drop those galaxies")
    if swapped := int((below > above).sum()):
        raise ValueError(
            f"low must not exceed high, which it does for {swapped} of {len(below)}: low is the "
            f"lower end"
        )
    return below, above


def _draw_bars(ax: Axes, galaxies: Array, bars: int, color: str) -> None:
    """Vertical bars from `low` to `high` for some of the galaxies, a point at each estimate."""
    truth, guess, low, high = galaxies
    if not len(truth):
        return
    order = truth.argsort(kind="stable")
    places = np.linspace(truth.min(), truth.max(), bars)
    some = order[np.unique(np.searchsorted(truth[order], places))]
    ax.vlines(truth[some], low[some], high[some], color=color, linewidth=1)
    ax.plot(truth[some], guess[some], ".", color=color, markersize=4)
