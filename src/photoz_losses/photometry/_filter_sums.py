r"""Sums over the pixels of a spectrum with every filter as the weight, at any shift.

A filter curve is a line between two tabulated wavelengths, :math:`R(x) = a_j + b_j x` from knot
:math:`x_j` to :math:`x_{j+1}`. On the stretch of pixels whose shifted wavelengths
:math:`\nu\lambda_k` lie there, :math:`\sum_k v_k R(\nu\lambda_k)` is :math:`a_j` and
:math:`b_j\nu` times differences of the prefix sums :math:`S_0` of :math:`v` and :math:`S_1` of
:math:`v\lambda`. The prefix sums are made once for each spectrum; a shift then costs one look-up a
knot and no pass over the pixels:

.. math:: \sum_k v_k R(\nu\lambda_k) = \sum_j \left[ a_j \Delta_j S_0 + b_j\nu\,\Delta_j S_1 \right]
          = -\sum_j \left[ (a_j - a_{j-1})\, S_0(i_j) + (b_j - b_{j-1})\,\nu\, S_1(i_j) \right],

with :math:`i_j` the first pixel at or beyond knot :math:`j`, :math:`\Delta_j S = S(i_{j+1}) -
S(i_j)`, and the second form, summed by parts, half the look-ups where the compiler fuses them. It
takes rises above the band's first knot, :math:`S(i_j) - S(i_0)`: since the changes of line add up
to zero this alters nothing, but where no pixel falls into the filter each rise, and the sum, is
exactly zero. Large changes that cancel cost digits, so filters with steep sides, or of many knots
that wiggle, keep the first form.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from photoz_losses._float64 import Float64Module
from photoz_losses.photometry.filters import FilterSet

STRAIGHT = 1e-15  # of the curve's height: a knot this near to the line through its neighbours
MANY = 200  # knots of a curve whose rounding by parts adds up
STEEP = 250.0  # times the curve's height: the changes of its intercept that may be by parts


class FilterSums(Float64Module):
    r""":math:`\sum_k v_k R_b(\nu\lambda_k)^p` for every band b and shift :math:`\nu`.

    Parameters
    ----------
    filters : FilterSet
    wavelength : Tensor, shape (L,), float64
    power : int
        The power p of the response: a polynomial of that degree on each stretch.
    """

    wavelength: Tensor
    knots: Tensor
    weights: Tensor

    def __init__(self, filters: FilterSet, wavelength: Tensor, power: int = 1) -> None:
        super().__init__()
        pairs = zip(filters.wavelengths, filters.responses, strict=True)
        curves = [_bends(x, y) for x, y in pairs]
        self.sizes = [len(x) for x, _ in curves]
        polynomials = [_polynomial(x, y, power) for x, y in curves]
        self.steep = [
            len(y) > MANY or _is_steep(polynomial, y.max() ** power)
            for polynomial, (_, y) in zip(polynomials, curves, strict=True)
        ]
        self.grid, self.step = _grid(wavelength, filters)
        weights = [
            nn.functional.pad(polynomial, (0, 1)) if steep else _changes(polynomial)
            for steep, polynomial in zip(self.steep, polynomials, strict=True)
        ]
        knots = torch.cat([_last_a_hair_longer(x) for x, _ in curves])
        self.register_buffer("wavelength", wavelength, persistent=False)
        self.register_buffer("knots", knots, persistent=False)
        self.register_buffer("weights", torch.cat(weights, -1), persistent=False)

    def extra_repr(self) -> str:
        """Number of bands and knots, and the grid's kind, for ``repr``."""
        return f"{len(self.sizes)} bands, {sum(self.sizes)} knots, grid={self.grid!r}"

    def first_pixels(self, nu: Tensor) -> list[Tensor]:
        """First pixel at or beyond each knot, for shifts (N, C): for each band, (N, C * knots)."""
        nu = torch.where(nu > 0, nu, 1.0).unsqueeze(-1)  # NaN has no pixel, and gets any
        if self.grid == "any":
            knots = [knots / nu for knots in self.knots.split(self.sizes)]
            return [torch.searchsorted(self.wavelength, x).flatten(1) for x in knots]
        # On an even grid arithmetic instead of a search. Where rounding moves a pixel that lies on
        # a knot to the other side, the lines that meet there give it the same response.
        if self.grid == "log":
            shift = nu.log() / self.step
            places = ((self.knots / self.wavelength[0]).log() / self.step).split(self.sizes)
            positions = [place - shift for place in places]
        else:
            stretch, first = 1 / nu, self.wavelength[0] / self.step
            places = (self.knots / self.step).split(self.sizes)
            positions = [place * stretch - first for place in places]
        count = len(self.wavelength)
        return [position.ceil_().clamp(0, count).long().flatten(1) for position in positions]

    def forward(self, first_pixels: Sequence[Tensor], nu: Tensor, values: Tensor) -> Tensor:
        """Sums (N, C, B) of `values` (N or 1, L), from the `first_pixels` of `nu` (N, C)."""
        value, wavelength = (nn.functional.pad(x, (1, 0)) for x in (values, self.wavelength))
        prefix = []
        for _ in self.weights:
            prefix.append(value.cumsum(-1).expand(len(nu), -1))
            value = value * wavelength
        weights = self.weights.split(self.sizes, -1)
        bands = zip(first_pixels, weights, self.steep, strict=True)
        return torch.stack([_sum_of_band(prefix, nu, *band) for band in bands], -1)


