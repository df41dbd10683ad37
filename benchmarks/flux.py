"""What does the flux of a spectrum at 180 redshifts in 5 bands cost, against the direct sum?

    python benchmarks/flux.py

The direct sum is appendix A and B.1 of the paper as one would write it in PyTorch: the filter
interpolated at every shifted pixel, for every bin and band, one galaxy at a time.
Synthetic spectra on 3,801 pixels, each with a redshift of its own. The error is the largest
difference from the direct sum over its largest value, where the coverage exceeds 1e-3. All on one
core, eager.
"""

import argparse
import math

import numpy as np
import torch
from measure import save, take_turns
from torch import Tensor

from photoz_losses import RedshiftBins, flux_loss, flux_residual
from photoz_losses.photometry import FilterSet, SyntheticPhotometry

SPEED_OF_LIGHT = 2.99792458e18


def interpolate(x: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    """Linear interpolation, zero outside the knots."""
    right = torch.searchsorted(knots, x).clamp(1, len(knots) - 1)
    share = (x - knots[right - 1]) / (knots[right] - knots[right - 1])
    inside = (x >= knots[0]) & (x <= knots[-1])
    return torch.where(inside, torch.lerp(values[right - 1], values[right], share), 0.0)


def direct(filters: FilterSet, wavelength: Tensor, flux: Tensor, nu: Tensor) -> Tensor:
    """Appendix A for one spectrum [L] and its shifts [C]: flux in bands [C, B]."""
    weight = torch.zeros_like(wavelength)
    weight[:-1] += wavelength.diff() / 2
    weight[1:] += wavelength.diff() / 2
    shifted = nu[:, None] * wavelength
    bands = []
    for knots, response in zip(filters.wavelengths, filters.responses, strict=True):
        curve = interpolate(shifted, knots, response)
        above = nu.square() * (curve * (weight * wavelength * flux)).sum(-1)
        below = (curve * (weight * SPEED_OF_LIGHT / wavelength)).sum(-1)
        bands.append(torch.where(below > 0, above / torch.where(below > 0, below, 1.0), 0.0))
    return torch.stack(bands, -1)


class RestFrame(torch.nn.Module):
    """The rival: every spectrum resampled once to one rest-frame grid, then two matrix products.

    There a bin's filter is the same for all galaxies, nu * wavelength = (1 + z_c) * rest, so that
    numerator and denominator are products with fixed weights. Float32; inexact by the resampling.
    """

    def __init__(self, filters: FilterSet, wavelength: Tensor, bins: RedshiftBins) -> None:
        super().__init__()
        self.observed = wavelength.log()
        self.step = self.observed.diff().mean()
        low, high = self.observed[0] - math.log(1.4), self.observed[-1]
        self.rest = torch.arange(low.item(), high.item(), self.step.item(), dtype=torch.float64)
        x, stretch = self.rest.exp(), 1 + bins.centers
        weight = torch.nn.functional.pad(x.diff() / 2, (0, 1))
        weight = weight + torch.nn.functional.pad(x.diff() / 2, (1, 0))
        curves = [
            interpolate(stretch[:, None] * x, knots, response)
            for knots, response in zip(filters.wavelengths, filters.responses, strict=True)
        ]
        response, self.bands = torch.stack(curves, -1), len(filters)  # response [C, L, B]
        above = stretch.square()[:, None, None] * (weight * x)[:, None] * response
        below = (weight * SPEED_OF_LIGHT / x)[:, None] * response
        self.above = above.movedim(1, 0).flatten(1).float()
        self.below = below.movedim(1, 0).flatten(1).float()

    def forward(self, flux: Tensor, z_spec: Tensor) -> Tensor:
        """Flux in bands [N, C, B] of `flux` [N, L] at `z_spec` [N]."""
        place = (self.rest + z_spec.log1p()[:, None] - self.observed[0]) / self.step
        left = place.floor().clamp(0, flux.shape[-1] - 2).long()
        seen = ((place >= 0) & (place <= flux.shape[-1] - 1)).float()
        share = (place - left).float()
        resampled = torch.lerp(flux.gather(-1, left), flux.gather(-1, left + 1), share) * seen
        below = seen @ self.below
        bands: Tensor = (resampled @ self.above) / torch.where(below > 0, below, 1.0)
        return bands.reshape(len(flux), -1, self.bands)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--galaxies", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)

    generator = torch.Generator().manual_seed(0)
    wavelength = torch.from_numpy(10 ** (np.log10(3800) + 1e-4 * np.arange(3801)))
    shape = (options.galaxies, len(wavelength))
    flux = 1 + 0.2 * torch.randn(shape, generator=generator, dtype=torch.float64)
    z_spec = 0.4 * torch.rand(options.galaxies, generator=generator, dtype=torch.float64)
    bins = RedshiftBins.uniform(0.0, 0.4, 180)
    nu = (1 + bins.centers) / (1 + z_spec[:, None])
    filters = FilterSet.from_speclite("sdss2010-*")
    photometry = SyntheticPhotometry(filters, wavelength)
    residual, band_weight = flux_residual(photometry, flux.float(), z_spec, bins)
    logits = torch.zeros(options.galaxies, len(bins))

    rival = RestFrame(filters, wavelength, bins)
    single = flux.float()

    def in_turn() -> Tensor:
        return torch.stack(
            [direct(filters, wavelength, *row) for row in zip(flux, nu, strict=True)]
        )

    def blocks() -> list[Tensor]:
        return [photometry(*part)[0] for part in zip(flux.split(2), nu.split(2), strict=True)]

    expected, (bands, coverage) = in_turn(), photometry(flux, nu)
    guess, largest = rival(single, z_spec).double(), expected.abs().max()
    errors = {
        "SyntheticPhotometry": (bands - expected).abs()[coverage > 1e-3].max() / largest,
        "rival, two matrix products": (guess - expected).abs()[coverage > 1e-3].max() / largest,
    }
    rows = take_turns(
        {
            "direct sum": in_turn,
            "SyntheticPhotometry": blocks,
            "flux_residual": lambda: flux_residual(photometry, flux.float(), z_spec, bins),
            "rival, two matrix products": lambda: rival(single, z_spec),
            "flux_loss from the table": lambda: flux_loss(logits, residual, band_weight),
        },
        options.rounds,
    )
    for row in rows.values():
        row["ms_a_galaxy"] = 1e3 * row["median_s"] / options.galaxies
    for name, error in errors.items():
        rows[name]["largest_error"] = error.item()
    save("flux", rows, vars(options) | {"pixels": len(wavelength), "bins": 180, "bands": 5})


if __name__ == "__main__":
    main()
