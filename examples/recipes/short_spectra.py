"""Spectra that end within the bands: three ways to live with it, and what each costs."""

import torch

from photoz_losses import RedshiftBins, flux_residual
from photoz_losses.photometry import FilterSet, Spectra, SyntheticPhotometry, Templates

SDSS = FilterSet.from_speclite("sdss2010-*")


def galaxies(n: int) -> tuple[Spectra, Spectra]:
    """Made-up mixtures of kcorrect's galaxies, whole and as SDSS saw them: put the latter here."""
    wavelength = 10 ** torch.arange(3.31, 4.205, 4e-4, dtype=torch.float64)
    z = 0.05 + 0.3 * torch.rand(n, dtype=torch.float64)
    each = torch.eye(5, dtype=torch.float64)
    level = templates.spectrum(each, wavelength, torch.zeros(5)).mean(-1)
    flux = templates.spectrum(torch.rand(n, 5) / level, wavelength, z)
    ivar = (30 / flux) ** 2  # a signal to noise of 30 in every pixel
    measured = (flux + torch.randn_like(flux) / ivar.sqrt()).masked_fill(wavelength < 3800, 0)
    valid = ((wavelength > 3800) & (wavelength < 9200)).expand_as(flux)
    whole = Spectra(wavelength, flux, ivar, z, torch.ones_like(valid))
    return whole, Spectra(wavelength, measured * valid, ivar * valid, z, valid)


torch.manual_seed(0)
bins = RedshiftBins.uniform(0.0, 0.4, 40)
templates = Templates.from_kcorrect()
whole, short = galaxies(20)
photometry = SyntheticPhotometry(SDSS, short.wavelength)
exact, _ = flux_residual(photometry, whole.flux, whole.z, bins, valid=whole.valid)

_, coverage = photometry(short.flux, torch.ones(1), short.valid)
print("covered at the true redshift:", [f"{share:.0%}" for share in coverage.mean((0, 1))])
filled = short.extend(templates)  # a fit of templates where nothing was measured
ways = {
    "cells half covered or more, the default": (short, 0.5),
    "all of them, as the paper": (short, 0.0),
    "extended by templates": (filled, 0.5),
}
table = {}
for name, (spectra, least) in ways.items():
    photometry = SyntheticPhotometry(SDSS, spectra.wavelength)
    residual, band_weight = flux_residual(
        photometry, spectra.flux, spectra.z, bins, valid=spectra.valid, min_coverage=least
    )
    used, error = residual != 0, (residual - exact).abs()
    table[name] = {
        "bands": band_weight.mean().item(),
        "cells": used.double().mean().item(),
        "error of u and z": error[..., [0, 4]][used[..., [0, 4]]].median().item(),
    }
    print(f"{name:<40}", {key: round(value, 4) for key, value in table[name].items()})