def _sum_of_band(
    prefix: list[Tensor], nu: Tensor, pixels: Tensor, weights: Tensor, steep: bool
) -> Tensor:
    """One band's sum over its knots, shape (N, C); `prefix` and `weights` by degree."""
    fused = torch.compiler.is_compiling()  # into one loop over the knots, if one sum ends it
    terms = []
    for degree, (sums, weight) in enumerate(zip(prefix, weights, strict=True)):
        rise = sums.gather(-1, pixels).unflatten(-1, (nu.shape[-1], len(weight)))
        if steep:
            rise, weight = rise.diff(), weight[:-1]
        else:
            # Detached: as the changes add up to zero, so does the first knot's share in a gradient.
            first = rise[..., :1].detach()
            # In place without a gradient; with one, autograd would copy the whole for it.
            rise = rise - first if rise.requires_grad else rise.sub_(first.clone())
        if fused:
            terms.append(rise * (weight * nu.unsqueeze(-1) ** degree if degree else weight))
        else:
            terms.append((rise * weight).sum(-1) * nu**degree)
    total: Tensor = sum(terms[1:], terms[0])
    return total.sum(-1) if fused else total


def _bends(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The curve from its first response to its last, without the knots at which it is straight."""
    seen = y.nonzero()
    x, y = (values[max(0, int(seen[0]) - 1) : int(seen[-1]) + 2] for values in (x, y))
    slope = y.diff() / x.diff()
    bend = slope.diff().abs() * torch.minimum(x[1:-1] - x[:-2], x[2:] - x[1:-1])
    keep = nn.functional.pad(bend > STRAIGHT * y.max(), (1, 1), value=True)
    return x[keep], y[keep]


def lines(x: Tensor, y: Tensor) -> Tensor:
    """Intercept and slope of each stretch, (2, K - 1)."""
    slope = y.diff() / x.diff()
    return torch.stack([y[:-1] - slope * x[:-1], slope])


def _polynomial(x: Tensor, y: Tensor, power: int) -> Tensor:
    """Power of the response on each stretch, coefficients by degree, (power + 1, K - 1)."""
    intercept, slope = lines(x, y)
    coefficients = torch.ones_like(intercept).unsqueeze(0)
    for _ in range(power):
        raised = nn.functional.pad(coefficients * slope, (0, 0, 1, 0))
        coefficients = nn.functional.pad(coefficients * intercept, (0, 0, 0, 1)) + raised
    return coefficients


def _is_steep(polynomial: Tensor, height: Tensor) -> bool:
    """Whether the terms by parts, whose rounding adds up at random, are too large for that form."""
    return bool(nn.functional.pad(polynomial[0], (1, 1)).diff().norm() > STEEP * height)


def _changes(polynomial: Tensor) -> Tensor:
    """Minus the change of each coefficient at each knot, (power + 1, K)."""
    return -nn.functional.pad(polynomial, (1, 1)).diff()


def _last_a_hair_longer(x: Tensor) -> Tensor:
    """So that a pixel right on the end of a filter that ends with a jump still counts."""
    return torch.cat([x[:-1], torch.nextafter(x[-1:], x[-1:] + 1)])


def _grid(wavelength: Tensor, filters: FilterSet) -> tuple[str, float]:
    """Kind of a grid and its step: even in ln wavelength or in wavelength to rounding, or any.

    Any also where a filter ends on a jump: there the side on which a pixel falls matters.
    """
    closed = all(curve[0] == 0 == curve[-1] for curve in filters.responses)
    count = torch.arange(len(wavelength), dtype=torch.float64)
    for kind, x in (("log", wavelength.log()), ("linear", wavelength)):
        step = ((x[-1] - x[0]) / (len(x) - 1)).item()
        if closed and bool(((x - x[0]) / step - count).abs().max() < 1e-9):
            return kind, step
    return "any", float("nan")
