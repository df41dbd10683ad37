"""Work on many spectra in blocks of bounded memory."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import repeat

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from photoz_losses import _check

Kernel = Callable[..., tuple[Tensor, Tensor]]


def in_blocks(
    kernel: Kernel, arguments: Sequence[Tensor | None], rows: int, *, keep: bool
) -> tuple[Tensor, Tensor]:
    """Both results of `kernel` for `rows` rows of its arguments at a time, put together again.

    Unless told to `keep` what gradients need, the graph holds each block's arguments only, and
    computes the rest anew when the block's turn comes. Under ``torch.compile``, where temporaries
    of the forward are fused away and doing it anew costs less than keeping it, all rows go at once;
    under ``torch.func`` too, which has no hooks for it.
    """
    compiling = torch.compiler.is_compiling()
    if not compiling and _check.in_functorch():
        return kernel(*arguments)
    wants_grad = any(x is not None and x.requires_grad for x in arguments)
    if torch.is_grad_enabled() and wants_grad and (compiling or not keep):
        kernel = partial(checkpoint, kernel, use_reentrant=False, preserve_rng_state=False)
    if compiling:
        return kernel(*arguments)
    blocks = zip(*(repeat(None) if x is None else x.split(rows) for x in arguments), strict=False)
    first, second = zip(*(kernel(*block) for block in blocks), strict=True)
    return torch.cat(first), torch.cat(second)
