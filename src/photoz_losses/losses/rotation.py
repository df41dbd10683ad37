"""Invariance under small rotations: the derivative of the answer with the angle, made small."""

from typing import TYPE_CHECKING

from torch import Tensor, nn

from photoz_losses import _check, _values
from photoz_losses._calls import typed_as
from photoz_losses._repr import options
from photoz_losses.bins import RedshiftBins
from photoz_losses.losses._reduce import check_reduction, reduce
from photoz_losses.losses.invariance import check_options, integral_of_squared_cdf


def rotation_derivative_loss(
    logits: Tensor,
    derivative: Tensor,
    *,
    distance: str = "l2",
    space: str = "probs",
    bins: RedshiftBins | None = None,
    temperature: float = 1.0,
    reduction: str = "mean",
) -> Tensor:
    r"""Squared speed at which the answer changes as the image turns: df/dφ = 0, made a loss.

    .. math:: P = \lim_{\varphi \to 0}
              \frac{P_\mathrm{invariance}(f(x), f(\Theta_\varphi(x)))}{\varphi^2}

    Engel & Strube (2023) leave it as future work. With :math:`d_c` the derivative of the logits,
    :math:`p = \mathrm{softmax}(\mathrm{logits} / T)` the masses and
    :math:`\dot p_c = p_c (d_c - \sum_k p_k d_k) / T` their derivative, the distances of
    `invariance_loss` become

    * ``"l2"``: :math:`\sum_c \dot p_c^2`; with ``space="logits"``
      :math:`\sum_c d_c^2 / T^2`;
    * ``"symmetric_kl"``: :math:`\sum_c p_c (d_c - \sum_k p_k d_k)^2 / T^2`, the Fisher information
      on the angle;
    * ``"cramer"``: :math:`\int (dF/d\varphi)^2 dz`, in units of redshift.

    Parameters
    ----------
    logits : Tensor, shape (..., C)
        Raw output of the network, without softmax.
    derivative : Tensor, shape (..., C)
        Derivative of the logits with respect to the rotation angle, per radian, as
        `rotation_derivative` gives it.
    distance, space, bins, temperature, reduction
        As in `invariance_loss`.

    Returns
    -------
    Tensor, float32 (float64 where an argument is)
        Scalar, or shape (...) with ``reduction="none"``; per square radian.

    Raises
    ------
    ValueError, TypeError
        As `invariance_loss`; in float32 the loss, or its gradient alone, overflows beyond
        derivatives of about 1e19 T.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses import rotation_derivative_loss
    >>> logits, derivative = torch.zeros(1, 2), torch.tensor([[1.0, -1.0]])
    >>> rotation_derivative_loss(logits, derivative)  # both masses change by 1/2 a radian
    tensor(0.5000)
    """
    check_options(distance, space, bins, temperature)
    read = _values.read_logits if bins is None else bins.read_logits
    logits, derivative = read(logits), _check.at_least_single("derivative", derivative)
    _check.same_shape("derivative", derivative, logits.shape, "logits")
    scaled, speed = logits / temperature, derivative / temperature
    change = relative = speed
    if space == "probs":
        probs = scaled.softmax(-1)
        relative = speed - (probs * speed).sum(-1, keepdim=True)  # derivative of log p
        change = probs * relative
    if distance == "cramer" and bins is not None:
        value = integral_of_squared_cdf(change, bins)
    elif distance == "symmetric_kl":
        value = (change * relative).sum(-1)
    else:
        value = change.square().sum(-1)
    return reduce(value, reduction, logits=logits, derivative=derivative)


class RotationDerivativeLoss(nn.Module):
    """Module of `rotation_derivative_loss`: options stored, ``forward(logits, derivative)``.

    Parameters
    ----------
    distance, space, bins, temperature, reduction
        As in `rotation_derivative_loss`, which has shapes, equation and errors.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses import RotationDerivativeLoss
    >>> RotationDerivativeLoss()(torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, -1.0]]))
    tensor(0.0882)
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

    def forward(self, logits: Tensor, derivative: Tensor) -> Tensor:
        """See `rotation_derivative_loss`."""
        return rotation_derivative_loss(
            logits,
            derivative,
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
