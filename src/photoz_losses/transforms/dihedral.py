"""The eight rotations and flips that keep pixel values: the paper's section 3, appendix B.2."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from photoz_losses import _check
from photoz_losses._calls import typed_as
from photoz_losses._repr import options
from photoz_losses.transforms._images import check_images, laid_out_as, source_of_draws


def dihedral(images: Tensor, element: Tensor) -> Tensor:
    """Turn and flip each image of a batch by its own element of the group of the square.

    Engel & Strube (2023), appendix B.2: every pixel keeps its value.

    Parameters
    ----------
    images : Tensor, shape (N, bands, H, H)
        Square images.
    element : Tensor of int64, shape (N,)
        0 to 7. First, from 4 on, the image is transposed; then its rows are reversed if ``element``
        has the bit 1, and its columns if it has the bit 2.

    Returns
    -------
    Tensor, shape, type and memory format of `images`

    Raises
    ------
    ValueError
        If shapes disagree, the images are not square, or an element is not among the eight.
    TypeError
        If images are not floating-point or elements not integer.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses.transforms import dihedral
    >>> image = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    >>> dihedral(image.expand(2, 1, 2, 2), torch.tensor([0, 5])).tolist()
    [[[[1.0, 2.0], [3.0, 4.0]]], [[[2.0, 4.0], [1.0, 3.0]]]]
    """
    check_images(images, square=True)
    _check.dense("element", element)
    if element.is_floating_point() or element.is_complex() or element.dtype == torch.bool:
        raise TypeError(
            f"element must be an integer tensor, got {element.dtype}: call element.long()"
        )
    _check.same_shape("element", element, images.shape[:1], "the batch")
    if _check.can_read_free(element) and not bool(((element >= 0) & (element < 8)).all()):
        raise ValueError(
            f"element must lie in 0 to 7, one of the eight orientations, got "
            f"{_check.span(element)}: take element % 8"
        )
    sources = _sources(images.shape[-1], images.device)[element.to(images.device)]
    pixels = images.flatten(2)
    turned = pixels.gather(-1, sources.unsqueeze(1).expand_as(pixels)).view(images.shape)
    return laid_out_as(images, turned)


def _sources(side: int, device: torch.device) -> Tensor:
    """Place that each pixel comes from, for each of the eight elements: int64, (8, side**2)."""
    place = torch.arange(side * side, device=device).view(side, side)
    flips: list[list[int]] = [[], [0], [1], [0, 1]]
    turned = [start.flip(dims) for start in (place, place.mT) for dims in flips]
    return torch.stack(turned).flatten(1)


class RandomDihedral(nn.Module):
    r"""Give each image of a batch its own random draw of the eight rotations and flips.

    :math:`\Theta(x)` of Engel & Strube (2023), section 3 and appendix B.2; see `dihedral`.

    Parameters
    ----------
    generator : torch.Generator, optional
        Source of the draws. Default: torch's own, on the images' device. Each DataLoader worker
        and each rank draws its own numbers from it.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses.transforms import RandomDihedral
    >>> images = torch.arange(32.0).reshape(2, 1, 4, 4)
    >>> view = RandomDihedral(torch.Generator().manual_seed(0))(images)
    >>> bool((view.sum((1, 2, 3)) == images.sum((1, 2, 3))).all())
    True
    """

    def __init__(self, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, images: Tensor) -> Tensor:
        """Turned and flipped images; shapes (N, bands, H, H)."""
        check_images(images, square=True)
        element = torch.randint(8, (len(images),), **source_of_draws(images, self.generator))
        return dihedral(images, element)

    if TYPE_CHECKING:

        @typed_as(forward)
        def __call__(self) -> None:
            """As `forward`."""

    def extra_repr(self) -> str:
        """Options, for ``repr``."""
        return options(self, "generator")
