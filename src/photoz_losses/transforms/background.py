"""Redraw the sky around a galaxy: the paper's section 3 and appendix B.3, or around a mask."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from photoz_losses import _check
from photoz_losses._calls import typed_as
from photoz_losses._repr import options
from photoz_losses.transforms._images import (
    check_images,
    laid_out_as,
    pixel_mask,
    source_of_draws,
)
from photoz_losses.transforms.clipping import check_clip, clipped_fraction, sigma_clip
from photoz_losses.transforms.correlation import REACH, autocorrelation, correlate


def resample_background(
    images: Tensor,
    *,
    mask: Tensor | None = None,
    sources: Tensor | None = None,
    sigma: float = 1.0,
    iterations: int = 1,
    unbiased: bool = False,
    correlated: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Redraw every background pixel from the sky's own Gaussian, image by image, band by band.

    :math:`\mathcal{B}(x)` of Engel & Strube (2023), section 3 and appendix B.3: the sky's mean and
    standard deviation are those of the image after sigma clipping; pixels below mean plus sigma
    deviations are background. Neighbours and the galaxy's bright part keep their pixels to the bit.

    The sky's upper part is kept and its lower part redrawn about the clipped mean, so that the sky
    rises: pure Gaussian noise ends 0.35 of its deviation higher (0.24 with `unbiased`). That is the
    paper's recipe; over a whole cut-out it can add as much flux as a faint galaxy has.

    With a ``mask`` nothing is clipped: every finite pixel outside it is redrawn with the mean and
    deviation of the finite pixels outside ``sources``, and the sky keeps both. A neighbour that is
    in ``sources`` and not in ``mask`` becomes sky. `source_mask` makes the two.

    Parameters
    ----------
    images : Tensor, shape (N, bands, H, W)
        Images in linear flux units, before any stretch.
    mask : Tensor of bool, shape (N, H, W) or (N, bands, H, W), optional
        True on the pixels that are kept, to the bit. Default: the paper's threshold decides.
    sources : Tensor of bool, of such a shape, optional
        True on the pixels of any source, where the sky is not measured. Default: ``mask``.
    sigma : float
        Both the clip and the threshold, in standard deviations; the paper's is 1. Not used with a
        mask, as are the next two.
    iterations : int
        Rounds of clipping. One leaves 0.54 of the deviation of Gaussian noise, each further round
        at one sigma less (0.30, 0.17, ...).
    unbiased : bool
        Divide the deviation by what clipping leaves of Gaussian noise. The paper does not.
    correlated : bool
        Draw noise with the sky's own correlation between pixels up to 4 apart, as measured from the
        sky of each image and band. Without a mask that is what lies within three deviations.
    generator : torch.Generator, optional
        Source of the draws. Default: torch's own, on the images' device. Each DataLoader worker
        and each rank draws its own numbers from it.

    Returns
    -------
    Tensor, shape, type and memory format of `images`
        NaN pixels stay; an image without noise stays as it is, and with a mask so does a band with
        fewer than two pixels of sky. Half precision may overflow.

    Raises
    ------
    ValueError
        If `images` is not four-dimensional, a mask has another shape, there are ``sources`` without
        a mask, or an option is not positive.
    TypeError
        If `images` is not floating-point, or a mask not bool.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses.transforms import resample_background
    >>> noise = torch.Generator().manual_seed(0)
    >>> sky = torch.randn(1, 1, 64, 64, generator=noise)
    >>> sky[..., 32, 32] = 100.0
    >>> view = resample_background(sky, generator=noise)
    >>> view[0, 0, 32, 32], bool((view != sky).float().mean() > 0.6)
    (tensor(100.), True)
    >>> galaxy = sky[:, 0] > 50
    >>> view = resample_background(sky, mask=galaxy, generator=noise)
    >>> int((view == sky).sum())
    1
    """
    check_images(images)
    check_clip(sigma, iterations)
    for name, value in (("unbiased", unbiased), ("correlated", correlated)):
        _check.flag(name, value)
    if mask is not None:
        mask = pixel_mask("mask", mask, images)
        sky = ~(mask if sources is None else pixel_mask("sources", sources, images))
        mean, std, sky = _sky_moments(images, sky)
        redrawn = ~mask & images.isfinite() & std.isfinite()
    elif sources is not None:
        raise ValueError(
            "sources needs a mask, the pixels to be kept, got mask=None: give both, as "
            "source_mask returns them"
        )
    else:
        mean, std, sky = _clipped_moments(images, sigma, iterations, unbiased)
        redrawn = images < mean + sigma * std
    correlated = correlated and images.numel() > 0  # an empty batch has no transform
    margin = 2 * REACH if correlated else 0
    shape = (*images.shape[:2], *(side + margin for side in images.shape[-2:]))
    noise = torch.randn(shape, dtype=mean.dtype, **source_of_draws(images, generator))
    noise = noise.to(images.device)
    if correlated:
        own_mean = _sky_moments(images, sky)[0]
        residual = torch.where(sky, images.detach().to(mean.dtype) - own_mean, 0.0)
        noise = correlate(noise, autocorrelation(residual, sky))
    return laid_out_as(images, torch.where(redrawn, mean + std * noise, images))


