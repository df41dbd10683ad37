"""The flux term in the bands of Rubin, Euclid and DECam, and in a band of one's own."""

import torch

from photoz_losses import RedshiftBins, flux_residual
from photoz_losses.photometry import FilterSet, Spectra, SyntheticPhotometry

SURVEYS = {
    "Rubin": FilterSet.from_speclite("lsst2023-*"),
    "Euclid": FilterSet.from_speclite("Euclid-*"),
    "DECam": FilterSet.from_speclite("decam2014-*"),
    "Rubin and Euclid": FilterSet.from_speclite("lsst2023-*", "Euclid-*"),
    "my own": FilterSet(["box"], [[5000.0, 5010.0, 5990.0, 6000.0]], [[0.0, 1.0, 1.0, 0.0]]),
}


def galaxies(n: int) -> Spectra:
    """Made-up spectra with a break at 4000 A, measured to 9800 A: put yours here."""
    wavelength = 10 ** torch.arange(3.1, 4.7, 1e-3, dtype=torch.float64)
    z = torch.linspace(0.1, 1.9, n, dtype=torch.float64)
    slope, below = torch.rand(2, n, 1, dtype=torch.float64)
    rest = wavelength / (1 + z.unsqueeze(-1))
    flux = 1e-17 * rest**-slope * torch.where(rest < 4000, 0.3 + 0.2 * below, 1.0)
    measured = (wavelength < 9800).expand_as(flux)
    return Spectra(wavelength, flux * measured, measured.double(), z, measured)


torch.manual_seed(0)
spectra = galaxies(20)
bins = RedshiftBins.log1p(0.0, 2.0, 100)
magnitudes, residuals = {}, {}
for survey, filters in SURVEYS.items():
    photometry = SyntheticPhotometry(filters, spectra.wavelength)
    flux, coverage = photometry(spectra.flux, torch.ones(1), spectra.valid)  # erg/s/cm2/Hz
    flux = flux.where(coverage > 0.99, torch.nan)  # at their own redshifts, of what was measured
    magnitudes[survey] = -2.5 * flux.squeeze(-2).log10() - 48.6  # AB
    residuals[survey], band_weight = flux_residual(
        photometry, spectra.flux, spectra.z, bins, valid=spectra.valid
    )
    print(f"{survey}, share of cells with a residual:")
    shares = (residuals[survey] != 0).double().mean((0, 1))
    print("  " + ", ".join(f"{b} {s:.0%}" for b, s in zip(filters.names, shares, strict=True)))
