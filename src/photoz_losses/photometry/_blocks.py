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
    computes the rest anew when the block's turn comes. Under ``torch.compile``, which fuses the
    forward's temporaries away but keeps look-ups for a gradient, and under ``torch.func``, which
    has no such hooks, all rows go at once.
    """
    if torch.compiler.is_compiling() or _check.in_functorch():
        return kernel(*arguments)
    wants_grad = any(x is not None and x.requires_grad for x in arguments)
    if torch.is_grad_enabled() and wants_grad and not keep:
        kernel = partial(checkpoint, kernel, use_reentrant=False, preserve_rng_state=False)
    blocks = zip(*(repeat(None) if x is None else x.split(rows) for x in arguments), strict=False)
    first, second = zip(*(kernel(*block) for block in blocks), strict=True)
    return torch.cat(first), torch.cat(second)
