"""Invariance of the answer under a change of view: the paper's section 3, rotation, background."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from photoz_losses import _check, _values
from photoz_losses._calls import typed_as
from photoz_losses._repr import options
from photoz_losses.bins import RedshiftBins, mean_square
from photoz_losses.losses._reduce import check_reduction, reduce

DISTANCES = ("l2", "symmetric_kl", "cramer")
SPACES = ("probs", "logits")
ROWS = "the rows of logits"
COLDEST, HOTTEST = 1e-6, 1e6  # beyond, float32 has no logits / T, or no difference of their masses


def invariance_loss(
    logits: Tensor,
    logits_transformed: Tensor,
    *,
    rows: Tensor | None = None,
    distance: str = "l2",
    space: str = "probs",
    bins: RedshiftBins | None = None,
    temperature: float = 1.0,
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
    rows : Tensor of int64, shape (M,), optional
        Which galaxies of ``logits`` (N, ..., C) the M of ``logits_transformed`` are views of, as
        `two_views` gives them; the loss is over these M. Default: all, in the same order.
    distance : {"l2", "symmetric_kl", "cramer"}
        See above.
    space : {"probs", "logits"}
        What ``"l2"`` compares: masses (what the paper's :math:`f` stands for) or raw logits.
    bins : RedshiftBins, optional
        The bins, which ``"cramer"`` needs. With bins the number of logits is checked as well.
    temperature : float
        Divides the logits of both views first: above 1 it compares flatter densities, whose
        gradients reach bins of little mass too. With ``space="logits"`` it is a factor 1/T².
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
        If shapes disagree, an option is not among those above, ``"cramer"`` comes without bins, a
        distance between densities is asked for in logits, the temperature does not lie between
        1e-6 and 1e6, or (on the CPU) a row is not among the galaxies or the loss of finite logits
        overflows: in float32 that of ``space="logits"`` beyond differences of about 1e19 T.
    TypeError
        If logits are not floating-point, or rows not int64.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses import invariance_loss
    >>> view, other = torch.tensor([[9.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, 9.0]])
    >>> invariance_loss(view, view), invariance_loss(view, other)
    (tensor(0.), tensor(1.9985))
    """
    check_options(distance, space, bins, temperature)
    read = _values.read_logits if bins is None else bins.read_logits
    logits, other = read(logits), read(logits_transformed, "logits_transformed")
    if rows is not None:
        logits = _select(logits, rows)
    some = rows is None and len(other.shape) > 1 and other.shape[1:] == logits.shape[1:]
    of = "logits (for views of some of the galaxies say which, rows=...)" if some else "logits"
    _check.same_shape("logits_transformed", other, logits.shape, of if rows is None else ROWS)
    first, second = logits / temperature, other / temperature
    apart = first - second if space == "logits" else first.softmax(-1) - second.softmax(-1)
    if distance == "cramer" and bins is not None:
        value = integral_of_squared_cdf(apart, bins)
    elif distance == "symmetric_kl":
        value = (apart * (first.log_softmax(-1) - second.log_softmax(-1))).sum(-1)
    else:
        value = apart.square().sum(-1)
    return reduce(value, reduction, logits=logits, logits_transformed=other)


def integral_of_squared_cdf(masses: Tensor, bins: RedshiftBins) -> Tensor:
    """Integral over redshift of the square of the piecewise-linear CDF of (signed) `masses`."""
    upper = masses.cumsum(-1)
    return (mean_square(upper - masses, upper) * bins.widths.to(masses.dtype)).sum(-1)


def check_options(distance: str, space: str, bins: RedshiftBins | None, temperature: float) -> None:
    """ValueError unless the options that both invariance terms share go together."""
    _check.one_of("distance", distance, DISTANCES)
    _check.one_of("space", space, SPACES)
    if space == "logits" and distance != "l2":
        raise ValueError(f"distance {distance!r} compares densities: use space='probs', or 'l2'")
    if distance == "cramer" and bins is None:
        raise ValueError("distance 'cramer' is an integral over redshift: give it bins=")
    if bins is not None:
        _check.instance("bins", bins, RedshiftBins)
    if not COLDEST <= _check.number("temperature", temperature) <= HOTTEST:
        raise ValueError(
            f"temperature must lie between {COLDEST:g} and {HOTTEST:g}, got {temperature}"
        )


def _select(logits: Tensor, rows: Tensor) -> Tensor:
    """`logits` of the galaxies `rows`, after the checks of these."""
    if not isinstance(rows, Tensor) or rows.dtype != torch.int64:
        got = rows.dtype if isinstance(rows, Tensor) else type(rows).__name__
        mend = ": call rows.nonzero().squeeze(-1)" if got == torch.bool else ""
        raise TypeError(f"rows must be a tensor of int64, the galaxies' numbers, got {got}{mend}")
    if rows.ndim != 1 or logits.ndim < 2:
        raise ValueError(
            f"rows must have shape (M,) and logits (N, ..., C), got {tuple(rows.shape)} and "
            f"{tuple(logits.shape)}"
        )
    if _check.can_read_free(rows) and not bool(((rows >= 0) & (rows < len(logits))).all()):
        raise ValueError(
            f"rows must lie in 0 to {len(logits) - 1}, the galaxies of logits, got "
            f"{int(rows.min())} to {int(rows.max())}"
        )
    return logits[rows]


class InvarianceLoss(nn.Module):
    """Module of `invariance_loss`: options stored, ``forward(logits, logits_transformed, rows)``.

    `TotalLoss` hands it all three from what `two_views` gives.

    Parameters
    ----------
    distance, space, bins, temperature, reduction
        As in `invariance_loss`, which has shapes, equation and errors.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses import InvarianceLoss
    >>> InvarianceLoss()(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 0.0]]))
    tensor(0.2900)
    """

    def __init__(
        self,
        distance: str = "l2",
        space: str = "probs",
        bins: RedshiftBins | None = None,
        *,
        temperature: float = 1.0,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        check_options(distance, space, bins, temperature)
        self.distance, self.space, self.bins = distance, space, bins
        self.temperature, self.reduction = temperature, check_reduction(reduction)

    def forward(
        self, logits: Tensor, logits_transformed: Tensor, rows: Tensor | None = None
    ) -> Tensor:
        """See `invariance_loss`."""
        return invariance_loss(
            logits,
            logits_transformed,
            rows=rows,
            distance=self.distance,
            space=self.space,
            bins=self.bins,
            temperature=self.temperature,
            reduction=self.reduction,
        )

    if TYPE_CHECKING:

        @typed_as(forward)
        def __call__(self) -> None:
            """As `forward`."""

    def extra_repr(self) -> str:
        """Options, for ``repr``."""
        return options(self, "distance", "space", "temperature", "reduction")
