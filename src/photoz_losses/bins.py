"""The one reading of the redshift grid: masses of a piecewise-constant density on the bins.

Everything else in the library (losses, metrics, plots) asks this file where a redshift lies and
what a density is worth there. Nothing else touches the edges.
"""

import math
from numbers import Real
from typing import Any, Never, Self

import numpy as np
import torch
from torch import Tensor

from photoz_losses import _check, _values
from photoz_losses._blocks import blocks, joined
from photoz_losses._float64 import Float64Module


class RedshiftBins(Float64Module):
    r"""Bins in redshift, and the piecewise-constant density that masses on them stand for.

    A network gives logits over :math:`C` bins; ``probs = softmax(logits)`` are the masses
    :math:`p_c` of a density that is constant within each bin, :math:`p_c / \Delta_c`. Integral,
    point value, CDF, quantile and mean below are exact for that density, on any increasing edges.

    Bin :math:`c` holds ``edges[c] < z <= edges[c + 1]`` (paper, section 2); ``z == edges[0]`` lies
    in bin 0. A redshift is compared with the edges in its own precision, so that 0.4 in float32
    does lie in a grid that ends at 0.4; the two outer edges allow for one rounding to float32.

    Parameters
    ----------
    edges : sequence, array or Tensor, shape (C + 1,)
        Bin edges in redshift, strictly increasing, at least three (two bins).
    validate : bool, optional
        Whether the *values* of redshifts, probabilities and logits are checked (shapes and types
        always are). Default: always on the CPU, and on other devices for the first batch of each
        kind of argument only, since a look at the values makes the host wait for the device.
        True: always. False: never. Never under ``torch.compile``, ``torch.func.vmap`` and
        ``torch.export``. A redshift that escapes the check gives NaN, never a score.

    Attributes
    ----------
    edges, centers, widths : Tensor, float64
        Shapes (C + 1,), (C,), (C,). Buffers that follow ``.to(device)``. They stay in float64 under
        ``.half()`` or ``.to(dtype)``, and are no part of the ``state_dict``: a model's checkpoint
        does not change when a loss is added to it.

    Raises
    ------
    ValueError
        If the edges are fewer than three, not finite, not strictly increasing or not above -1,
        where 1 + z is 0, or a bin is so narrow or so wide that float32 has no density for it.
        In a method, if masses, redshifts, levels or shapes are not as it says.
    TypeError
        If the edges are not numbers, or have a unit. In a method, if masses or redshifts are not
        floating-point, or redshifts are in half precision.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses import RedshiftBins
    >>> bins = RedshiftBins.uniform(0.0, 0.4, 4)
    >>> bins.centers
    tensor([0.0500, 0.1500, 0.2500, 0.3500], dtype=torch.float64)
    >>> probs = torch.tensor([0.0, 0.5, 0.5, 0.0])
    >>> bins.mean(probs), bins.cdf(probs, 0.15)
    (tensor(0.2000), tensor(0.2500))
    """

    edges: Tensor
    centers: Tensor
    widths: Tensor

    def __init__(self, edges: Any, *more: Never, validate: bool | None = None) -> None:
        super().__init__()
        if more or isinstance(edges, Real):
            got = ", ".join(_check.shown(value) for value in (edges, *more))
            raise TypeError(
                f"edges must be a vector of numbers, the edges of all bins, got {got}: for bins of "
                f"equal width call RedshiftBins.uniform(z_min, z_max, n_bins)"
            )
        edges = _check.increasing("edges", edges, at_least=3)
        _check_edges(edges)
        self.register_buffer("edges", edges, persistent=False)
        self.register_buffer("centers", (edges[:-1] + edges[1:]) / 2, persistent=False)
        self.register_buffer("widths", edges.diff(), persistent=False)
        self._look = _values.Look(validate)

    @classmethod
    def uniform(
        cls, z_min: float, z_max: float, n_bins: int, *, validate: bool | None = None
    ) -> Self:
        """`n_bins` bins of equal width between `z_min` and `z_max` (paper: 180 on [0, 0.4])."""
        _check_limits(z_min, z_max, n_bins)
        return cls(torch.linspace(z_min, z_max, n_bins + 1, dtype=torch.float64), validate=validate)

    @classmethod
    def log1p(
        cls, z_min: float, z_max: float, n_bins: int, *, validate: bool | None = None
    ) -> Self:
        """`n_bins` bins of equal width in ln(1 + z), so that each is equally wide in velocity."""
        _check_limits(z_min, z_max, n_bins)
        if z_min <= -1:
            raise ValueError(f"z_min must lie above -1, where 1 + z is 0, got {z_min}")
        limits = torch.tensor([z_min, z_max], dtype=torch.float64)
        low, high = limits.log1p().tolist()
        edges = torch.linspace(low, high, n_bins + 1, dtype=torch.float64).expm1()
        edges[[0, -1]] = limits
        return cls(edges, validate=validate)

    @classmethod
    def from_quantiles(cls, z_spec: Any, n_bins: int, *, validate: bool | None = None) -> Self:
        """`n_bins` bins that hold equal shares of the redshifts `z_spec`, from least to largest.

        Raises
        ------
        ValueError
            If `z_spec` holds NaN, or so many equal values that two edges would (nearly) coincide.
        """
        z_spec = torch.from_numpy(_check.numbers("z_spec", z_spec)).flatten().sort().values
        if not z_spec.isfinite().all():
            raise ValueError("z_spec must be finite, got NaN or infinity: drop those galaxies")
        _check.count("n_bins", n_bins, 2)
        if len(z_spec) < 2:
            raise ValueError(f"z_spec must hold at least two redshifts, got {len(z_spec)}")
        rank = torch.linspace(0, len(z_spec) - 1, n_bins + 1, dtype=torch.float64)
        below = rank.floor().long()
        above = rank.ceil().long()
        edges = torch.lerp(z_spec[below], z_spec[above], rank - below)
        if not _have_density(edges.diff()).all():
            raise ValueError(
                f"z_spec has too many equal values for {n_bins} bins: ask for fewer bins"
            )
        return cls(edges, validate=validate)

    def __len__(self) -> int:
        return len(self.widths)

    def extra_repr(self) -> str:
        """Number of bins, limits and narrowest and widest bin, for ``repr``."""
        if self.edges.device.type == "meta":
            return f"{len(self)} bins"
        low, high = self.edges[0].item(), self.edges[-1].item()
        narrow, wide = self.widths.min().item(), self.widths.max().item()
        width = f"{wide:.4g}" if wide - narrow < 1e-9 * wide else f"{narrow:.4g} to {wide:.4g}"
        return f"{len(self)} bins on [{low:g}, {high:g}], width {width}"

    # What goes in -------------------------------------------------------------------------------

    def read_logits(self, logits: Tensor, name: str = "logits") -> Tensor:
        """`logits` in float32 (float64 where given so), after the checks that every loss makes.

        Raises
        ------
        TypeError
            If they are not floating-point.
        ValueError
            If the last dimension is not the number of bins, or if every row is non-negative and
            sums to one: those are probabilities, and a second softmax would flatten them.
        """
        single = self._on_bins(name, logits)
        if self._look.at(name, logits):
            _values.refuse_probabilities(name, logits)
        return single

    def read_probs(self, probs: Tensor, name: str = "probs") -> Tensor:
        """`probs` in float32 (float64 where given so), after the checks that every metric makes.

        What rounding left of each row's sum is divided out; a row that is farther off and escaped
        the check becomes NaN.

        Raises
        ------
        TypeError
            If they are not floating-point.
        ValueError
            If the last dimension is not the number of bins, a value is negative or NaN, or a row
            does not sum to one within 1e-3 (2e-2 for half precision).
        """
        tolerance = 1e-3 if torch.finfo(_check.floating(name, probs).dtype).eps < 1e-4 else 2e-2
        probs = self._on_bins(name, probs)
        total = probs.sum(-1, keepdim=True)
        if self._look.at(name, probs):
            _values.refuse_other_than_masses(name, probs, total, tolerance)
        return probs / torch.where((total - 1).abs() < tolerance, total, torch.nan)

    def shape_of(self, probs: Tensor, name: str = "probs") -> torch.Size:
        """Leading shape of `probs`, whose values are read later; the errors of `read_probs`."""
        if _check.floating(name, probs).shape[-1:] != (len(self),):
            raise self._not_on_bins(name, probs)
        return probs.shape[:-1]

    def _not_on_bins(self, name: str, value: Tensor) -> ValueError:
        return ValueError(
            f"{name} must have shape (..., {len(self)}), one entry a bin; got {tuple(value.shape)}"
        )

    def _on_bins(self, name: str, value: Tensor) -> Tensor:
        """`value` in at least float32, with one entry a bin along its last dimension."""
        self._refuse_rounded("edges")
        value = _check.at_least_single(name, value)
        if value.ndim == 0 or value.shape[-1] != len(self):
            raise self._not_on_bins(name, value)
        return value

    def locate(self, z: Tensor, shape: torch.Size, name: str = "z_spec") -> tuple[Tensor, Tensor]:
        """Bin of each true redshift, and its place within that bin, for losses and metrics.

        Parameters
        ----------
        z : Tensor, float32 or float64
            Redshifts, which must have exactly the shape `shape`.

        Returns
        -------
        index : Tensor, int64
            Bin that holds each redshift.
        place : Tensor, float64
            0 at the bin's lower edge, 1 at its upper edge; NaN for a redshift outside the bins that
            escaped the check (see `validate`).
        """
        z = _check.redshift(name, z)
        _check.same_shape(name, z, shape, "the batch, logits or probs without bins")
        index, inside = self._bin_of(z)
        if self._look.at(name, z):
            _values.refuse_outside(name, z, inside, self.edges)
        place = (z - self.edges[index]) / self.widths[index]
        return index, torch.where(inside, place.clamp(0, 1), torch.nan)

    def _bin_of(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Nearest bin of each redshift, and whether it lies within the grid (NaN does not)."""
        edges = self.edges.to(z.dtype)
        index = torch.searchsorted(edges, z.detach().contiguous()) - 1
        # a float32 0.4 that became float64 on its way lies in a grid that ends at 0.4, too
        low, high = (self.edges[end].float().to(z.dtype) for end in (0, -1))
        inside = (z >= edges[0].minimum(low)) & (z <= edges[-1].maximum(high))
        return index.clamp(0, len(self) - 1), inside

    # The reading --------------------------------------------------------------------------------

    def index(self, z: Any, out_of_range: str = "raise") -> Tensor:
        """Bin that holds each redshift: ``edges[c] < z <= edges[c + 1]`` (paper, section 2).

        Parameters
        ----------
        z : Tensor or number
            Redshifts, any shape.
        out_of_range : {"raise", "clip"}
            What happens outside the grid: an error, or the nearest bin. NaN is always an error.

        Returns
        -------
        Tensor, int64, shape of `z`
            Where no check is possible (``torch.compile``, ``validate=False``), -1 marks what should
            have raised.

        Examples
        --------
        >>> import torch
        >>> from photoz_losses import RedshiftBins
        >>> RedshiftBins.uniform(0.0, 0.4, 4).index(torch.tensor([0.0, 0.1, 0.1001, 0.4]))
        tensor([0, 0, 1, 3])
        """
        _check.one_of("out_of_range", out_of_range, ("raise", "clip"))
        z = _check.redshift("z", self._tensor("z", z))
        index, inside = self._bin_of(z)
        kept = inside if out_of_range == "raise" else ~z.isnan()
        if self._look.at("z", z):
            _values.refuse_outside("z", z, kept, self.edges)
        return torch.where(kept, index, -1)

    def density(self, probs: Tensor) -> Tensor:
        """Density in each bin, mass over width, per unit redshift; shape of `probs`."""
        probs = self.read_probs(probs)
        return probs / self.widths.to(probs.dtype)

    def pdf(self, probs: Tensor, z: Any) -> Tensor:
        """Density at `z`, per unit redshift; 0 outside the grid, NaN where `z` is.

        Parameters
        ----------
        probs : Tensor, shape (..., C)
            Masses per bin.
        z : Tensor or number
            Redshifts; shape broadcasts with that of `probs` without its last dimension. For every
            galaxy on one grid of M redshifts: ``bins.pdf(probs[:, None], grid)``, shape (N, M).
        """
        density, z = self._spread(self.density(probs), "z", z)
        index, inside = self._bin_of(z)
        value = density.gather(-1, index.unsqueeze(-1)).squeeze(-1)
        return torch.where(z.isnan(), torch.nan, torch.where(inside, value, 0.0))

    def cdf(self, probs: Tensor, z: Any) -> Tensor:
        """Mass below `z`, linear within a bin; 0 below the grid, 1 above, NaN where `z` is.

        Parameters
        ----------
        probs, z
            As in `pdf`.
        """
        below, z = self._spread(self.below_edges(self.read_probs(probs)), "z", z)
        index, _ = self._bin_of(z)
        place = ((z - self.edges[index]) / self.widths[index]).clamp(0, 1)
        lower, upper = self._at_edges(below, index)
        return torch.lerp(lower, upper, place.to(lower.dtype)).to(self._result(probs))

    def mass_below(self, below: Tensor, index: Tensor, place: Tensor) -> Tensor:
        """Mass below a place in a bin, as `locate` gives them; `below` as from `below_edges`.

        float64, shape of `index`, which is that of `below` without its last dimension.
        """
        lower, upper = self._at_edges(below, index)
        return torch.lerp(lower, upper, place.to(lower.dtype))

    def quantile(self, probs: Tensor, q: Any) -> Tensor:
        """Least redshift below which the mass `q` lies; exact inverse of `cdf`.

        Parameters
        ----------
        probs : Tensor, shape (..., C)
            Masses per bin.
        q : Tensor or number
            Levels in [0, 1]; shape broadcasts with that of `probs` without its last dimension.
            Level 0 is the lower end of the lowest bin that holds any mass.

        Raises
        ------
        ValueError
            If a level lies outside [0, 1].
        """
        below, q = self._spread(self.below_edges(self.read_probs(probs)), "q", q)
        if self._look.at("q", q) and not bool(((q >= 0) & (q <= 1)).all()):
            raise ValueError(
                f"q must lie in [0, 1], got {_check.span(q)}: give fractions, not percentages"
            )
        return self.quantile_below(below, q).to(self._result(probs))

    def quantile_below(self, below: Tensor, q: Tensor) -> Tensor:
        """`quantile` in float64, of what `below_edges` gives, and levels (...) of its shape."""
        level = q.detach().double().clamp(torch.finfo(torch.float64).tiny, 1).unsqueeze(-1)
        index = torch.searchsorted(below.detach().contiguous(), level).clamp(max=len(self) - 1)
        lower, upper = (mass.unsqueeze(-1) for mass in self._at_edges(below, index.squeeze(-1)))
        mass = upper - lower
        safe = torch.where(mass > 0, mass, 1.0)
        place = ((q.unsqueeze(-1) - lower) / safe).clamp(0, 1)
        z = (self.edges[index] + place * self.widths[index]).squeeze(-1)
        return torch.where(q.isnan(), torch.nan, z)

    def mean(self, probs: Tensor) -> Tensor:
        """Mean redshift of each density, shape of `probs` without its last dimension."""
        parts = [self.mean_of(self.read_probs(p)) for (p,) in blocks(len(self), probs)]
        return joined(parts, probs.shape[:-1])

    def mean_of(self, probs: Tensor) -> Tensor:
        """`mean` of masses that `read_probs` has read."""
        return (probs * self.centers.to(probs.dtype)).sum(-1)

    def median(self, probs: Tensor) -> Tensor:
        """Median redshift of each density, shape of `probs` without its last dimension."""
        parts = [self.quantile(p, 0.5) for (p,) in blocks(len(self), probs)]
        return joined(parts, probs.shape[:-1])

    def mode(self, probs: Tensor) -> Tensor:
        """Centre of the bin of highest *density* (not mass), shape of `probs` without its last."""
        parts = [self.mode_of(self.density(p)) for (p,) in blocks(len(self), probs)]
        return joined(parts, probs.shape[:-1])

    def mode_of(self, density: Tensor) -> Tensor:
        """`mode` of what `density` gives; NaN where that is, which is no highest one."""
        highest = self.centers[density.argmax(-1)].to(density.dtype)
        return torch.where(density.isnan().any(-1), torch.nan, highest)

    def best(self, probs: Tensor, threshold: float = 0.15) -> Tensor:
        r"""Redshift least likely to be an outlier, shape of `probs` without its last dimension.

        It minimises the expected outlier rate, the mass of all :math:`z` with
        :math:`|z_\mathrm{best} - z| > t\,(1 + z)`, that is, it maximises the mass of the window

        .. math:: F\Bigl(\frac{z_\mathrm{best} + t}{1 - t}\Bigr)
                  - F\Bigl(\frac{z_\mathrm{best} - t}{1 + t}\Bigr) ,

        as Tanaka et al. (2018) do with a smooth loss. The mass is linear between the
        redshifts at which an end of the window meets an edge of the bins, so that its maximum is
        at one of these: no grid is searched. A density narrower than the window fits into many:
        where neighbouring ones hold the most mass within 1e-6, the middle of them is taken.

        Parameters
        ----------
        probs : Tensor, shape (..., C)
            Masses per bin.
        threshold : float
            The :math:`t` of `outlier_rate`, between 0 and 1.

        Raises
        ------
        ValueError
            If `threshold` does not lie between 0 and 1.

        Examples
        --------
        >>> import torch
        >>> from photoz_losses import RedshiftBins
        >>> bins = RedshiftBins.uniform(0.0, 2.0, 20)
        >>> two_peaks = torch.zeros(20)
        >>> two_peaks[[2, 12]] = torch.tensor([0.4, 0.6])
        >>> bins.mean(two_peaks), bins.best(two_peaks, threshold=0.05)
        (tensor(0.8500), tensor(1.2475))
        """
        if not 0 < _check.number("threshold", threshold) < 1:
            raise ValueError(f"threshold must lie between 0 and 1, got {threshold}")
        mass = self.read_probs(probs).double()
        z, weight = self._windows(threshold)
        within = mass @ weight
        flat = within >= within.amax(-1, keepdim=True) - 1e-6
        peak = within.argmax(-1, keepdim=True)
        place = torch.arange(len(z), device=z.device)
        first = torch.where(~flat & (place < peak), place, -1).amax(-1) + 1
        last = torch.where(~flat & (place > peak), place, len(z)).amin(-1) - 1
        middle = (z[first] + z[last]) / 2
        return torch.where(mass.isnan().any(-1), torch.nan, middle).to(self._result(probs))

    def _windows(self, threshold: float) -> tuple[Tensor, Tensor]:
        """Redshifts (K,) at which an end of the window meets an edge, and `overlap` of each."""
        low, high = self.edges[:1], self.edges[-1:]
        upper_meets = self.edges * (1 - threshold) - threshold
        lower_meets = self.edges * (1 + threshold) + threshold
        z = torch.cat([low, upper_meets, lower_meets, high]).clamp(low, high).sort().values
        return z, self.overlap((z - threshold) / (1 + threshold), (z + threshold) / (1 - threshold))

    def overlap(self, lower: Tensor, upper: Tensor) -> Tensor:
        """Part of each bin that lies between `lower` and `upper` (K,), shape (C, K), float64."""
        start, end = self.edges[:-1, None], self.edges[1:, None]
        inside = torch.minimum(end, upper) - torch.maximum(start, lower)
        return (inside / self.widths[:, None]).clamp(0, 1)

    def below_edges(self, probs: Tensor) -> Tensor:
        """Mass below the upper edge of each bin in float64, shape of `probs`, exactly 1 at last.

        Of masses that `read_probs` has read.
        """
        total = probs.double().cumsum(-1)
        return total / total[..., -1:]

    def _at_edges(self, below: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Mass below the lower and the upper edge of the bins `index`, shape of `index`."""
        index = index.unsqueeze(-1)
        before = below.gather(-1, (index - 1).clamp(min=0))
        lower = torch.where(index > 0, before, 0.0)
        return lower.squeeze(-1), below.gather(-1, index).squeeze(-1)

    def _spread(self, per_bin: Tensor, name: str, value: Any) -> tuple[Tensor, Tensor]:
        """`per_bin` and `value` broadcast against one another along the leading dimensions."""
        value = _check.redshift(name, self._tensor(name, value))
        try:
            shape = torch.broadcast_shapes(per_bin.shape[:-1], value.shape)
        except RuntimeError:
            raise ValueError(
                f"{name} of shape {tuple(value.shape)} does not broadcast with probs of shape "
                f"{tuple(per_bin.shape[:-1])} x bins: for a grid use probs.unsqueeze(-2)"
            ) from None
        return per_bin.expand(*shape, per_bin.shape[-1]), value.expand(shape)

    def _tensor(self, name: str, value: Any) -> Tensor:
        if isinstance(value, Tensor):
            return _check.floating(name, value)
        kept = getattr(getattr(value, "dtype", None), "type", None) is np.float32
        dtype = torch.float32 if kept else torch.float64  # compared in its own precision
        if isinstance(value, (float, Real)):  # a fill: for a copy to a device the host would wait
            number = float(_check.number(name, value))
            return torch.full((), number, dtype=dtype, device=self.edges.device)
        read = _check.numbers(name, value)
        return torch.as_tensor(read, dtype=dtype, device=self.edges.device)

    @staticmethod
    def _result(probs: Tensor) -> torch.dtype:
        return torch.promote_types(probs.dtype, torch.float32)


def _check_edges(edges: Tensor) -> None:
    if not edges[0].float() > -1:  # the outer edges allow for one rounding to float32
        raise ValueError(
            f"edges must lie above -1, where 1 + z is 0, got {edges[0].item():g}: give redshifts, "
            f"not their logarithms"
        )
    widths = edges.diff()
    known = _have_density(widths)
    if not known.all():
        at = int((~known).nonzero()[0])
        raise ValueError(
            f"edges must leave bins of a width that float32 can divide by, got "
            f"{widths[at].item():g} in bin {at}: drop an edge"
        )
    if not edges[-1].float().isfinite():
        raise ValueError(f"edges must be numbers that float32 holds, got {edges[-1].item():g}")


def _have_density(widths: Tensor) -> Tensor:
    """Whether a mass over each width is a number in float32, which logits come in."""
    single = widths.float()
    return single.isfinite() & single.reciprocal().isfinite()


def _check_limits(z_min: float, z_max: float, n_bins: int) -> None:
    if not -math.inf < _check.number("z_min", z_min) < _check.number("z_max", z_max) < math.inf:
        raise ValueError(
            f"z_min must lie below z_max, both finite, got {z_min} and {z_max}: give the lower "
            f"end first"
        )
    _check.count("n_bins", n_bins, 2)


def nan_where_unknown(place: Tensor, like: Tensor) -> Tensor:
    """Factor 1, or NaN where the redshift escaped its check (see `RedshiftBins.locate`).

    A factor, so that the gradient becomes NaN with the value: neither passes unseen.
    """
    return (1 + 0 * place).to(like.dtype)


def mean_square(lower: Tensor, upper: Tensor) -> Tensor:
    """Mean over a bin of the square of a line that runs from `lower` to `upper` across it."""
    return (lower * lower + lower * upper + upper * upper) / 3
