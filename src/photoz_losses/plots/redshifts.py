"""Predicted against true redshift, with outliers marked: the paper's figures 4 to 9."""

import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from photoz_losses import _check
from photoz_losses.plots._axes import axes_or_new


def plot_redshifts(
    z_phot: Tensor, z_spec: Tensor, *, threshold: float = 0.15, ax: Axes | None = None
) -> Axes:
    """Density of predicted against true redshifts, every outlier as a point.

    Engel & Strube (2023), appendix D, figures 4 to 6, with hexagonal counts in place of their
    kernel density estimate.

    Parameters
    ----------
    z_phot, z_spec : Tensor, shape (N,)
        Point estimates and true redshifts.
    threshold : float
        An outlier's residual ``|z_phot - z_spec| / (1 + z_spec)`` exceeds this; the two dashed
        lines are drawn there.
    ax : matplotlib Axes, optional
        Where to draw. Default: a new figure.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If the shapes disagree or there are no galaxies.

    Examples
    --------
    >>> import torch
    >>> z = torch.linspace(0.01, 0.4, 50)
    >>> plot_redshifts(z + 0.01, z).get_ylabel()
    'photometric redshift'
    """
    _check.same_shape("z_spec", z_spec, z_phot.shape, "z_phot")
    truth, guess = (z.detach().cpu().double().numpy().ravel() for z in (z_spec, z_phot))
    if not len(truth):
        raise ValueError("z_phot and z_spec are empty: there is nothing to draw")
    ax = axes_or_new(ax, figsize=(5.2, 5))
    low, high = min(truth.min(), guess.min(), 0.0), 1.02 * max(truth.max(), guess.max())
    outlier = np.abs(guess - truth) > threshold * (1 + truth)
    if not outlier.all():
        ax.hexbin(
            truth[~outlier],
            guess[~outlier],
            gridsize=int(np.clip(2 * len(truth) ** 0.4, 20, 90)),  # finer with more galaxies
            extent=(low, high, low, high),
            mincnt=1,
            cmap="viridis",
            linewidths=0.1,
        )
    line = np.array([low, high])
    ax.plot(line, line, color="black", linewidth=1)
    for sign in (-1, 1):
        ax.plot(line, line + sign * threshold * (1 + line), color="black", ls="--", linewidth=0.8)
    ax.plot(
        truth[outlier],
        guess[outlier],
        "o",
        color="tab:red",
        markersize=3,
        label=f"{outlier.sum()} outliers of {len(truth)}",
    )
    ax.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    ax.set(xlabel="spectroscopic redshift", ylabel="photometric redshift")
    ax.legend(loc="lower right", frameon=False)
    return ax
