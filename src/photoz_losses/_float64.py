"""Modules whose buffers stay in float64: grids and filter curves are never rounded."""

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn


class Float64Module(nn.Module):
    """A Module whose buffers follow ``.to(device)``, but not ``.half()`` or ``.to(dtype)``.

    Nor do they become what memory happened to hold under ``to_empty``; on the meta device their
    values are lost, and what no ``state_dict`` brings back may not leave it. A device without
    float64 (Apple's MPS) cannot hold them: there ``.to(device)`` raises.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        exact = dict(self.named_buffers(recurse=False))
        nn.Module._apply(self, fn, recurse)
        for name, buffer in exact.items():
            moved = getattr(self, name)
            if not buffer.is_meta:
                setattr(self, name, exactly(buffer, moved))
            elif not moved.is_meta and name in self._non_persistent_buffers_set:
                raise RuntimeError(
                    f"{name} of {type(self).__name__} was on the meta device, which keeps no "
                    f"values, and no state_dict holds it: make a new one on {moved.device}"
                )
        return self

    def _refuse_rounded(self, name: str) -> None:
        """TypeError where a buffer was cast past ``.to()``: FSDP does that."""
        dtype = getattr(self, name).dtype
        if dtype != torch.float64:
            raise TypeError(
                f"{name} of {type(self).__name__} must stay in float64, got {dtype}: give FSDP's "
                f"MixedPrecision no buffer_dtype, or keep the losses out of what it wraps"
            )


def exactly(before: Tensor, after: Tensor) -> Tensor:
    """The values of `before`, where a Module that was moved or cast now has `after`."""
    if after is before or type(after) is not type(before):  # a fake one, say, has no values
        return after
    return before.to(after.device)
