"""A metric against redshift, magnitude or any other column."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from photoz_losses import _check
from photoz_losses.plots._axes import BAND, BLUE, axes_or_new, text, vector

LARGEST = 1e300  # of a number: a width, with room about it, is to fit in float64


def plot_binned(
    edges: Any,
    values: Any,
    *,
    errors: Any | None = None,
    counts: Any | None = None,
    xlabel: str = "spectroscopic redshift",
    ylabel: str = "metric",
    ax: Axes | None = None,
) -> Axes:
    """A metric in each bin of a column, with its standard error and the number of galaxies.

    Parameters
    ----------
    edges : Tensor or array, shape (K + 1,)
        Increasing edges of the bins in which the metric was taken.
    values : Tensor or array, shape (K,)
        The metric in each; NaN (a bin without galaxies) leaves a gap.
    errors : Tensor or array, shape (K,), optional
        Standard errors, drawn as bars of one each way.
    counts : Tensor or array, shape (K,), optional
        Galaxies in each bin: grey columns, on an axis of their own to the right.
    xlabel, ylabel : str
        What the column and the metric are, with their units.
    ax : matplotlib Axes, optional
        Where to draw. Default: a new figure.

    Returns
    -------
    matplotlib Axes
        That of the metric.

    Raises
    ------
    ValueError
        If the edges do not increase or are infinite, a finite number is beyond 1e300, the other
        arguments are not one number a bin, an error is negative, or a count negative, NaN or
        infinite; if a label holds NUL, a lone surrogate or mathematics that cannot be drawn.
    TypeError
        If one of them is no numbers, a label no str, or `ax` no Axes.

    Examples
    --------
    >>> from photoz_losses.plots import plot_binned
    >>> plot_binned([0.0, 0.1, 0.4], [0.01, 0.03], ylabel="MAD").get_ylabel()
    'MAD'
    """
    edges, values = _check.increasing("edges", edges, at_least=2).numpy(), vector("values", values)
    others = {"errors": errors, "counts": counts}
    given = {name: vector(name, value) for name, value in others.items() if value is not None}
    for name, value in ({"edges": edges, "values": values} | given).items():
        if (most := np.abs(value[np.isfinite(value)]).max(initial=0)) > LARGEST:
            raise ValueError(f"{name} must lie within -1e300 and 1e300, got one of size {most:g}")
    for name, value in ({"values": values} | given).items():
        if len(value) != len(edges) - 1:
            raise ValueError(
                f"{name} must hold one number a bin, {len(edges) - 1}, got {len(value)}: give one "
                f"edge more than values"
            )
    if errors is not None and (given["errors"] < 0).any():
        raise ValueError("errors must not be negative: give standard errors, NaN where unknown")
    if counts is not None and not ((given["counts"] >= 0) & np.isfinite(given["counts"])).all():
        raise ValueError("counts must be finite and not negative: give numbers of galaxies")
    xlabel, ylabel = text("xlabel", xlabel), text("ylabel", ylabel)
    ax = axes_or_new(ax, figsize=(5.4, 3.6))
    if "counts" in given:
        _draw_counts(ax, edges, given["counts"])
    centers, halves = (edges[1:] + edges[:-1]) / 2, np.diff(edges) / 2
    ax.errorbar(
        centers, values, given.get("errors"), halves,
        fmt="o", color=BLUE, markersize=4, linewidth=1.3, capsize=2,
    )  # fmt: skip
    if np.nanmin(values, initial=0) < 0 < np.nanmax(values, initial=0):
        ax.axhline(0, color="black", linewidth=0.8)
    ax.set(xlim=(edges[0], edges[-1]), xlabel=xlabel, ylabel=ylabel)
    return ax


def _draw_counts(ax: Axes, edges: np.ndarray, counts: np.ndarray) -> None:
    """Grey columns behind, with an axis of their own."""
    behind = ax.twinx()
    behind.stairs(counts, edges, fill=True, color=BAND)
    most = max(counts.max(), 1)
    ticks = MaxNLocator(3, integer=True).tick_values(0, most)  # none above the columns
    behind.set(ylim=(0, 3 * most), yticks=ticks[ticks <= most], ylabel="galaxies in the bin")
    behind.yaxis.label.set_color("0.5")
    behind.tick_params(axis="y", colors="0.5")
    ax.set_zorder(behind.get_zorder() + 1)
    ax.patch.set_visible(False)
