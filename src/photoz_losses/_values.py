"""Checks of values, and when they are made: a look makes the host wait for the device."""

import torch
from torch import Tensor

from photoz_losses import _check


class Look:
    """Decides whether the values of an argument are looked at; see `validate` in `RedshiftBins`."""

    def __init__(self, validate: bool | None) -> None:
        self.validate = None if validate is None else _check.flag("validate", validate)
        self._seen: set[str] = set()

    def at(self, name: str, values: Tensor) -> bool:
        """Whether to look: on the CPU always, elsewhere at the first argument of each name."""
        if self.validate is False or not _check.can_read(values):
            return False
        if self.validate or _check.can_read_free(values):
            return True
        first = name not in self._seen
        self._seen.add(name)
        return first


def read_logits(logits: Tensor, name: str = "logits") -> Tensor:
    """`logits` in at least float32, refused if they are probabilities; for terms without bins."""
    if _check.can_read_free(_check.floating(name, logits)):
        refuse_probabilities(name, logits)
    return _check.at_least_single(name, logits)


def refuse_probabilities(name: str, logits: Tensor) -> None:
    """ValueError if every row of `logits` is non-negative and sums to one: a softmax too many."""
    tolerance = 1e-4 if torch.finfo(logits.dtype).eps < 1e-4 else 2e-2
    rows = logits.detach().double()
    if rows.numel() and bool((rows >= 0).all() & ((rows.sum(-1) - 1).abs() < tolerance).all()):
        raise ValueError(
            f"{name} look like probabilities (no value is negative, every row sums to 1): give the "
            f"network's raw output, without softmax; for probabilities use photoz_losses.metrics, "
            f"or pass probs.log()"
        )


def refuse_overflow(
    loss: Tensor, values: Tensor, place: Tensor | None = None, /, **given: Tensor
) -> None:
    """ValueError where `loss`, or a row's value, overflowed though what was given is finite.

    Not where that row's is infinite or NaN: it came of the network, and stays visible. Nor where
    `place`, that of the true redshift in its bin, is NaN: no one knows it, and the loss is NaN.
    """
    if not given or not values.numel() or not _check.can_read_free(loss, *given.values()):
        return
    if bool(loss.isfinite().all()):
        return
    finite = values.isfinite()
    blameless = torch.ones_like(finite) if place is None else ~place.isnan()
    for value in given.values():
        blameless = blameless & value.isfinite().reshape(*values.shape, -1).all(-1)
    if bool((blameless & ~finite).any() | (finite.all() & loss.isinf().any())):
        spans = (_check.span(value[value.isfinite()]) for value in given.values())
        found = " and ".join(spans)
        raise ValueError(
            f"{' and '.join(given)} must give a loss that {loss.dtype} holds, got {found}: scale "
            f"them down, or give them as float64"
        )


def refuse_other_than_masses(name: str, probs: Tensor, total: Tensor, tolerance: float) -> None:
    """ValueError unless `probs` are non-negative and each row's `total` is one."""
    if not probs.numel():
        return
    least, total = probs.detach().amin(), total.detach().squeeze(-1)  # NaN is the least of all
    if bool((least >= 0) & ((total - 1).abs() < tolerance).all()):
        return
    if bool(least.isnan()):
        rows = probs.detach().isnan().any(-1).flatten()
        raise ValueError(
            f"{name} must be masses per bin, got NaN in {int(rows.sum())} of {len(rows)} rows, the "
            f"first at index {int(rows.nonzero()[0])}: a network gives NaN for NaN; look for it in "
            f"its inputs and in its weights"
        )
    worst = total.flatten()[(total - 1).abs().flatten().nan_to_num(torch.inf).argmax()]
    raise ValueError(
        f"{name} must be masses per bin: not negative, not NaN, each row summing to 1; got "
        f"least value {least.item():.3g} and a row that sums to {worst.item():.4g}. For "
        f"logits apply torch.softmax(logits, -1); for densities multiply by bins.widths"
    )


def refuse_outside(name: str, z: Tensor, inside: Tensor, edges: Tensor) -> None:
    """ValueError that counts and shows the redshifts that are not `inside`, if there are any."""
    if not bool(inside.all()):
        at = int((~inside).flatten().nonzero()[0])
        raise ValueError(
            f"{name} must lie in [{edges[0].item():g}, {edges[-1].item():g}], the range of the "
            f"bins: {int((~inside).sum())} of {z.numel()} do not, the first is "
            f"{z.flatten()[at].item():g} at index {at}. Drop those galaxies or widen the bins"
        )
