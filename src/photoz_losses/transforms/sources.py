"""Masks of the sources in a cut-out, by segmentation with photutils (extra `masks`)."""

import importlib
import warnings
from types import ModuleType
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from photoz_losses import _check
from photoz_losses._repr import options
from photoz_losses.transforms._images import check_images
from photoz_losses.transforms.clipping import clipped_fraction, sigma_clip

CENTRE = 2.0  # pixels: a source that reaches so near to the centre is the central one
CONTRAST = 0.005  # part of a blend's flux that a source of its own has: SExtractor's default
Labels = NDArray[np.intp]  # of each pixel: 0 for sky, and each source's own number


class SourceMask(NamedTuple):
    """What `source_mask` returns, in the order of ``ResampleBackground()(images, mask, sources)``.

    ``mask`` is True on the pixels to be kept, ``sources`` on those of any source; both of bool,
    shape (N, H, W), on the images' device.
    """

    mask: Tensor
    sources: Tensor

    def __repr__(self) -> str:
        return f"SourceMask({options(self, *self._fields)})"


def source_mask(
    images: Tensor,
    *,
    keep: str = "central",
    missing: str = "raise",
    n_sigma: float = 2.5,
    n_pixels: int = 5,
    fwhm: float = 3.0,
    grow: float = 4.0,
    deblend: bool = True,
) -> SourceMask:
    r"""Pixels of the central source, or of all, by segmentation: once per data set, on the CPU.

    Sources are connected pixels of the detection image :math:`\sum_b (x_b - m_b) / (s_b \sqrt B)`
    (sum of the bands' signal to noise, of unit noise; each pixel over the bands that are finite
    there), smoothed with a Gaussian, `n_sigma` of its deviations above its mean. Mean and
    deviation, of the bands as of that image, are those after clipping at three sigma. Blends are
    parted, and each footprint grows, though never into another source's.

    Parameters
    ----------
    images : Tensor, shape (N, bands, H, W)
        Images in linear flux units. Pixels that are not finite are no source's; a band without
        noise is left out.
    keep : {"central", "all"}
        Whether ``mask`` holds the source at the centre alone, so that neighbours are redrawn, or
        all.
    missing : {"raise", "keep"}
        What to do where no source comes within two pixels of the centre, with ``keep="central"``:
        refuse, or mark the whole image, so that nothing in it is redrawn.
    n_sigma : float
        Threshold, in standard deviations of the smoothed sky. Lower ones take peaks of the noise
        for sources, and what is left of the sky then lies too low: by 0.010 of its deviation at 2,
        by 0.003 at 2.5.
    n_pixels : int
        Pixels that a source has at least.
    fwhm : float
        Full width at half maximum of the Gaussian, in pixels: that of the seeing. 0: none.
    grow : float
        Pixels by which a footprint is widened, for the faint wings.
    deblend : bool
        Whether touching sources are parted.

    Returns
    -------
    SourceMask

    Raises
    ------
    ValueError
        If `images` is not four-dimensional, an option is unknown or out of its range, or images
        have no central source and ``missing="raise"``.
    TypeError
        If `images` is not floating-point.
    ImportError
        Without photutils, or scikit-image, which parts the blends.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses.transforms import source_mask
    >>> row, column = torch.meshgrid(torch.arange(48.0), torch.arange(48.0), indexing="ij")
    >>> galaxy, star = (
    ...     torch.exp(-((row - y) ** 2 + (column - x) ** 2) / 8) for y, x in [(24, 24), (8, 40)]
    ... )
    >>> noise = torch.randn(1, 5, 48, 48, generator=torch.Generator().manual_seed(0))
    >>> images = 20 * (galaxy + star) + noise
    >>> mask, sources = source_mask(images, deblend=False)
    >>> [bool(x[0, 24, 24]) for x in (mask, sources)], [bool(x[0, 8, 40]) for x in (mask, sources)]
    ([True, True], [False, True])
    """
    check_images(images)
    _check.one_of("keep", keep, ["central", "all"])
    _check.one_of("missing", missing, ["raise", "keep"])
    _check_positive(n_sigma=n_sigma)
    _check.count("n_pixels", n_pixels, 1)
    _check.flag("deblend", deblend)
    _check_not_negative(fwhm=fwhm, grow=grow)
    photutils = _segmentation(deblend)
    kept, found, lost = [], [], []
    for index, image in enumerate(_detection_images(images, fwhm)):
        labels = _segment(photutils, image, n_sigma, n_pixels, deblend)
        central = _central(labels)
        found.append(_within(labels > 0, grow))
        if keep == "all":
            kept.append(found[-1])
        elif central:
            others = (labels > 0) & (labels != central)
            kept.append(_within(labels == central, grow) & ~others)
        else:
            lost.append(index)
            kept.append(np.ones_like(found[-1]))
    if lost and missing == "raise":
        raise ValueError(
            f"images must show a source at their centre, got none in {len(lost)} of {len(images)}, "
            f"at index {', '.join(map(str, lost[:10]))}{', ...' if len(lost) > 10 else ''}: lower "
            f"n_sigma, leave those images out, or take missing='keep'"
        )
    shape = (len(images), *images.shape[-2:])
    mask, sources = (
        torch.from_numpy(np.array(rows, dtype=bool).reshape(shape)).to(images.device)
        for rows in (kept, found)
    )
    return SourceMask(mask, sources)


