"""Sigma-clipped mean and deviation of every image and band at once."""

import math

import torch
from torch import Tensor

from photoz_losses import _check
from photoz_losses.transforms._images import check_images


def sigma_clip(images: Tensor, *, sigma: float = 1.0, iterations: int = 1) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each image and band after clipping about the median.

    As ``astropy.stats.sigma_clipped_stats(image, sigma=sigma, maxiters=iterations)`` for every
    image and band at once.

    Parameters
    ----------
    images : Tensor, shape (N, bands, H, W)
        Pixels that are NaN or infinite are left out.
    sigma : float
        Pixels farther from the median than this many standard deviations are dropped.
    iterations : int
        Rounds of clipping.

    Returns
    -------
    mean, std : Tensor, shape (N, bands)
        float64; NaN for a band without any pixel.
    """
    check_images(images)
    check_clip(sigma, iterations)
    values = images.detach().flatten(2).double()
    kept = torch.where(values.isfinite(), values, torch.nan)
    for _ in range(iterations):
        centre = _median(kept)
        reach = sigma * _moments(kept, centre)[1]
        inside = (kept >= centre - reach) & (kept <= centre + reach)
        kept = torch.where(inside, kept, torch.nan)
    mean, std = _moments(kept, centre)
    return mean.squeeze(-1), std.squeeze(-1)


def _median(values: Tensor) -> Tensor:
    """Median over the last dimension, NaN left out: the mean of the middle two."""
    count = values.isnan().logical_not().sum(-1, keepdim=True)
    # a selection is some times as fast as a sort on a CPU, and not deterministic elsewhere
    middle = _select if values.device.type == "cpu" else _sort
    first, second = middle(values, count)
    return (first + second) / 2


def _select(values: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Middle two of `count` values: the lower median, and the next one unless that equals it."""
    lower = values.nanmedian(-1, keepdim=True).values
    up_to = (values <= lower).sum(-1, keepdim=True)
    above = torch.where(values > lower, values, torch.inf).amin(-1, keepdim=True)
    return lower, torch.where(up_to > count // 2, lower, above)


def _sort(values: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Middle two of `count` values, as `_select`; NaN is sorted last."""
    ordered = values.sort(-1).values
    places = ((count - 1) // 2).clamp(min=0), (count // 2).clamp(max=values.shape[-1] - 1)
    return ordered.gather(-1, places[0]), ordered.gather(-1, places[1])


def _moments(values: Tensor, origin: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, NaN left out; NaN where there is nothing else.

    Squares about the `origin`, which lies among the values, lose no digits to a bright sky.
    """
    offset = values - origin
    count = offset.isnan().logical_not().sum(-1, keepdim=True).double()
    mean = offset.nansum(-1, keepdim=True) / count
    square = offset.square().nansum(-1, keepdim=True) / count
    return origin + mean, (square - mean.square()).clamp(min=0).sqrt()


def clipped_fraction(sigma: float, iterations: int) -> float:
    r"""Standard deviation that clipping leaves of Gaussian noise of unit deviation.

    The deviation of a Gaussian cut at :math:`\pm k` is
    :math:`(1 - 2k\varphi(k) / \mathrm{erf}(k/\sqrt2))^{1/2}`: 0.540 for one round at 1 sigma.
    """
    std = 1.0
    for _ in range(iterations):
        cut = sigma * std
        if cut < 0.05:  # nearly uniform between the cuts; the closed form loses its digits
            std = cut / math.sqrt(3) * (1 - cut * cut / 15)
            continue
        height = math.exp(-cut * cut / 2) / math.sqrt(2 * math.pi)
        std = math.sqrt(1 - 2 * cut * height / math.erf(cut / math.sqrt(2)))
    return std


def check_clip(sigma: float, iterations: int) -> None:
    """ValueError unless these are options of a clip."""
    if not 0 < _check.number("sigma", sigma) < math.inf:
        raise ValueError(f"sigma must be positive and finite, got {sigma}")
    _check.count("iterations", iterations, 1)
