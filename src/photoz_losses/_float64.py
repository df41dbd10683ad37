"""Modules whose buffers stay in float64: grids and filter curves are never rounded."""

from collections.abc import Callable
from typing import Self

from torch import Tensor, nn


class Float64Module(nn.Module):
    """A Module whose buffers follow ``.to(device)``, but not ``.half()`` or ``.to(dtype)``.

    A device without float64 (Apple's MPS) cannot hold them: there ``.to(device)`` raises.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        exact = dict(self.named_buffers(recurse=False))
        nn.Module._apply(self, fn, recurse)
        for name, buffer in exact.items():
            moved = getattr(self, name)
            if moved.dtype != buffer.dtype:
                setattr(self, name, buffer.to(moved.device))
        return self