def _clipped_moments(
    images: Tensor, sigma: float, iterations: int, unbiased: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The paper's mean and deviation (N, bands, 1, 1), and the pixels within three true ones."""
    mean, std = sigma_clip(images, sigma=sigma, iterations=iterations)
    whole = std / clipped_fraction(sigma, iterations)
    std = whole if unbiased else std
    exact = torch.promote_types(images.dtype, torch.float32)
    mean, std, whole = (value.to(exact)[..., None, None] for value in (mean, std, whole))
    return mean, std, (images - mean).abs() <= 3 * whole


def _sky_moments(images: Tensor, sky: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, deviation (N, bands, 1, 1) of the finite pixels in `sky`, and where those are.

    The deviation has n - 1 in its denominator; NaN where there are fewer than two.
    """
    sky = sky & images.isfinite()
    pixels = torch.where(sky, images.detach(), 0.0).double()
    count = sky.sum((-2, -1), keepdim=True)
    mean = pixels.sum((-2, -1), keepdim=True) / count
    squares = torch.where(sky, pixels - mean, 0.0).square().sum((-2, -1), keepdim=True)
    std = (squares / (count - 1)).sqrt()
    exact = torch.promote_types(images.dtype, torch.float32)
    return mean.to(exact), torch.where(count > 1, std, torch.nan).to(exact), sky


class ResampleBackground(nn.Module):
    """Module of `resample_background`: options stored, ``forward(images, mask, sources)``.

    Parameters
    ----------
    sigma, iterations, unbiased, correlated, generator
        As in `resample_background`, which has shapes, equation and errors.
    mask : Tensor of bool, shape (H, W), optional
        One for all images (a disc, say), a buffer; the mask of a call takes its place.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses.transforms import ResampleBackground
    >>> view = ResampleBackground(generator=torch.Generator().manual_seed(0))
    >>> images = torch.ones(1, 5, 8, 8)
    >>> torch.equal(view(images), images)  # without noise there is none to draw
    True
    """

    mask: Tensor | None

    def __init__(
        self,
        sigma: float = 1.0,
        iterations: int = 1,
        unbiased: bool = False,
        *,
        mask: Tensor | None = None,
        correlated: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_clip(sigma, iterations)
        if mask is not None and (_check.dense("mask", mask).ndim != 2 or mask.dtype != torch.bool):
            raise ValueError(
                f"mask must be a bool tensor of shape (H, W), one for all images, got {mask.dtype} "
                f"of shape {tuple(mask.shape)}: hand masks of single images to the call"
            )
        self.sigma, self.iterations, self.unbiased = sigma, iterations, unbiased
        self.correlated, self.generator = correlated, generator
        self.register_buffer("mask", None if mask is None else mask.clone())

    def forward(
        self, images: Tensor, mask: Tensor | None = None, sources: Tensor | None = None
    ) -> Tensor:
        """See `resample_background`."""
        check_images(images)
        if mask is None and self.mask is not None:
            mask = self.mask.expand(len(images), -1, -1)
        return resample_background(
            images,
            mask=mask,
            sources=sources,
            sigma=self.sigma,
            iterations=self.iterations,
            unbiased=self.unbiased,
            correlated=self.correlated,
            generator=self.generator,
        )

    if TYPE_CHECKING:

        @typed_as(forward)
        def __call__(self) -> None:
            """As `forward`."""

    def extra_repr(self) -> str:
        """Options, for ``repr``."""
        names = ("sigma", "iterations", "unbiased", "mask", "correlated", "generator")
        return options(self, *names)
