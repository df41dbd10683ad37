"""Redraw the sky around a galaxy: the paper's section 3 and appendix B.3."""

import math

import torch
from torch import Tensor, nn

from photoz_losses.transforms._images import check_images, draw_device, laid_out_as


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
    _check_clip(sigma, iterations)
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


def resample_background(
    images: Tensor,
    *,
    sigma: float = 1.0,
    iterations: int = 1,
    unbiased: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Redraw every background pixel from the sky's own Gaussian, image by image, band by band.

    :math:`\mathcal{B}(x)` of Engel & Strube (2023), section 3 and appendix B.3: the sky's mean and
    standard deviation are those of the image after sigma clipping; pixels below mean plus sigma
    deviations are background. Neighbours and the galaxy's bright part keep their pixels to the bit.

    The sky's upper part is kept and its lower part redrawn about the clipped mean, so that the sky
    rises: pure Gaussian noise ends 0.35 of its deviation higher (0.24 with `unbiased`). That is the
    paper's recipe; over a whole cut-out it can add as much flux as a faint galaxy has.

    Parameters
    ----------
    images : Tensor, shape (N, bands, H, W)
        Images in linear flux units, before any stretch.
    sigma : float
        Both the clip and the threshold, in standard deviations; the paper's is 1.
    iterations : int
        Rounds of clipping. One leaves 0.54 of the deviation of Gaussian noise, each further round
        at one sigma less (0.30, 0.17, ...).
    unbiased : bool
        Divide the deviation by what clipping leaves of Gaussian noise. The paper does not.
    generator : torch.Generator, optional
        Source of the draws. Default: torch's own, on the images' device. Each DataLoader worker
        has its own copy of a generator, in the same state: in workers use the default.

    Returns
    -------
    Tensor, shape, type and memory format of `images`
        NaN pixels stay; an image without noise stays as it is.

    Raises
    ------
    ValueError
        If `images` is not four-dimensional, or an option is not positive.
    TypeError
        If `images` is not floating-point.

    Examples
    --------
    >>> noise = torch.Generator().manual_seed(0)
    >>> sky = torch.randn(1, 1, 64, 64, generator=noise)
    >>> sky[..., 32, 32] = 100.0
    >>> view = resample_background(sky, generator=noise)
    >>> view[0, 0, 32, 32], bool((view != sky).float().mean() > 0.6)
    (tensor(100.), True)
    """
    mean, std = sigma_clip(images, sigma=sigma, iterations=iterations)
    if unbiased:
        std = std / clipped_fraction(sigma, iterations)
    exact = torch.promote_types(images.dtype, torch.float32)
    mean, std = (value.to(exact)[..., None, None] for value in (mean, std))
    where = draw_device(images, generator)
    noise = torch.randn(images.shape, generator=generator, device=where, dtype=exact)
    sky = mean + std * noise.to(images.device)
    return laid_out_as(images, torch.where(images < mean + sigma * std, sky, images))


def _check_clip(sigma: float, iterations: int) -> None:
    if not sigma > 0:
        raise ValueError(f"sigma must be positive, got {sigma}")
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, got {iterations}")


class ResampleBackground(nn.Module):
    """Module of `resample_background`: options stored, ``forward(images)``."""

    def __init__(
        self,
        sigma: float = 1.0,
        iterations: int = 1,
        unbiased: bool = False,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        _check_clip(sigma, iterations)
        self.sigma, self.iterations, self.unbiased = sigma, iterations, unbiased
        self.generator = generator

    def forward(self, images: Tensor) -> Tensor:
        """See `resample_background`."""
        return resample_background(
            images,
            sigma=self.sigma,
            iterations=self.iterations,
            unbiased=self.unbiased,
            generator=self.generator,
        )

    def extra_repr(self) -> str:
        """Options, for ``repr``."""
        return f"sigma={self.sigma}, iterations={self.iterations}, unbiased={self.unbiased}"
