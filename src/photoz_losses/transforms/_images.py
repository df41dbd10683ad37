"""What the transforms ask of a batch, and where they draw their random numbers."""

import torch
from torch import Tensor

from photoz_losses import _check


def check_images(images: Tensor, *, square: bool = False) -> None:
    """ValueError or TypeError unless `images` is a batch (N, bands, H, W) of floating point."""
    if _check.floating("images", images).ndim != 4:
        raise ValueError(
            f"images must have shape (N, bands, H, W), got {tuple(images.shape)}: for one image "
            f"call images.unsqueeze(0)"
        )
    if 0 in images.shape[-2:]:
        raise ValueError(f"images must have pixels, got shape {tuple(images.shape)}")
    if square and images.shape[-2] != images.shape[-1]:
        raise ValueError(
            f"images must be square to be turned by 90 degrees, got {tuple(images.shape[-2:])} "
            f"pixels: cut them"
        )


def draw_device(images: Tensor, generator: torch.Generator | None) -> torch.device:
    """Where to draw: a generator's own device, else that of the images."""
    return images.device if generator is None else generator.device


def laid_out_as(images: Tensor, view: Tensor) -> Tensor:
    """`view` in the type and memory format (channels last or not) of `images`."""
    channels_last = images.is_contiguous(memory_format=torch.channels_last)
    if channels_last and not images.is_contiguous():
        return view.to(images.dtype).contiguous(memory_format=torch.channels_last)
    return view.to(images.dtype).contiguous()
