"""The yardstick: the paper's appendix A and B.1 as one would write them in PyTorch.

The filter is interpolated at every shifted pixel, for every galaxy, bin and band, all at once. It
shares no code with the library and needs float64 spectra.
"""

import torch
from torch import Tensor

SPEED_OF_LIGHT = 2.99792458e18  # Angstrom / s
Curves = list[tuple[Tensor, Tensor]]  # each band's wavelengths and responses


def interpolate(x: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    """Linear interpolation, zero outside the knots."""
    right = torch.searchsorted(knots, x).clamp(1, len(knots) - 1)
    share = (x - knots[right - 1]) / (knots[right] - knots[right - 1])
    inside = (x >= knots[0]) & (x <= knots[-1])
    return torch.where(inside, torch.lerp(values[right - 1], values[right], share), 0.0)


def trapezoid_weights(x: Tensor) -> Tensor:
    half = x.diff() / 2
    return torch.nn.functional.pad(half, (0, 1)) + torch.nn.functional.pad(half, (1, 0))


def direct_sums(
    curves: Curves, wavelength: Tensor, flux: Tensor, nu: Tensor
) -> tuple[Tensor, Tensor]:
    """Numerator and denominator (N, C, B) for spectra (N, L) and their shifts (N, C)."""
    weight = trapezoid_weights(wavelength)
    shifted, spectra = nu.unsqueeze(-1) * wavelength, (weight * wavelength * flux).unsqueeze(-2)
    above, below = [], []
    for knots, response in curves:
        curve = interpolate(shifted, knots, response)
        above.append(nu.square() * (curve * spectra).sum(-1))
        below.append((curve * (weight * SPEED_OF_LIGHT / wavelength)).sum(-1))
    return torch.stack(above, -1), torch.stack(below, -1)


def divide(above: Tensor, below: Tensor) -> Tensor:
    return torch.where(below > 0, above / torch.where(below > 0, below, 1.0), 0.0)


def direct(curves: Curves, wavelength: Tensor, flux: Tensor, nu: Tensor) -> Tensor:
    """Flux in bands (N, C, B) over the covered part of each filter, 0 where that is nothing."""
    return divide(*direct_sums(curves, wavelength, flux, nu))


def whole_denominators(curves: Curves) -> Tensor:
    """Integral of c R / wavelength over each whole filter, each straight piece in closed form."""
    integrals = []
    for x, y in curves:
        slope = y.diff() / x.diff()
        straight = (y[:-1] - slope * x[:-1]) * (x[1:] / x[:-1]).log() + y.diff()
        integrals.append(SPEED_OF_LIGHT * straight.sum())
    return torch.stack(integrals)
