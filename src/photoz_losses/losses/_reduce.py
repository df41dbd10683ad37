"""The one reduction: losses are computed per galaxy first and reduced here, last."""

from torch import Tensor

from photoz_losses._check import one_of

REDUCTIONS = ("mean", "sum", "none")


def check_reduction(reduction: str) -> str:
    """`reduction` itself where it is known; ValueError otherwise."""
    return one_of("reduction", reduction, REDUCTIONS)


def reduce(values: Tensor, reduction: str) -> Tensor:
    """Mean or sum over all galaxies, or the values themselves; any other name raises."""
    check_reduction(reduction)
    if reduction == "mean":
        return values.mean()
    return values.sum() if reduction == "sum" else values
