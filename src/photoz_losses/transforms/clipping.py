"""Sigma-clipped mean and deviation of every image and band at once."""

import math

import torch
from torch import Tensor, nn

from photoz_losses.transforms._images import check_images


def sigma_clip(images: Tensor, *, sigma: float = 1.0, iterations: int = 1) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each image and band after clipping about the median.

    As ``astropy.stats.sigma_clipped_stats(image, sigma=sigma, maxiters=iterations)`` for every
    image and band at once. One sort serves all rounds: what a round keeps is a stretch of the
    sorted pixels, and its mean and deviation are differences of prefix sums.

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
    values = images.detach().flatten(2)
    known = values.isfinite()
    pixels = torch.where(known, values, torch.inf).sort(-1).values.double().contiguous()
    low = torch.zeros_like(pixels[..., :1], dtype=torch.int64)
    high = known.sum(-1, keepdim=True)  # the unknown are sorted last
    origin = _middle(pixels, low, high)
    pixels = pixels - origin  # squares about the middle lose no digits to a bright sky
    prefix = _prefix_sums(torch.where(pixels.isfinite(), pixels, 0.0), high // 2)
    mean, std = _moments(prefix, low, high)
    for _ in range(iterations):
        centre = _middle(pixels, low, high)
        low = low.maximum(torch.searchsorted(pixels, centre - sigma * std))
        high = high.minimum(torch.searchsorted(pixels, centre + sigma * std, right=True))
        low = low.minimum(high)
        mean, std = _moments(prefix, low, high)
    return (origin + mean).squeeze(-1), std.squeeze(-1)


def _middle(pixels: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Median of each stretch ``low`` to ``high`` of sorted pixels: mean of the middle two."""
    last = pixels.shape[-1] - 1
    first, second = ((low + high - 1) // 2).clamp(0, last), ((low + high) // 2).clamp(0, last)
    return (pixels.gather(-1, first) + pixels.gather(-1, second)) / 2


def _prefix_sums(pixels: Tensor, start: Tensor) -> Tensor:
    """Sums of pixels and of their squares from `start` to each place, negative before it.

    Counted from the middle outwards, a far outlier enters no sum of the pixels nearer than it.
    """
    values = torch.stack([pixels, pixels.square()])
    after = torch.arange(pixels.shape[-1], device=pixels.device) >= start
    rightwards = torch.where(after, values, 0.0).cumsum(-1)
    leftwards = torch.where(after, 0.0, values).flip(-1).cumsum(-1).flip(-1)
    return nn.functional.pad(rightwards, (1, 0)) - nn.functional.pad(leftwards, (0, 1))


def _moments(prefix: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each stretch ``low`` to ``high``; NaN where it is empty."""
    total, squares = (sums.gather(-1, high) - sums.gather(-1, low) for sums in prefix)
    count = (high - low).double()
    mean = total / count
    return mean, (squares / count - mean.square()).clamp(min=0).sqrt()


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
    if not sigma > 0:
        raise ValueError(f"sigma must be positive, got {sigma}")
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, got {iterations}")
