"""Recalibration fitted on a validation set: Modules from logits to logits on the same bins."""

import math
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from scipy import optimize
from torch import Tensor, nn

from photoz_losses import _check
from photoz_losses._calls import typed_as
from photoz_losses._float64 import Float64Module
from photoz_losses._repr import options
from photoz_losses.bins import RedshiftBins

__all__ = ["PITRecalibration", "TemperatureScaling"]


class _Calibration(Float64Module):
    """What is learned is in buffers, NaN until fitted, and goes with the ``state_dict``."""

    _options: ClassVar[tuple[str, ...]] = ()  # attributes that ``repr`` shows
    _learned: ClassVar[tuple[str, ...]] = ()  # buffers

    def __init__(self, bins: RedshiftBins) -> None:
        super().__init__()
        self.bins = _check.instance("bins", bins, RedshiftBins)
        self._fitted = False

    def extra_repr(self) -> str:
        """Options, and whether it is fitted, for ``repr``."""
        return ", ".join(filter(None, [options(self, *self._options), self._state()]))

    def _state(self) -> str:
        return "fitted" if self._fitted else "not fitted"

    def _learn(self, **values: Any) -> Self:
        for name, value in values.items():
            getattr(self, name).copy_(torch.as_tensor(value))
        self._fitted = True
        return self

    def _read(self, logits: Tensor) -> Tensor:
        if not self._fitted:
            raise RuntimeError(
                f"{type(self).__name__} is not fitted: call .fit(logits, z_spec) with a validation "
                f"set, or load a state_dict"
            )
        return self.bins.read_logits(logits)

    def _validation(self, logits: Tensor, z_spec: Tensor) -> tuple[Tensor, Tensor]:
        """Log masses (N, C) in float64, and true redshifts (N,) that have passed their checks."""
        log_probs = self.bins.read_logits(logits).detach().double().log_softmax(-1)
        if bool(self.bins.locate(z_spec, log_probs.shape[:-1])[1].isnan().any()):
            raise ValueError("z_spec must lie within the bins and not be NaN: drop those galaxies")
        log_probs, z_spec = log_probs.flatten(0, -2), z_spec.detach().flatten()
        if not len(z_spec):
            raise ValueError("z_spec must hold at least one galaxy to fit on, got none")
        if bool(log_probs.isnan().any()):
            raise ValueError("logits must not hold NaN: drop those galaxies")
        return log_probs, z_spec

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """All that was learned, or none of it: what is refused leaves the fit that was there."""
        before = {name: getattr(self, name).clone() for name in self._learned}
        found, complaints = [name for name in before if prefix + name in state_dict], args[-1]
        earlier = len(complaints)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        fitted = not any(bool(getattr(self, name).isnan().any()) for name in self._learned)
        whole = len(found) in (0, len(before)) and len(complaints) == earlier
        if whole and (not fitted or self._is_sound()):
            self._fitted = fitted
            return
        for name, buffer in before.items():
            setattr(self, name, buffer)
        if len(complaints) == earlier:  # or torch tells them in the end
            raise ValueError(
                f"state_dict holds what no fit gives a {type(self).__name__}: fit it again"
            )

    def _is_sound(self) -> bool:
        """Whether what was loaded could have been learned."""
        raise NotImplementedError


