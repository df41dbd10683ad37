"""Densities of one galaxy under many views, and its image: the paper's figures 10 to 12."""

from collections.abc import Sequence
from numbers import Integral

import numpy as np
import numpy.typing as npt
import torch
from matplotlib import colormaps, pyplot
from matplotlib.axes import Axes
from torch import Tensor

from photoz_losses import _check
from photoz_losses.bins import RedshiftBins
from photoz_losses.plots._axes import VERMILLION, axes_or_new

Array = npt.NDArray[np.float64]


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
        True redshift, a dashed line; within the bins.
    ax : matplotlib Axes, optional
        Where to draw. Default: a new figure.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If `probs` is not two-dimensional or has no rows, rows are no masses, or `z_spec` is more
        than one number, NaN or outside the bins.
    TypeError
        If `probs` is no floating-point tensor, `bins` no RedshiftBins, `z_spec` no number, or `ax`
        no Axes.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses import RedshiftBins
    >>> from photoz_losses.plots import plot_densities
    >>> bins = RedshiftBins.uniform(0.0, 0.4, 4)
    >>> plot_densities(torch.full((3, 4), 0.25), bins, z_spec=0.1).get_xlabel()
    'redshift'
    """
    curves = _curves(probs, bins, z_spec)
    return _draw(axes_or_new(ax, figsize=(5, 4)), *curves)


def plot_gallery(
    image: Tensor,
    probs: Tensor,
    bins: RedshiftBins,
    *,
    z_spec: float | Tensor | None = None,
    rgb: Sequence[int] | None = None,
    axes: Sequence[Axes] | None = None,
) -> tuple[Axes, Axes]:
    """Cut-out of a galaxy, and beside it its densities under many views.

    One row of Engel & Strube (2023), figures 10 to 12. The image is stretched by an arcsinh, from
    its median to its 99.8th percentile.

    Parameters
    ----------
    image : Tensor, shape (bands, H, W)
        Fluxes per pixel, NaN where unknown.
    probs, bins, z_spec
        As in `plot_densities`.
    rgb : three ints, optional
        Bands shown as red, green and blue. Default: the mean of all bands, in grey.
    axes : two matplotlib Axes, optional
        Where to draw, the image first. Default: a new figure.

    Returns
    -------
    tuple of two matplotlib Axes

    Raises
    ------
    ValueError
        If `image` is not three-dimensional, or what is shown of it has an infinite pixel or none
        that is known; if `rgb` or `axes` have another length, `rgb` names a band that is not there,
        or as `plot_densities`.
    TypeError
        If `image` is no tensor, `rgb` no integers, `axes` no Axes, or as `plot_densities`.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses import RedshiftBins
    >>> from photoz_losses.plots import plot_gallery
    >>> bins = RedshiftBins.uniform(0.0, 0.4, 4)
    >>> left, right = plot_gallery(
    ...     torch.rand(5, 8, 8), torch.full((3, 4), 0.25), bins, rgb=(3, 2, 1)
    ... )
    >>> right.get_xlabel()
    'redshift'
    """
    shown = _shown(image, rgb)
    if axes is not None:
        axes = list(_check.several("axes", axes, "two Axes"))
        if len(axes) != 2:
            raise ValueError(f"axes must be two, for the image and the densities, got {len(axes)}")
        for given in axes:
            _check.instance("axes", given, Axes)
    curves = _curves(probs, bins, z_spec)
    pixels = np.moveaxis(np.stack([_stretch(band) for band in shown]), 0, -1)
    if axes is None:
        figure = pyplot.figure(figsize=(7, 2.8), layout="constrained")
        axes = figure.subplots(1, 2, width_ratios=(1, 1.8)).tolist()
    cut_out, densities = axes
    cut_out.imshow(pixels.squeeze(-1) if rgb is None else pixels, cmap="gray", origin="lower")
    cut_out.set(xticks=[], yticks=[])
    return cut_out, _draw(densities, *curves)


def _shown(image: Tensor, rgb: Sequence[int] | None) -> Array:
    """The bands named by `rgb`, or the mean of all in one."""
    flux = torch.from_numpy(_check.numbers("image", _check.tensor("image", image)))
    if flux.ndim != 3:
        raise ValueError(f"image must have shape (bands, H, W), got {tuple(flux.shape)}")
    if not flux.numel():
        raise ValueError(f"image has no pixels, got shape {tuple(flux.shape)}: give one cut-out")
    if rgb is None:
        shown = flux.mean(0, keepdim=True)
    else:
        chosen = list(_check.several("rgb", rgb, "three numbers of bands"))
        if not all(isinstance(band, Integral) and not isinstance(band, bool) for band in chosen):
            raise TypeError(f"rgb must be three integers, numbers of bands, got {tuple(chosen)}")
        if len(chosen) != 3 or not all(-len(flux) <= band < len(flux) for band in chosen):
            raise ValueError(
                f"rgb must name three bands, for red, green and blue, of the {len(flux)} of image, "
                f"got {tuple(chosen)}"
            )
        shown = flux[chosen]
    if bool(shown.isinf().any()) or not bool(shown.isfinite().any(-1).any(-1).all()):
        raise ValueError(
            "image must have no infinite pixel, and in every band shown one that is known, got "
            "infinity or nothing but NaN: mark bad pixels NaN"
        )
    return shown.numpy()


def _curves(
    probs: Tensor, bins: RedshiftBins, z_spec: float | Tensor | None
) -> tuple[Array, Array, float | None]:
    """Densities, edges and true redshift, read before a figure is opened that would stay open."""
    _check.instance("bins", bins, RedshiftBins)
    if _check.floating("probs", probs).ndim != 2 or not len(probs):
        raise ValueError(f"probs must have shape (views, bins), got {tuple(probs.shape)}")
    density = bins.density(probs).detach().cpu().numpy()
    if z_spec is not None:
        truth = _check.numbers("z_spec", z_spec)
        if truth.size != 1:
            raise ValueError(f"z_spec must be one number, of one galaxy, got shape {truth.shape}")
        z_spec = truth.item()
        bins.locate(bins.edges.new_full((), z_spec, dtype=torch.float64), probs.shape[:0])
    return density, bins.edges.cpu().numpy(), z_spec


def _draw(ax: Axes, densities: Array, edges: Array, z_spec: float | None) -> Axes:
    shades = colormaps["viridis"](np.linspace(0, 0.9, len(densities)))
    for density, shade in zip(densities, shades, strict=True):
        ax.stairs(density, edges, color=shade, alpha=0.7, linewidth=0.8)
    if z_spec is not None:
        ax.axvline(z_spec, color=VERMILLION, ls="--", linewidth=1.2, label="spectroscopic redshift")
    ax.set(xlim=(edges[0], edges[-1]), ylim=(0, None))
    ax.set(xlabel="redshift", ylabel="density per unit redshift")
    return ax


def _stretch(band: Array) -> Array:
    """Pixel values in [0, 1]: the sky dark, the brightest white, a decade of faint ones seen."""
    sky, bright = np.nanpercentile(band, [50, 99.8])
    scale = max(bright - sky, np.finfo(float).tiny)
    stretched: Array = np.arcsinh(10 * (band - sky) / scale) / np.arcsinh(10)
    return stretched.clip(0, 1)
