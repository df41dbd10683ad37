"""Densities of one galaxy under many views: the paper's figures 10 to 12."""

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from torch import Tensor

from photoz_losses.bins import RedshiftBins
from photoz_losses.plots._axes import axes_or_new


def plot_densities(
    probs: Tensor,
    bins: RedshiftBins,
    *,
    z_spec: float | Tensor | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Densities of one galaxy, one line a view, and its true redshift.

    Engel & Strube (2023), appendix E, figures 10 to 12: twenty random rotations and backgrounds of
    the same galaxy. Lines that do not lie on one another show what the network should not see.

    Parameters
    ----------
    probs : Tensor, shape (V, C)
        Masses per bin for each view.
    bins : RedshiftBins
        The C bins.
    z_spec : float, optional
        True redshift, a dashed line.
    ax : matplotlib Axes, optional
        Where to draw. Default: a new figure.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If `probs` is not two-dimensional, or rows are no masses.

    Examples
    --------
    >>> import torch
    >>> bins = RedshiftBins.uniform(0.0, 0.4, 4)
    >>> plot_densities(torch.full((3, 4), 0.25), bins, z_spec=0.1).get_xlabel()
    'redshift'
    """
    if probs.ndim != 2:
        raise ValueError(f"probs must have shape (views, bins), got {tuple(probs.shape)}")
    ax = axes_or_new(ax, figsize=(5, 4))
    edges = bins.edges.cpu().numpy()
    shades = colormaps["viridis"](np.linspace(0, 0.9, len(probs)))
    for density, shade in zip(bins.density(probs).detach().cpu().numpy(), shades, strict=True):
        ax.stairs(density, edges, color=shade, alpha=0.7, linewidth=0.8)
    if z_spec is not None:
        ax.axvline(float(z_spec), color="tab:red", linestyle="--", linewidth=1.2)
    ax.set(xlim=(edges[0], edges[-1]), ylim=(0, None), xlabel="redshift", ylabel="density")
    return ax
