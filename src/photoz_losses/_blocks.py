"""Many galaxies in blocks that stay in a processor's cache, with the results of one call."""

from collections.abc import Sequence

import torch
from torch import Tensor

from photoz_losses import _check

AT_ONCE = 2**16  # numbers, 512 kB in float64: what is made of a block stays in the cache


def blocks(n_bins: int, probs: Tensor, *columns: Tensor) -> list[tuple[Tensor, ...]]:
    """Masses (..., `n_bins`) and columns (...) in blocks of galaxies, or all of them as they came.

    They stay whole where there are few, where a gradient is wanted, which would keep every
    intermediate result anyway, and where values cannot be read: the graph of ``torch.compile``
    knows how to keep to the cache, and other devices want one call.
    """
    whole = [(probs, *columns)]
    if not all(isinstance(x, Tensor) for x in whole[0]) or not _check.can_read_free(*whole[0]):
        return whole
    if torch.is_grad_enabled() and any(x.requires_grad for x in whole[0]):
        return whole
    if probs.ndim < 2 or probs.shape[-1] != n_bins or probs.numel() <= AT_ONCE:
        return whole
    size = max(AT_ONCE // n_bins, 1)
    flat = [probs.reshape(-1, n_bins), *(column.reshape(-1) for column in columns)]
    return list(zip(*(x.split(size) for x in flat), strict=True))


def joined(parts: Sequence[Tensor], shape: torch.Size) -> Tensor:
    """One number a galaxy of all blocks, in the leading shape of the masses."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts)).reshape(shape)