class TemperatureScaling(_Calibration):
    r"""Density raised to the power 1/T and normalised: one number makes all wider or narrower.

    .. math:: f'(z) \propto f(z)^{1/T}, \qquad
              \mathrm{logit}'_c = \frac{\mathrm{logit}_c - \ln\Delta_c}{T} + \ln\Delta_c

    Guo et al. (2017), section 4.2, for densities: on bins of equal width it is their
    :math:`\mathrm{logit}/T`; on others a division of the logits alone would pull the density
    towards equal mass in every bin, wide or narrow. T > 1 widens; the mode stays where it is.

    Parameters
    ----------
    bins : RedshiftBins
        The C bins.

    Attributes
    ----------
    temperature : Tensor, float64 scalar
        Buffer, in the ``state_dict``; NaN until fitted.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses import RedshiftBins
    >>> from photoz_losses.calibration import TemperatureScaling
    >>> bins = RedshiftBins.uniform(0.0, 0.4, 4)
    >>> logits = torch.tensor([[4.0, 0.0, 0.0, 0.0]] * 4)  # sure of the first bin
    >>> z_spec = torch.tensor([0.05, 0.05, 0.15, 0.25])  # which is right half of the time
    >>> calibration = TemperatureScaling(bins).fit(logits, z_spec)
    >>> calibration(logits).softmax(-1)[0]
    tensor([0.5000, 0.1667, 0.1667, 0.1667])
    """

    temperature: Tensor
    _learned = ("temperature",)

    def __init__(self, bins: RedshiftBins) -> None:
        super().__init__(bins)
        self.register_buffer("temperature", torch.tensor(torch.nan, dtype=torch.float64))

    def _is_sound(self) -> bool:
        return bool((self.temperature > 0) & self.temperature.isfinite())

    def _state(self) -> str:
        return options(self, "temperature") if self._fitted else "not fitted"

    def fit(self, logits: Tensor, z_spec: Tensor) -> Self:
        r"""Find the temperature of least mean log score, which is convex in 1/T.

        Its derivative in :math:`\beta = 1/T` is the mean of :math:`\ln f` that the tempered
        densities expect minus the mean of :math:`\ln f(\hat z)`; it rises with :math:`\beta`, and
        its root is bracketed.

        Parameters
        ----------
        logits : Tensor, shape (..., C)
            Raw output of the network for galaxies that it was not trained on.
        z_spec : Tensor, float32 or float64, shape (...)
            Their true redshifts, within the bins.

        Returns
        -------
        TemperatureScaling
            This Module.

        Raises
        ------
        ValueError
            If the log score falls for ever as T goes to 0 or to infinity (to 1e-3 or 1e3): truths
            all in the densest bins, or in bins that are no denser than others; if a true redshift
            lies where the logit is minus infinity; if there is no galaxy.
        TypeError
            If `logits` or `z_spec` is not floating-point.
        """
        log_probs, z_spec = self._validation(logits, z_spec)
        log_widths = self.bins.widths.log()
        log_density = log_probs - log_widths
        own = self.bins.index(z_spec).unsqueeze(-1)
        reached = log_density.gather(-1, own).mean()
        if not bool(reached.isfinite()):
            raise ValueError("logits must be finite in the bin of z_spec: no temperature mends it")

        def slope(log_beta: float) -> float:
            probs = (log_density * math.exp(log_beta) + log_widths).softmax(-1)
            expected = torch.where(probs > 0, probs * log_density, 0.0).sum(-1).mean()
            return (expected - reached).item()

        step = 1.0 if slope(0.0) < 0 else -1.0  # away from T = 1, until the slope changes its sign
        start, end = 0.0, step
        while not step * slope(end) > 1e-12:  # beyond rounding
            if abs(end) > math.log(1e3):
                raise ValueError(
                    "logits give no temperature below 1e3: they tell no more of z_spec than flat "
                    "densities do, or are far too large. Train the network; if it is trained, look "
                    "whether its rows are those of z_spec"
                    if end < 0
                    else "logits give no temperature above 1e-3: every z_spec lies in the densest "
                    "bin of its galaxy, or they are far too small. Fit on more galaxies, that the "
                    "network has not seen"
                )
            start, end = end, end + step
        log_beta = optimize.brentq(slope, start, end, xtol=1e-9)
        return self._learn(temperature=math.exp(-log_beta))

    def forward(self, logits: Tensor) -> Tensor:
        """Logits of the recalibrated densities, shape of `logits`; RuntimeError if not fitted."""
        logits = self._read(logits)
        log_widths = self.bins.widths.log().to(logits.dtype)
        return (logits - log_widths) / self.temperature.to(logits.dtype) + log_widths

    if TYPE_CHECKING:

        @typed_as(forward)
        def __call__(self) -> None:
            """As `forward`."""