def _detection_images(images: Tensor, fwhm: float) -> NDArray[np.float64]:
    """Sum over bands of signal to noise, smoothed; shape (N, H, W)."""
    pixels = images.detach().cpu().double()
    mean, std = (x[..., None, None] for x in sigma_clip(pixels, sigma=3.0, iterations=5))
    known = pixels.isfinite() & (std > 0)
    ratio = torch.where(known, (pixels - mean) / std, 0.0)
    detection = (ratio.sum(1) / known.sum(1).clamp(min=1).sqrt()).numpy()
    if fwhm == 0:
        return detection
    from scipy import ndimage

    width = fwhm / np.sqrt(8 * np.log(2))
    return np.asarray(ndimage.gaussian_filter(detection, (0, width, width), mode="constant"))


def _segment(
    photutils: ModuleType, image: NDArray[np.float64], n_sigma: float, n_pixels: int, deblend: bool
) -> Labels:
    """Label of the source that each pixel of a detection image belongs to."""
    sky = torch.from_numpy(image)[None, None]
    mean, std = (x.item() for x in sigma_clip(sky, sigma=3.0, iterations=5))
    std /= clipped_fraction(3.0, 5)
    nothing = np.zeros(image.shape, dtype=np.intp)
    if not std > 0:
        return nothing
    with warnings.catch_warnings():  # an empty image is no surprise here
        warnings.filterwarnings("ignore", message="No sources were found")
        found = photutils.detect_sources(image - mean, n_sigma * std, n_pixels)
        if found is None:
            return nothing
        if deblend:
            found = photutils.deblend_sources(
                image - mean, found, n_pixels, contrast=CONTRAST, progress_bar=False
            )
    return np.asarray(found.data, dtype=np.intp)


def _central(labels: Labels) -> int:
    """Label of the source that comes nearest to the centre; 0 if none comes within `CENTRE`."""
    rows, columns = np.nonzero(labels)
    if not len(rows):
        return 0
    centre = [(side - 1) / 2 for side in labels.shape]
    distance = np.hypot(rows - centre[0], columns - centre[1])
    nearest = int(distance.argmin())
    return int(labels[rows[nearest], columns[nearest]]) if distance[nearest] <= CENTRE else 0


def _within(footprint: NDArray[np.bool_], reach: float) -> NDArray[np.bool_]:
    """Pixels no farther than `reach` from the footprint."""
    if not footprint.any():
        return footprint
    from scipy import ndimage

    return np.asarray(ndimage.distance_transform_edt(~footprint) <= reach)


def _segmentation(deblend: bool) -> ModuleType:
    """photutils.segmentation, and scikit-image behind it if blends are to be parted."""
    try:
        if deblend:
            importlib.import_module("skimage.segmentation")  # deblend_sources looks for it late
        return importlib.import_module("photutils.segmentation")
    except ImportError as error:
        raise ImportError(
            "source_mask needs photutils, and scikit-image to part blends: "
            "pip install 'photoz-losses[masks]'"
        ) from error


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if not 0 < _check.number(name, value) < float("inf"):
            raise ValueError(f"{name} must be positive and finite, got {value}")


def _check_not_negative(**values: float) -> None:
    for name, value in values.items():
        if not 0 <= _check.number(name, value) < float("inf"):
            raise ValueError(f"{name} must be finite and not negative, got {value}")
