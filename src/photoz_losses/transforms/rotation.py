"""Turns by any angle, resampled from a larger cut-out so that no pixel is invented."""

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from photoz_losses import _check
from photoz_losses._calls import typed_as
from photoz_losses._repr import options
from photoz_losses.transforms._images import check_images, laid_out_as, source_of_draws

MARGIN = {"bilinear": 0, "bicubic": 1}  # pixels that a stencil needs beyond the nearest ones


def rotate(
    images: Tensor, angle: Tensor, *, crop: int | None = None, interpolation: str = "bilinear"
) -> Tensor:
    r"""Turn each image by its own angle about the centre of its pixel grid, and crop the centre.

    The pixel at row :math:`u` and column :math:`v`, both from the centre, is read at row
    :math:`u\cos\varphi + v\sin\varphi` and column :math:`v\cos\varphi - u\sin\varphi`. With row 0
    on top that turns the picture counterclockwise; :math:`\pi/2` is ``torch.rot90(images, 1, (-2,
    -1))``, the element 5 of `dihedral`. The arbitrary angle that Engel & Strube (2023), appendix
    B.2, leave to future work.

    Every pixel that the interpolation touches lies within the image at every angle: `crop` pixels a
    side need :math:`\sqrt2\,(\mathrm{crop} - 1) + 1` ("bilinear") or + 3 ("bicubic") of them, and
    an even crop an even side, so that both have one centre. 64 need 92 and 94.

    Resampling is not free: it averages neighbours. White noise comes back correlated, with about
    4/9 ("bilinear") or 36/49 ("bicubic") of its variance; resample the background afterwards.
    torch's bicubic kernel is Keys's with a = -0.75 (not -0.5). It sharpens: a straight line of unit
    slope comes back wrong by t(1 - t)(1 - 2t)/2, up to 0.05, a fraction t past a pixel, and its
    slope at a pixel is 1.5, so derivatives with respect to the angle are too large there. A
    uniform image is kept by both, and the sum of a resolved galaxy nearly so.

    Parameters
    ----------
    images : Tensor, shape (N, bands, S, S)
        Square images. Half precision is resampled in float32. A pixel that is NaN makes NaN of
        every pixel whose interpolation touches it.
    angle : Tensor, shape (N,)
        Angles in radians; its gradient is that of the interpolation.
    crop : int, optional
        Side of what is returned. Default: the largest that S allows.
    interpolation : {"bilinear", "bicubic"}
        Kernel of the resampling.

    Returns
    -------
    Tensor, shape (N, bands, crop, crop), type and memory format of `images`

    Raises
    ------
    ValueError
        If shapes disagree, images are not square or too small for `crop`, one of the two sides is
        even and the other odd, an angle is not finite, or the interpolation is unknown.
    TypeError
        If images or angles are not floating-point.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses.transforms import rotate
    >>> images = torch.arange(16.0).reshape(1, 1, 4, 4)
    >>> rotate(images, torch.tensor([torch.pi / 2]), crop=2).round(decimals=4)
    tensor([[[[ 6., 10.],
              [ 5.,  9.]]]])
    """
    check_images(images, square=True)
    crop = _checked_crop(images.shape[-1], crop, interpolation)
    angle = _check.at_least_single("angle", angle)
    _check.same_shape("angle", angle, images.shape[:1], "the batch")
    if _check.can_read_free(angle) and not bool(angle.isfinite().all()):
        raise ValueError(
            f"angle must be finite, in radians, got {_check.span(angle)}: give 0 where an image is "
            f"to stay"
        )
    pixels = images.to(torch.promote_types(images.dtype, torch.float32))
    cos, sin = (f(angle).to(pixels)[:, None, None] for f in (torch.cos, torch.sin))
    offset = torch.arange(crop, device=pixels.device, dtype=pixels.dtype) - (crop - 1) / 2
    u, v = offset[:, None], offset
    row, column = u * cos + v * sin, v * cos - u * sin
    grid = torch.stack([column, row], -1) * (2 / images.shape[-1])  # that of align_corners=False
    turned = nn.functional.grid_sample(
        pixels, grid, mode=interpolation, padding_mode="border", align_corners=False
    )  # only rounding reaches the border: by 1e-5 of a pixel
    return laid_out_as(images, turned)


