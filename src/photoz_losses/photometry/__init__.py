"""Synthetic photometry: filters and spectra, flux in bands at any redshift, residuals."""

from photoz_losses.photometry.filters import FilterSet
from photoz_losses.photometry.residual import flux_residual
from photoz_losses.photometry.spectra import Spectra, read_sdss_spectra
from photoz_losses.photometry.synthetic import SyntheticPhotometry
from photoz_losses.photometry.table import FluxTable

__all__ = [
    "FilterSet",
    "FluxTable",
    "Spectra",
    "SyntheticPhotometry",
    "flux_residual",
    "read_sdss_spectra",
]
