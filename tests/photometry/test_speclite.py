"""speclite as a witness: AB magnitudes of real SDSS spectra."""

import csv

import numpy as np
import pytest
import torch
from astropy import units as u
from speclite.filters import load_filters

from photoz_losses import RedshiftBins
from photoz_losses.photometry import FilterSet, SyntheticPhotometry, read_sdss_spectra

# SDSS files give F in 1e-17 erg/s/cm2/A, so that Phi' comes in 1e-17 erg/s/cm2/Hz;
# an AB maggie is 3631 Jy = 3.631e-20 erg/s/cm2/Hz.
AB_MAGGIE = 3631e-23 / 1e-17
GRI = slice(1, 4)


@pytest.fixture(scope="module")
def spectra(spectrum_files):
    return read_sdss_spectra(spectrum_files)


@pytest.fixture(scope="module")
def measured(spectra):
    """Phi'(1) in ugriz with the full denominator, and coverage; (19, 5) each."""
    filters = FilterSet.from_speclite("sdss2010-*")
    photometry = SyntheticPhotometry(filters, spectra.wavelength, denominator="full")
    bands, coverage = photometry(spectra.flux.double(), torch.ones(1), spectra.valid)
    return bands.squeeze(-2).numpy(), coverage.squeeze(-2).numpy()


@pytest.fixture(scope="module")
def catalogue(spectrum_files):
    with (spectrum_files[0].parent / "index.csv").open() as lines:
        rows = {row["file"]: row for row in csv.DictReader(lines)}
    return [rows[path.name] for path in spectrum_files]


def test_all_19_spectra_are_there(spectra):
    assert len(spectra) == 19


@pytest.mark.parametrize("row", range(19))
def test_flux_of_a_real_spectrum_is_zero_padded_speclites_in_gri(spectra, measured, row):
    filters = load_filters("sdss2010-*")
    own = spectra.valid[row].numpy()
    flux = spectra.flux[row].double().numpy()[own] * 1e-17 * u.erg / u.s / u.cm**2 / u.Angstrom
    wavelength = spectra.wavelength.numpy()[own] * u.Angstrom
    padded, longer = filters.pad_spectrum(flux, wavelength, method="zero")
    maggies = filters.get_ab_maggies(padded, longer)
    expected = AB_MAGGIE * np.array([maggies[name][0] for name in filters.names])
    np.testing.assert_allclose(measured[0][row, GRI], expected[GRI], rtol=5e-4)


def test_magnitudes_of_real_spectra_are_those_of_the_index(measured, catalogue):
    magnitudes = -2.5 * np.log10(measured[0][:, GRI] / AB_MAGGIE)
    expected = [[float(row[f"syn_{band}"]) for band in "gri"] for row in catalogue]
    np.testing.assert_allclose(magnitudes, expected, rtol=0, atol=2e-3)


def test_coverage_is_the_share_of_the_filters_integral_within_the_spectrum(spectra, measured):
    for row, valid in enumerate(spectra.valid):
        own = spectra.wavelength[valid].numpy()
        for band, curve in enumerate(load_filters("sdss2010-*")):
            fine = np.linspace(curve.wavelength[0], curve.wavelength[-1], 20001)
            weight = np.interp(fine, curve.wavelength, curve.response) / fine
            within = (fine >= own[0]) & (fine <= own[-1])
            share = weight[within].sum() / weight.sum()
            assert measured[1][row, band] == pytest.approx(share, abs=1e-3)


def test_the_main_survey_has_little_of_u_and_three_quarters_of_z(measured, catalogue):
    main_survey = [float(row["lam_max"]) < 9300 for row in catalogue]
    coverage = measured[1][main_survey]
    assert len(coverage) == 17
    assert (abs(coverage[:, 0] - 0.12) < 0.04).all()
    assert (abs(coverage[:, 4] - 0.765) < 0.01).all()


def test_an_ab_source_is_one_maggie_in_every_band_of_any_survey():
    wavelength = np.arange(3000.0, 12000.0)
    flux = torch.from_numpy(AB_MAGGIE * 2.99792458e18 / wavelength**2)
    filters = FilterSet.from_speclite("sdss2010-*", "decam2014-*", "lsst2023-*")
    photometry = SyntheticPhotometry(filters, wavelength)
    bands, _ = photometry(flux, torch.ones(1))
    np.testing.assert_allclose(bands.squeeze().numpy(), AB_MAGGIE, rtol=1e-10)


def test_the_coverage_that_the_docs_state_for_sdss_spectra(spectrum_files):
    """docs/conventions.md, "Where the spectrum does not reach"; BOSS spectra reach farther."""
    spectra = read_sdss_spectra(spectrum_files)
    last = torch.stack([spectra.wavelength[valid][-1] for valid in spectra.valid])
    sdss = spectra[(last < 9500) & (spectra.z < 0.4)]
    assert len(sdss) == 17
    photometry = SyntheticPhotometry(FilterSet.from_speclite("sdss2010-*"), sdss.wavelength)
    bins = RedshiftBins.uniform(0.0, 0.4, 180)
    _, coverage = photometry(sdss.flux, (1 + bins.centers) / (1 + sdss.z.unsqueeze(-1)), sdss.valid)
    half = (coverage >= 0.5).double().mean((0, 1))
    stated = torch.tensor([0.08, 0.79, 1.0, 0.999, 0.91], dtype=torch.float64)
    torch.testing.assert_close(half, stated, rtol=0, atol=0.005)
    assert not (coverage >= 0.5).all(-1).any()
    assert abs((coverage[..., 0] < 0.01).double().mean() - 0.72) < 0.005