class PITRecalibration(_Calibration):
    r"""CDFs mapped by the distribution of validation PITs, so that new PITs are uniform.

    .. math:: F'(z) = r\bigl(F(z)\bigr), \qquad r(u) = P(\mathrm{PIT} \le u)

    Bordoloi, Lilly & Amara (2010); Kuleshov et al. (2018). One map for all galaxies: it mends
    densities that are too narrow, too wide or shifted in the mean of the sample, not as a function
    of magnitude or colour. :math:`r` rises in straight lines between quantiles of the validation
    PITs, each holding as many of them, mixed with the identity in proportion to `prior` galaxies.
    So it rises everywhere, and no mass becomes zero. (Two more lines lead from 0 to the least PIT
    and from the largest to 1.)

    The masses on the bins are those of :math:`F'`, exact at every edge; within a bin the density is
    constant again, so that bins should be narrow beside the densities.

    Parameters
    ----------
    bins : RedshiftBins
        The C bins.
    n_segments : int
        Number of straight lines, at least two. More follow the PITs more closely, and their noise
        too: each slope is uncertain by about the root of `n_segments` over galaxies.
    prior : float
        Number of calibrated galaxies thought to be among the validation set. Positive.

    Attributes
    ----------
    knots, values : Tensor, float64, shape (n_segments + 3,)
        The :math:`u` and :math:`r(u)` between which the map is straight. Buffers, in the
        ``state_dict``; NaN until fitted.

    Raises
    ------
    ValueError
        If `n_segments` is below two or `prior` is not positive.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses import RedshiftBins
    >>> from photoz_losses.calibration import PITRecalibration
    >>> bins = RedshiftBins.uniform(0.0, 1.0, 10)
    >>> logits = torch.zeros(1000, 10)  # flat densities
    >>> z_spec = torch.linspace(0, 0.5, 1000)  # of galaxies that all lie below 0.5
    >>> calibration = PITRecalibration(bins).fit(logits, z_spec)
    >>> calibration(logits).softmax(-1)[0, :5].sum()
    tensor(0.9941)
    """

    _options = ("n_segments", "prior")
    _learned = ("knots", "values")
    knots: Tensor
    values: Tensor

    def __init__(self, bins: RedshiftBins, *, n_segments: int = 20, prior: float = 10.0) -> None:
        super().__init__(bins)
        _check.count("n_segments", n_segments, 2)
        if not 0 < _check.number("prior", prior) < math.inf:
            raise ValueError(f"prior must be positive and finite, got {prior}")
        self.n_segments, self.prior = n_segments, prior
        unknown = torch.full((n_segments + 3,), torch.nan, dtype=torch.float64)
        self.register_buffer("knots", unknown)
        self.register_buffer("values", unknown.clone())

    def _is_sound(self) -> bool:
        ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
        return all(
            bool((line.diff() > 0).all()) and torch.equal(line[[0, -1]].cpu(), ends)
            for line in (self.knots, self.values)
        )

    def fit(self, logits: Tensor, z_spec: Tensor) -> Self:
        """Learn the map from the PITs of a validation set.

        Parameters
        ----------
        logits : Tensor, shape (..., C)
            Raw output of the network for galaxies that it was not trained on.
        z_spec : Tensor, float32 or float64, shape (...)
            Their true redshifts, within the bins.

        Returns
        -------
        PITRecalibration
            This Module.

        Raises
        ------
        ValueError
            If there are fewer galaxies than segments.
        TypeError
            If `logits` or `z_spec` is not floating-point.
        """
        log_probs, z_spec = self._validation(logits, z_spec)
        N = len(z_spec)
        if self.n_segments > N:
            raise ValueError(
                f"z_spec must hold at least as many galaxies as n_segments, {self.n_segments}, "
                f"got {N}"
            )
        pit = self.bins.cdf(log_probs.exp(), z_spec).sort().values
        rank = torch.linspace(0, N - 1, self.n_segments + 1, dtype=torch.float64).to(pit.device)
        quantiles = torch.lerp(pit[rank.floor().long()], pit[rank.ceil().long()], rank.frac())
        knots = nn.functional.pad(quantiles, (1, 1))
        knots[-1] = 1
        # PITs of exactly 0 or 1 put several quantiles in one place
        apart = 1e-9 * torch.arange(len(knots), dtype=torch.float64, device=pit.device)
        knots = (knots - apart).cummax(0).values + apart
        knots = torch.minimum(knots, 1 - apart.flip(0))
        values = nn.functional.pad((rank + 1) / (N + 1), (1, 1))
        values[-1] = 1
        return self._learn(knots=knots, values=torch.lerp(knots, values, N / (N + self.prior)))

    def forward(self, logits: Tensor) -> Tensor:
        """Logits of the recalibrated densities, shape of `logits`; RuntimeError if not fitted."""
        logits = self._read(logits)
        log_probs = logits.double().log_softmax(-1)
        cdf = nn.functional.pad(log_probs.exp().cumsum(-1).clamp(max=1), (1, 0))
        # the straight line that each edge is on
        line = torch.searchsorted(self.knots[1:-1].contiguous(), cdf.detach(), right=True)
        slopes = self.values.diff() / self.knots.diff()
        mapped = self.values[line] + slopes[line] * (cdf - self.knots[line])
        mass, start, end = cdf.diff(), line[..., :-1], line[..., 1:]
        # only where a bin spans several lines, and rounding leaves its mass some digits
        spans = (start != end) & (mass > 1e-13 * cdf[..., 1:])
        mean_slope = mapped.diff() / torch.where(spans, mass, 1.0)
        mean_slope = mean_slope.clamp(slopes.min(), slopes.max())
        slope = torch.where(spans, mean_slope, slopes[start])
        return (log_probs + slope.log()).to(logits.dtype)

    if TYPE_CHECKING:

        @typed_as(forward)
        def __call__(self) -> None:
            """As `forward`."""
