"""Mean, median and quantiles of weighted samples; weights may have replica dimensions in front.

An integer weight equals that many repetitions, zero means not in the sample. Everything sorts,
since ``torch.median`` returns the lower of two middle values and ``torch.quantile`` refuses
2**24 values.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from photoz_losses import _check

EPSILON = torch.finfo(torch.float64).eps
LEAST = 1e-280  # of the largest weight: below, the total of shares has no digits left, or is 0


def read_weights(weights: Tensor, like: Tensor, name: str) -> Tensor:
    """`weights` in float64, the galaxies of `like` in one last dimension, after the checks.

    A weight that is negative or not finite and escaped the check becomes NaN.
    """
    if _check.dense("weights", weights).is_complex():
        raise TypeError(f"weights must be real, got {weights.dtype}: call weights.real")
    replicas = weights.ndim - like.ndim
    if replicas < 0 or weights.shape[replicas:] != like.shape:
        _check.same_shape("weights", weights, like.shape, name)
    weights = weights.detach().double().reshape(*weights.shape[:replicas], like.numel())
    if not weights.numel():
        return weights
    if _check.can_read_free(weights):
        low, high = weights.aminmax()
        if not (low >= 0 and high < torch.inf):
            raise ValueError(
                "weights must be finite and not negative, got NaN, infinity or less than 0: "
                "a weight of 0 leaves a galaxy out"
            )
        if not bool(weights.sum(-1).isfinite().all()):
            raise ValueError("weights must have a finite sum, got infinity: divide by the largest")
        if 0 < high < LEAST:
            raise ValueError(
                f"weights must not all be less than {LEAST:g}, where digits end, got at most "
                f"{high.item():g}: divide by the largest"
            )
        return weights
    return torch.where((weights >= 0) & weights.isfinite(), weights, torch.nan)


def mean(values: Tensor, weights: Tensor | None = None) -> Tensor:
    """Weighted mean over the last dimension; NaN without galaxies, or with NaN among them."""
    if weights is None:
        return values.mean(-1)
    if values.ndim == 1 and _check.can_read_free(values) and bool(values.isfinite().all()):
        return (weights @ values) / weights.sum(-1)  # many replicas in one product
    return (weights * torch.where(weights == 0, 0.0, values)).sum(-1) / weights.sum(-1)


def median(values: Tensor, weights: Tensor | None = None) -> Tensor:
    """Weighted median over the last dimension; NaN without galaxies, or with NaN among them.

    Mean of the lower and the upper median, the first values at which the sum of the sorted
    weights reaches and exceeds half of the total: the mean of the middle two for an even count.
    """
    ordered, each = _sorted(values, weights)
    if not ordered.shape[-1]:
        return each.sum(-1) * torch.nan
    if weights is None:
        middle = (ordered.shape[-1] - 1) // 2, ordered.shape[-1] // 2
        return _unless_undefined((ordered[..., middle[0]] + ordered[..., middle[1]]) / 2, ordered)
    upto = each.cumsum(-1)
    half, slack = upto[..., -1:] / 2, _rounding(upto)
    lower = _take(ordered, torch.searchsorted(upto, half - slack))
    upper = _take(ordered, torch.searchsorted(upto, half + slack, right=True))
    return _unless_undefined((lower + upper).squeeze(-1) / 2, ordered, each)


def quantiles(values: Tensor, at: Sequence[float], weights: Tensor | None = None) -> list[Tensor]:
    """Quantiles over the last dimension, linear between two values as in NumPy.

    With weights of total :math:`W` that at :math:`q` is the mean of the sorted values over the
    window of weights from :math:`(W - 1) q` to :math:`(W - 1) q + 1`, which is the same for weights
    of one. The weights count galaxies: unlike the median's their normalisation matters. Weights
    that add up to less than there are galaxies of weight above 0 (those of sum 1, say) cannot be
    counts, and are taken with a mean of 1.
    """
    ordered, each = _sorted(values, weights)
    if not ordered.shape[-1]:
        return [each.sum(-1) * torch.nan] * len(at)
    if weights is None:
        return [_unless_undefined(_between(ordered, q), ordered) for q in at]
    total = each.sum(-1, keepdim=True)
    galaxies = (each > 0).sum(-1, keepdim=True)
    each = torch.where((total > 0) & (total < galaxies), each * (galaxies / total), each)
    upto = each.cumsum(-1)
    return [_unless_undefined(_window(ordered, each, upto, q), ordered, each) for q in at]


def _between(ordered: Tensor, q: float) -> Tensor:
    rank = (ordered.shape[-1] - 1) * q
    low, high = ordered[..., math.floor(rank)], ordered[..., math.ceil(rank)]
    between = low + (rank - math.floor(rank)) * (high - low)
    return torch.where(low == high, low, between)  # infinite ones too


def _window(ordered: Tensor, each: Tensor, upto: Tensor, q: float) -> Tensor:
    start = ((upto[..., -1:] - 1) * q).clamp(min=0)
    share = torch.minimum(upto, start + 1) - torch.maximum(upto - each, start)
    return mean(ordered, share.clamp(min=0))


def _sorted(values: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """Values in order, and their weights, which may be those of many replicas."""
    ordered, order = values.sort(dim=-1)
    if weights is None:
        return ordered, torch.ones_like(ordered)
    if order.ndim == 1:  # of all replicas
        return ordered, weights.index_select(-1, order)
    shape = torch.broadcast_shapes(weights.shape, order.shape)
    return ordered.expand(shape), weights.expand(shape).gather(-1, order.expand(shape))


def _rounding(upto: Tensor) -> Tensor:
    """What rounding may have done to a running sum: far below a galaxy, exact for integers."""
    return 8 * EPSILON * math.sqrt(upto.shape[-1]) * upto[..., -1:]


def _take(ordered: Tensor, index: Tensor) -> Tensor:
    index = index.clamp(max=ordered.shape[-1] - 1)
    return ordered.expand(*index.shape[:-1], ordered.shape[-1]).gather(-1, index)


def _unless_undefined(value: Tensor, ordered: Tensor, each: Tensor | None = None) -> Tensor:
    """`value`, or NaN where a value is NaN, no weight is left, or a weight is NaN."""
    if each is None:
        return torch.where(ordered[..., -1].isnan(), torch.nan, value)
    missing = (ordered.isnan() & (each != 0)).any(-1)
    return torch.where(missing | ~(each.sum(-1) > 0), torch.nan, value)