def _smallest_side(crop: int, interpolation: str) -> int:
    """Least side of images, even as `crop` is or odd, that `crop` pixels a side are cut from."""
    diagonal = 2 * (crop - 1) ** 2
    side = math.isqrt(diagonal - 1) + 2 if crop > 1 else 1  # 1 + root, rounded up
    side += 2 * MARGIN[interpolation]
    return side + (side - crop) % 2


def _largest_crop(side: int, interpolation: str) -> int:
    """Largest crop, even as `side` is or odd, that images of this side allow; below 1 if none."""
    reach = side - 1 - 2 * MARGIN[interpolation]
    if reach < 0:
        return side % 2 - 2
    crop = math.isqrt(reach**2 // 2) + 1
    return crop - (side - crop) % 2


def _checked_crop(side: int, crop: int | None, interpolation: str) -> int:
    """The crop to be cut from images of this side; ValueError if they hold none."""
    _check_options(crop, interpolation)
    if crop is None:
        if (crop := _largest_crop(side, interpolation)) < 1:
            least = _smallest_side(1 + (side + 1) % 2, interpolation)
            raise ValueError(
                f"images must have at least {least} x {least} pixels to be turned with "
                f"{interpolation!r}, got {side} x {side}"
            )
    elif (side - crop) % 2:
        raise ValueError(
            f"crop must be {'odd' if side % 2 else 'even'} as the side of the images, {side}, is "
            f"to be central, got {crop}: cut the images to {side - 1} x {side - 1}, or take "
            f"crop={crop - 1 or 2}"
        )
    elif side < (least := _smallest_side(crop, interpolation)):
        raise ValueError(
            f"crop {crop} needs images of at least {least} x {least} pixels with "
            f"{interpolation!r}, got {side} x {side}: cut them out larger, or take crop=None"
        )
    return crop


def _check_options(crop: int | None, interpolation: str) -> None:
    _check.one_of("interpolation", interpolation, list(MARGIN))
    if crop is not None:
        _check.count("crop", crop, 1)


class RandomRotation(nn.Module):
    """Turn each image of a batch by its own angle, drawn evenly from the whole circle.

    See `rotate`. Without flips: put `RandomDihedral` behind it, in a ``torch.nn.Sequential``, for
    every turn and its mirror image. The background is to be resampled after it.

    Parameters
    ----------
    crop : int, optional
        Side of what is returned. Default: the largest that the images allow.
    interpolation : {"bilinear", "bicubic"}
        Kernel of the resampling.
    generator : torch.Generator, optional
        Source of the draws. Default: torch's own, on the images' device. Each DataLoader worker
        and each rank draws its own numbers from it.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses.transforms import RandomRotation
    >>> RandomRotation(64)(torch.ones(2, 5, 92, 92)).shape
    torch.Size([2, 5, 64, 64])
    """

    def __init__(
        self,
        crop: int | None = None,
        *,
        interpolation: str = "bilinear",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        _check_options(crop, interpolation)
        self.crop, self.interpolation, self.generator = crop, interpolation, generator

    def forward(self, images: Tensor) -> Tensor:
        """Turned images; shapes (N, bands, S, S) to (N, bands, crop, crop)."""
        check_images(images, square=True)
        draws = torch.rand(len(images), **source_of_draws(images, self.generator))
        angle = 2 * math.pi * draws
        return rotate(
            images, angle.to(images.device), crop=self.crop, interpolation=self.interpolation
        )

    if TYPE_CHECKING:

        @typed_as(forward)
        def __call__(self) -> None:
            """As `forward`."""

    def extra_repr(self) -> str:
        """Options, for ``repr``."""
        return options(self, "crop", "interpolation", "generator")
