"""What does the flux of a spectrum at 180 redshifts in 5 bands cost, against the direct sum?

    OMP_NUM_THREADS=1 python benchmarks/flux.py

The direct sum is appendix A and B.1 of the paper as one would write it in PyTorch: the filter
interpolated at every shifted pixel, for every bin and band, one galaxy at a time.
Synthetic spectra on 3,801 pixels, each with a redshift of its own. The error is the largest
difference from the direct sum over its largest value, where the coverage exceeds 1e-3.
"""

import argparse

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--galaxies", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()

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

    def in_turn() -> Tensor:
        return torch.stack(
            [direct(filters, wavelength, *row) for row in zip(flux, nu, strict=True)]
        )

    def blocks() -> list[Tensor]:
        return [photometry(*part)[0] for part in zip(flux.split(2), nu.split(2), strict=True)]

    expected, (bands, coverage) = in_turn(), photometry(flux, nu)
    error = (bands - expected).abs()[coverage > 1e-3].max() / expected.abs().max()
    rows = take_turns(
        {
            "direct sum": in_turn,
            "SyntheticPhotometry": blocks,
            "flux_residual": lambda: flux_residual(photometry, flux.float(), z_spec, bins),
            "flux_loss from the table": lambda: flux_loss(logits, residual, band_weight),
        },
        options.rounds,
    )
    for row in rows.values():
        row["ms_a_galaxy"] = 1e3 * row["median_s"] / options.galaxies
    rows["SyntheticPhotometry"]["largest_error"] = error.item()
    save("flux", rows, vars(options) | {"pixels": len(wavelength), "bins": 180, "bands": 5})


if __name__ == "__main__":
    main()
