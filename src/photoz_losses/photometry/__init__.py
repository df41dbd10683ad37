"""Synthetic photometry: filters and spectra, flux in bands at any redshift, residuals."""

from photoz_losses.photometry.filters import FilterSet
from photoz_losses.photometry.residual import flux_residual, relative_variance
from photoz_losses.photometry.spectra import Spectra, read_sdss_spectra
from photoz_losses.photometry.synthetic import SyntheticPhotometry
from photoz_losses.photometry.table import FluxTable
from photoz_losses.photometry.templates import Templates

__all__ = [
    "FilterSet",
    "FluxTable",
    "Spectra",
    "SyntheticPhotometry",
    "Templates",
    "flux_residual",
    "read_sdss_spectra",
    "relative_variance",
]
