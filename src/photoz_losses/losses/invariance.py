"""Invariance of the answer under a change of view: the paper's section 3, rotation, background."""

from torch import Tensor, nn

from photoz_losses import _check, _values
from photoz_losses.bins import RedshiftBins, mean_square
from photoz_losses.losses._reduce import check_reduction, reduce

DISTANCES = ("l2", "symmetric_kl", "cramer")
SPACES = ("probs", "logits")


def invariance_loss(
    logits: Tensor,
    logits_transformed: Tensor,
    *,
    distance: str = "l2",
    space: str = "probs",
    bins: RedshiftBins | None = None,
    reduction: str = "mean",
) -> Tensor:
    r"""Distance between the answers to an image and to another view of it.

    .. math:: P_\mathrm{invariance} = |f(x) - f(\Theta(\mathcal{B}(x)))|^2

    Engel & Strube (2023), sections 3 and 4: rotation :math:`\Theta`, background
    :math:`\mathcal{B}`. With the masses :math:`p, q` of the two views the distances are

    * ``"l2"``, the paper: :math:`\sum_c (p_c - q_c)^2`;
    * ``"symmetric_kl"``: :math:`\sum_c (p_c - q_c)(\log p_c - \log q_c)`, the sum of both
      Kullback-Leibler divergences (Jeffreys);
    * ``"cramer"``: :math:`\int (F_p - F_q)^2 dz`, which alone knows how far apart two bins are, in
      units of redshift.

    Parameters
    ----------
    logits, logits_transformed : Tensor, shape (..., C)
        Raw output of the network for the two views, without softmax.
    distance : {"l2", "symmetric_kl", "cramer"}
        See above.
    space : {"probs", "logits"}
        What ``"l2"`` compares: masses (what the paper's :math:`f` stands for) or raw logits.
    bins : RedshiftBins, optional
        The bins, which ``"cramer"`` needs. With bins the number of logits is checked as well.
    reduction : {"mean", "sum", "none"}
        Over galaxies.

    Returns
    -------
    Tensor, float32 (float64 for float64 logits)
        Scalar, or shape (...) with ``reduction="none"``. Gradients flow into both views; detach one
        to hold it fixed.

    Raises
    ------
    ValueError
        If shapes disagree, an option is not among those above, ``"cramer"`` comes without bins, or
        a distance between densities is asked for in logits.
    TypeError
        If logits are not floating-point.

    Examples
    --------
    >>> import torch
    >>> view, other = torch.tensor([[9.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, 9.0]])
    >>> invariance_loss(view, view), invariance_loss(view, other)
    (tensor(0.), tensor(1.9985))
    """
    _check_options(distance, space, bins)
    read = _values.read_logits if bins is None else bins.read_logits
    first, second = read(logits), read(logits_transformed, "logits_transformed")
    _check.same_shape("logits_transformed", second, first.shape, "logits")
    if space == "logits":
        return reduce((first - second).square().sum(-1), reduction)
    apart = first.softmax(-1) - second.softmax(-1)
    if distance == "cramer" and bins is not None:
        upper = apart.cumsum(-1)
        value = (mean_square(upper - apart, upper) * bins.widths.to(apart.dtype)).sum(-1)
    elif distance == "symmetric_kl":
        value = (apart * (first.log_softmax(-1) - second.log_softmax(-1))).sum(-1)
    else:
        value = apart.square().sum(-1)
    return reduce(value, reduction)


def _check_options(distance: str, space: str, bins: RedshiftBins | None) -> None:
    _check.one_of("distance", distance, DISTANCES)
    _check.one_of("space", space, SPACES)
    if space == "logits" and distance != "l2":
        raise ValueError(f"distance {distance!r} compares densities: use space='probs', or 'l2'")
    if distance == "cramer" and bins is None:
        raise ValueError("distance 'cramer' is an integral over redshift: give it bins=")


class InvarianceLoss(nn.Module):
    """Module of `invariance_loss`: options stored, ``forward(logits, logits_transformed)``."""

    def __init__(
        self,
        distance: str = "l2",
        space: str = "probs",
        bins: RedshiftBins | None = None,
        *,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        _check_options(distance, space, bins)
        self.distance, self.space, self.bins = distance, space, bins
        self.reduction = check_reduction(reduction)

    def forward(self, logits: Tensor, logits_transformed: Tensor) -> Tensor:
        """See `invariance_loss`."""
        return invariance_loss(
            logits,
            logits_transformed,
            distance=self.distance,
            space=self.space,
            bins=self.bins,
            reduction=self.reduction,
        )
