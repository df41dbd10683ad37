"""The one reduction: losses are computed per galaxy first and reduced here, last."""

from torch import Tensor

from photoz_losses._check import one_of
from photoz_losses._values import refuse_overflow

REDUCTIONS = ("mean", "sum", "none")


def check_reduction(reduction: str) -> str:
    """`reduction` itself where it is known; ValueError otherwise."""
    return one_of("reduction", reduction, REDUCTIONS)


def reduce(
    values: Tensor, reduction: str, place: Tensor | None = None, /, **given: Tensor
) -> Tensor:
    """Mean or sum over all galaxies, or the values themselves; any other name raises.

    ValueError where that overflows though what was `given` for it, row by row, is finite, and the
    true redshift known: `place` in its bin is NaN where it is not.
    """
    check_reduction(reduction)
    reduced = values
    if reduction == "mean":
        reduced = values.mean()
    elif reduction == "sum":
        reduced = values.sum()
    refuse_overflow(reduced, values, place, **given)
    return reduced
