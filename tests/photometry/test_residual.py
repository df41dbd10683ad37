"""flux_residual against a plain loop, and its options against derivations by hand."""

import numpy as np
import pytest
import torch
from astropy.cosmology import FlatLambdaCDM, LambdaCDM, Planck18, w0waCDM
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from photometry.spectroscopy import (
    SDSS_GRID,
    filter_sets,
    off_the_knots,
    spectra,
    wavelengths,
)
from reference import flux_in_band
from strategies import redshift_bins, redshifts

from photoz_losses import RedshiftBins, flux_residual
from photoz_losses.photometry import FilterSet, SyntheticPhotometry, relative_variance

COSMOLOGIES = {
    "flat": FlatLambdaCDM(H0=70, Om0=0.3),
    "flat with radiation and neutrinos": Planck18,
    "closed": LambdaCDM(H0=70, Om0=0.3, Ode0=0.9),
    "open": LambdaCDM(H0=70, Om0=0.3, Ode0=0.2),
    "dark energy that changes": w0waCDM(H0=70, Om0=0.3, Ode0=0.75, w0=-0.9, wa=0.2),
}
BINS = RedshiftBins.uniform(0.0, 0.4, 8)
GR = FilterSet.from_speclite("sdss2010-g", "sdss2010-r")
COARSE = np.linspace(3800.0, 9200.0, 200)


def dim(dimming, nu, z, z_spec, cosmology=None) -> float:
    if dimming == "distance":
        near, far = (cosmology.luminosity_distance(at).value for at in (z_spec, z))
        return (near / far) ** 2 / nu
    return {"none": 1.0, "bandwidth": 1 / nu, "f_nu": 1 / nu**2}[dimming]


def loop(wavelength, flux, filters, z_spec, edges, quadrature, least, dimming, cosmology=None):
    """Appendix A one galaxy, bin and band at a time: residual [N, C, B] and band weight [N, B]."""
    shape = len(flux), len(edges) - 1, len(filters)
    residual, weight = torch.zeros(shape).double(), torch.zeros(shape[0], shape[2]).double()
    for n in range(shape[0]):
        for b, (x, y) in enumerate(zip(filters.wavelengths, filters.responses, strict=True)):
            curve = (wavelength, flux[n].numpy(), x.numpy(), y.numpy())
            true, covered = flux_in_band(*curve, 1.0)
            if not (true > 0 and covered >= least):
                continue
            weight[n, b] = 1.0
            for c in range(shape[1]):
                low, high = edges[c].item(), edges[c + 1].item()
                nodes = [(low + high) / 2] if quadrature == "midpoint" else [low, high]
                values = []
                for z in nodes:
                    nu = (1 + z) / (1 + z_spec[n].item())
                    shifted, covered = flux_in_band(*curve, nu)
                    if covered >= least:
                        shifted *= dim(dimming, nu, z, z_spec[n].item(), cosmology)
                        values.append(shifted / true - 1)
                if len(values) == len(nodes):
                    residual[n, c, b] = sum(values) / len(nodes)
    return residual, weight


# Against the loop --------------------------------------------------------------------------------


@st.composite
def galaxies(draw):
    wavelength, filters = draw(wavelengths(least=4, most=20)), draw(filter_sets(most=2))
    bins = draw(redshift_bins(max_bins=4))
    batch = draw(st.integers(1, 3))
    flux = draw(spectra(batch, len(wavelength), kinds=(1,)))
    if draw(st.booleans()):  # one galaxy whose flux is not above zero
        flux[0] = -flux[0]
    return wavelength, filters, flux, draw(redshifts(bins, batch)), bins


@given(
    case=galaxies(),
    quadrature=st.sampled_from(["midpoint", "trapezoid"]),
    least=st.sampled_from([0.0, 0.1, 0.5]),
    dimming=st.sampled_from(["none", "bandwidth", "f_nu", "distance"]),
)
def test_residual_and_weight_equal_the_loop(case, quadrature, least, dimming):
    wavelength, filters, flux, z_spec, bins = case
    nodes = torch.cat([bins.centers, bins.edges])
    nu = torch.cat([(1 + nodes) / (1 + z_spec.unsqueeze(-1)), torch.ones(len(z_spec), 1)], -1)
    assume(off_the_knots(wavelength, filters, nu, 1e-6))
    cosmology = Planck18 if dimming == "distance" else None
    assume(cosmology is None or ((z_spec > 0.01).all() and bins.edges[0] > 0.01))
    photometry = SyntheticPhotometry(filters, wavelength)
    _, coverage = photometry(flux, nu)
    assume(((coverage == 0) | (coverage > 1e-3)).all())  # where the loop has a digit to compare
    assume(((coverage - least).abs() > 1e-9).all() or least == 0)
    options = {"quadrature": quadrature, "dimming": dimming, "cosmology": cosmology}
    got = flux_residual(photometry, flux, z_spec, bins, min_coverage=least, **options)
    expected = loop(
        wavelength, flux, filters, z_spec, bins.edges, quadrature, least, dimming, cosmology
    )
    torch.testing.assert_close(got[0], expected[0], rtol=1e-9, atol=1e-9)
    assert torch.equal(got[1], expected[1])


def test_five_sdss_bands_equal_the_loop():
    rng = np.random.default_rng(0)
    filters, bins = FilterSet.from_speclite("sdss2010-*"), RedshiftBins.uniform(0.0, 0.4, 12)
    flux = torch.from_numpy(rng.uniform(0.5, 2.0, (2, len(SDSS_GRID))))
    z_spec = torch.tensor([0.03, 0.31], dtype=torch.float64)
    photometry = SyntheticPhotometry(filters, SDSS_GRID)
    for quadrature, least in (("midpoint", 0.5), ("trapezoid", 0.0)):
        got = flux_residual(
            photometry, flux, z_spec, bins, quadrature=quadrature, min_coverage=least
        )
        expected = loop(SDSS_GRID, flux, filters, z_spec, bins.edges, quadrature, least, "none")
        torch.testing.assert_close(got[0], expected[0], rtol=0, atol=1e-9)
        assert torch.equal(got[1], expected[1])


# Coverage ----------------------------------------------------------------------------------------


@pytest.fixture
def partly_covered():
    """Top-hats that a spectrum from 5,000 to 7,000 A has 0, 1/4, 3/4 and all of, at z = 0.2."""
    names = ["none", "quarter", "three quarters", "all"]
    starts = [7500.0, 6750.0, 6250.0, 5500.0]
    filters = FilterSet(names, [[x, x + 1000] for x in starts], [[1.0, 1.0]] * 4)
    wavelength = np.linspace(5000.0, 7000.0, 2001)
    bins = RedshiftBins.uniform(0.0, 0.4, 4)
    flux = torch.ones(1, 2001, dtype=torch.float64)
    return SyntheticPhotometry(filters, wavelength), flux, torch.tensor([0.2]).double(), bins


def test_by_default_bands_covered_less_than_half_at_the_true_redshift_have_no_weight(
    partly_covered,
):
    residual, weight = flux_residual(*partly_covered)
    assert weight.tolist() == [[0, 0, 1, 1]]
    assert (residual[..., :2] == 0).all()
    assert (residual[..., 2:] != 0).any(-2).all()


def test_by_default_cells_covered_less_than_half_carry_no_residual(partly_covered):
    photometry, flux, z_spec, bins = partly_covered
    residual, weight = flux_residual(*partly_covered)
    _, coverage = photometry(flux, (1 + bins.centers) / (1 + z_spec))
    usable = weight.bool().unsqueeze(-2)
    assert torch.equal(residual != 0, usable & (coverage >= 0.5))
    assert (usable & (coverage < 0.5)).any()


def test_min_coverage_0_is_the_paper_where_flux_that_was_not_measured_is_zero(partly_covered):
    photometry, flux, z_spec, bins = partly_covered
    residual, weight = flux_residual(*partly_covered, min_coverage=0.0)
    assert weight.tolist() == [[0, 1, 1, 1]]
    _, coverage = photometry(flux, (1 + bins.centers) / (1 + z_spec))
    uncovered = (coverage == 0)[..., 1:]
    assert uncovered.any()
    assert (residual[..., 1:][uncovered] == -1).all()
    assert (residual[..., 1:][~uncovered] > -1).all()


def test_the_trapezoid_needs_both_edges_of_a_bin(partly_covered):
    photometry, flux, z_spec, bins = partly_covered
    residual, weight = flux_residual(*partly_covered, quadrature="trapezoid")
    _, coverage = photometry(flux, (1 + bins.edges) / (1 + z_spec))
    enough = coverage >= 0.5
    both, one = enough[:, 1:] & enough[:, :-1], enough[:, 1:] | enough[:, :-1]
    usable = weight.bool().unsqueeze(-2)
    assert torch.equal(residual != 0, usable & both)
    assert (usable & one & ~both).any()


@pytest.mark.parametrize("flux", [0.0, -1.0])
def test_a_galaxy_without_flux_above_zero_has_neither_weight_nor_residual(flux):
    flux = torch.full((2, 200), flux)
    residual, weight = flux_residual(
        SyntheticPhotometry(GR, COARSE), flux, torch.tensor([0.1, 0.2]), BINS, min_coverage=0.0
    )
    assert (weight == 0).all()
    assert (residual == 0).all()


def test_a_galaxy_without_a_valid_pixel_has_neither_weight_nor_residual():
    flux = torch.full((1, 200), torch.nan)
    residual, weight = flux_residual(
        SyntheticPhotometry(GR, COARSE), flux, torch.tensor([0.1]), BINS, valid=flux.isfinite()
    )
    assert (weight == 0).all()
    assert (residual == 0).all()


def test_padding_with_invalid_pixels_changes_nothing():
    rng = np.random.default_rng(0)
    flux = torch.from_numpy(rng.uniform(0.5, 2.0, (2, 200)))
    flux[:, :20] = torch.nan
    z_spec = torch.tensor([0.1, 0.2])
    padded = flux_residual(
        SyntheticPhotometry(GR, COARSE), flux, z_spec, BINS, valid=flux.isfinite()
    )
    alone = flux_residual(SyntheticPhotometry(GR, COARSE[20:]), flux[:, 20:], z_spec, BINS)
    assert all(map(torch.equal, padded, alone))


# Dimming, each derived by hand -------------------------------------------------------------------


@given(st.sampled_from(["none", "bandwidth", "f_nu"]), st.floats(0.05, 0.4))
def test_constant_f_nu_under_each_dimming(dimming, z_spec):
    # F ~ 1 / lambda^2: unchanged F gives f_nu ~ nu^2; 1/nu of it, nu; and 1/nu^2, constant f_nu
    power = {"none": 2, "bandwidth": 1, "f_nu": 0}[dimming]
    flux = torch.from_numpy(1 / COARSE**2).unsqueeze(0)
    z_spec = torch.tensor([z_spec], dtype=torch.float64)
    residual, weight = flux_residual(
        SyntheticPhotometry(GR, COARSE), flux, z_spec, BINS, dimming=dimming, min_coverage=0.01
    )
    expected = ((1 + BINS.centers) / (1 + z_spec)) ** power - 1
    assert (weight == 1).all()
    torch.testing.assert_close(
        residual, expected.reshape(1, -1, 1).expand(1, -1, 2), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("cosmology", COSMOLOGIES.values(), ids=COSMOLOGIES)
@pytest.mark.parametrize("z_spec", [0.02, 0.15, 0.39])
def test_distance_dimming_is_the_same_galaxy_built_at_each_redshift(cosmology, z_spec):
    def seen_from(z):  # f(lambda) = L(lambda / (1 + z)) / ((1 + z) 4 pi D_L^2)
        emitted = COARSE / (1 + z_spec)
        luminosity = 1 + np.sin(emitted / 300.0) ** 2
        flux = luminosity / ((1 + z) * cosmology.luminosity_distance(z).value ** 2)
        photometry = SyntheticPhotometry(GR, emitted * (1 + z))
        return photometry(torch.from_numpy(flux), torch.ones(1))[0], flux

    true, observed = seen_from(z_spec)
    residual, weight = flux_residual(
        SyntheticPhotometry(GR, COARSE),
        torch.from_numpy(observed).unsqueeze(0),
        torch.tensor([z_spec], dtype=torch.float64),
        BINS,
        dimming="distance",
        cosmology=cosmology,
        min_coverage=0.1,
    )
    assert (weight == 1).all()
    for c, z in enumerate(BINS.centers.tolist()):
        torch.testing.assert_close(
            residual[0, c], (seen_from(z)[0] / true - 1).squeeze(0), rtol=1e-9, atol=1e-9
        )


# Responses that catch the whole spectrum wherever it is shifted to. A response of 1/lambda counts
# energy, whose sum over the spectrum is its flux in erg/s/cm2; a response of 1 counts photons.
WIDE = np.geomspace(1000.0, 30000.0, 6001)
EVERYTHING = FilterSet(["energy", "photons"], [WIDE, WIDE[[0, -1]]], [1 / WIDE, [1.0, 1.0]])
NARROW = 10 ** (np.arange(36000, 39000) * 1e-4)  # 3981-7942 A: all of it stays within WIDE


@pytest.mark.parametrize("quadrature", ["midpoint", "trapezoid"])
@pytest.mark.parametrize(
    ("dimming", "energy", "photons"),
    [("none", 1, 2), ("bandwidth", 0, 1), ("f_nu", -1, 0)],
)
def test_what_each_dimming_conserves(dimming, energy, photons, quadrature):
    # a stretch by nu: F kept, energy grows with the range of wavelengths, as nu, and photons, each
    # of which has less of it, as nu^2. F / nu conserves energy. f_nu = lambda^2 F / c kept keeps
    # the integral of f_nu d ln lambda, which is the number of photons
    flux = torch.from_numpy(1 + np.sin(NARROW / 150) ** 2).unsqueeze(0)
    z_spec = torch.tensor([0.17], dtype=torch.float64)
    photometry = SyntheticPhotometry(EVERYTHING, NARROW, denominator="full")
    residual, weight = flux_residual(
        photometry, flux, z_spec, BINS, dimming=dimming, quadrature=quadrature, min_coverage=0.0
    )
    assert (weight == 1).all()
    nodes = BINS.centers if quadrature == "midpoint" else BINS.edges
    nu = (1 + nodes) / (1 + z_spec)
    for b, power in enumerate((energy, photons)):
        expected = nu**power - 1
        if quadrature == "trapezoid":
            expected = (expected[1:] + expected[:-1]) / 2
        # 2e-6: the response of energy is a chain of lines under the curve 1 / lambda
        torch.testing.assert_close(residual[0, :, b], expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("cosmology", COSMOLOGIES.values(), ids=COSMOLOGIES)
def test_under_distance_dimming_energy_falls_as_the_distance_squared(cosmology):
    # total flux = luminosity / (4 pi D_L^2); photons, each redshifted, fall one power of nu slower
    flux = torch.from_numpy(1 + np.sin(NARROW / 150) ** 2).unsqueeze(0)
    photometry = SyntheticPhotometry(EVERYTHING, NARROW, denominator="full")
    options = {"dimming": "distance", "cosmology": cosmology, "min_coverage": 0.0}

    def total(z_spec):
        z_spec = torch.tensor([z_spec], dtype=torch.float64, requires_grad=True)
        residual, _ = flux_residual(photometry, flux, z_spec, BINS, **options)
        (slope,) = torch.autograd.grad(residual[0, 2].sum(), z_spec)
        return 1 + residual.squeeze(0).detach(), slope.item()

    ratio, slope = total(0.17)
    for c, z in enumerate(BINS.centers.tolist()):
        near, far = (cosmology.luminosity_distance(at).value for at in (0.17, z))
        assert ratio[c, 0].item() == pytest.approx((near / far) ** 2, rel=2e-6)
        photons = (near / far) ** 2 * (1 + z) / 1.17
        assert ratio[c, 1].item() == pytest.approx(photons, rel=2e-6)
    (above, _), (below, _) = total(0.17 + 1e-4), total(0.17 - 1e-4)
    assert slope == pytest.approx((above - below)[2].sum().item() / 2e-4, rel=1e-5)


@pytest.mark.parametrize("dimming", ["none", "bandwidth", "f_nu", "distance"])
@pytest.mark.parametrize("slope", [-3.0, -1.0, 0.0, 2.0])
def test_a_power_law_under_each_dimming(dimming, slope):
    # F = lambda^a through any filter: Phi'(nu) = nu^-a Phi'(1), times what dims it
    cosmology = Planck18 if dimming == "distance" else None
    bins, z_spec = RedshiftBins.uniform(0.1, 0.2, 6), 0.13
    flux = torch.from_numpy((SDSS_GRID / 5000.0) ** slope).unsqueeze(0)
    filters = FilterSet(["wide"], [[4500, 5300, 6000]], [[0, 1, 0]])
    residual, weight = flux_residual(
        SyntheticPhotometry(filters, SDSS_GRID),
        flux, torch.tensor([z_spec]).double(), bins, dimming=dimming, cosmology=cosmology,
    )  # fmt: skip
    assert (weight == 1).all()
    for c, z in enumerate(bins.centers.tolist()):
        nu = (1 + z) / (1 + z_spec)
        expected = nu**-slope * dim(dimming, nu, z, z_spec, cosmology) - 1
        assert residual[0, c, 0].item() == pytest.approx(expected, abs=2e-6)


# Gradients ---------------------------------------------------------------------------------------


@pytest.fixture
def smooth():
    """Two galaxies on a coarse grid of which no pixel comes near a knot or an edge in gradcheck."""
    rng = np.random.default_rng(1)
    filters = FilterSet(["a", "b"], [[4500, 5300, 6000], [5600, 6400, 7100]], [[0, 1, 0]] * 2)
    wavelength = np.linspace(4000.0, 8000.0, 25)
    flux = torch.from_numpy(rng.uniform(0.5, 2.0, (2, 25))).requires_grad_()
    z_spec = torch.tensor([0.1312, 0.2719], dtype=torch.float64, requires_grad=True)
    bins = RedshiftBins([0.1013, 0.1571, 0.2117, 0.3019])
    nodes = torch.cat([bins.centers, bins.edges])
    nu = (1 + nodes) / (1 + z_spec.detach().unsqueeze(-1))
    assert off_the_knots(wavelength, filters, nu, 0.02)
    return SyntheticPhotometry(filters, wavelength), flux, z_spec, bins


@pytest.mark.parametrize("quadrature", ["midpoint", "trapezoid"])
@pytest.mark.parametrize(
    ("dimming", "cosmology"),
    [("none", None), ("bandwidth", None), ("f_nu", None)]
    + [("distance", cosmology) for cosmology in COSMOLOGIES.values()],
    ids=["none", "bandwidth", "f_nu", *(f"distance {name}" for name in COSMOLOGIES)],
)
def test_gradcheck_in_flux_and_redshift(smooth, quadrature, dimming, cosmology):
    photometry, flux, z_spec, bins = smooth
    options = {"quadrature": quadrature, "dimming": dimming, "cosmology": cosmology}
    assert torch.autograd.gradcheck(
        lambda flux, z: flux_residual(photometry, flux, z, bins, **options)[0], (flux, z_spec)
    )


@pytest.mark.parametrize("least", [0.0, 0.5])
def test_gradients_are_finite_whatever_is_uncovered(least):
    rng = np.random.default_rng(0)
    filters, bins = FilterSet.from_speclite("sdss2010-*"), RedshiftBins.uniform(0.0, 0.4, 20)
    flux = torch.from_numpy(rng.normal(0.5, 1.0, (3, len(SDSS_GRID)))).requires_grad_()
    z_spec = torch.tensor([0.0, 0.15, 0.4], dtype=torch.float64, requires_grad=True)
    valid = torch.ones(flux.shape, dtype=torch.bool)
    valid[1, 900:3000], valid[2] = False, False
    photometry = SyntheticPhotometry(filters, SDSS_GRID)
    residual, _ = flux_residual(photometry, flux, z_spec, bins, valid=valid, min_coverage=least)
    residual.sum().backward()
    assert residual.isfinite().all()
    assert flux.grad.isfinite().all()
    assert z_spec.grad.isfinite().all()
    assert (flux.grad[2] == 0).all()
    assert (flux.grad[0] != 0).any()


def test_residuals_that_overflow_are_refused_but_not_those_of_a_redshift_outside():
    photometry = SyntheticPhotometry(GR, COARSE)
    bins = RedshiftBins(BINS.edges, validate=False)
    flux = torch.ones(2, len(COARSE), dtype=torch.float64)
    residual, _ = flux_residual(photometry, flux, torch.tensor([0.1, 0.9]), bins)
    assert residual[0].isfinite().all()
    assert residual[1].isnan().any()
    flux[0] = 1e303
    with pytest.raises(ValueError, match="flux must have finite residuals"):
        flux_residual(photometry, flux, torch.tensor([0.1, 0.9]), bins)


# Laws, blocks, precision -------------------------------------------------------------------------


@given(hnp.arrays(float, 3, elements=st.floats(1e-20, 1e20)))
def test_a_scale_that_does_not_depend_on_wavelength_cancels(scale):
    flux = torch.from_numpy(np.random.default_rng(0).uniform(0.5, 2.0, (3, 200)))
    z_spec = torch.tensor([0.1, 0.2, 0.3])
    photometry = SyntheticPhotometry(GR, COARSE)
    residual, weight = flux_residual(photometry, flux, z_spec, BINS)
    scaled, same = flux_residual(
        photometry, flux * torch.from_numpy(scale).unsqueeze(-1), z_spec, BINS
    )
    torch.testing.assert_close(scaled, residual, rtol=0, atol=1e-12)
    assert torch.equal(weight, same)


@given(st.integers(-300, 300), st.sampled_from(["midpoint", "trapezoid"]))
def test_a_grey_scale_by_a_power_of_two_changes_no_bit(power, quadrature):
    flux = torch.from_numpy(np.random.default_rng(0).uniform(0.5, 2.0, (3, 200)))
    z_spec, photometry = torch.tensor([0.1, 0.2, 0.3]), SyntheticPhotometry(GR, COARSE)
    case = z_spec, BINS
    residual = flux_residual(photometry, flux, *case, quadrature=quadrature)
    scaled = flux_residual(photometry, 2.0**power * flux, *case, quadrature=quadrature)
    assert all(map(torch.equal, scaled, residual))


def test_the_residual_is_zero_in_a_bin_centred_on_the_true_redshift():
    flux = torch.from_numpy(np.random.default_rng(0).uniform(0.5, 2.0, (8, 200)))
    residual, weight = flux_residual(
        SyntheticPhotometry(GR, COARSE), flux, BINS.centers, BINS, min_coverage=0.0
    )
    own = torch.arange(8)
    assert (residual[own, own] == 0).all()
    assert (weight == 1).all()


@pytest.mark.parametrize("quadrature", ["midpoint", "trapezoid"])
@pytest.mark.parametrize("limit", [1, 200_000])
def test_the_size_of_the_blocks_changes_nothing_to_the_bit(quadrature, limit):
    rng = np.random.default_rng(0)
    flux = torch.from_numpy(rng.uniform(0.5, 2.0, (7, 200)))
    valid = torch.from_numpy(rng.uniform(size=(7, 200)) > 0.01)
    z_spec = torch.from_numpy(rng.uniform(0.01, 0.4, 7))
    case = flux, z_spec, RedshiftBins.uniform(0.01, 0.4, 8)
    options = {"valid": valid, "quadrature": quadrature}
    options |= {"dimming": "distance", "cosmology": Planck18, "min_coverage": 0.1}
    whole = flux_residual(SyntheticPhotometry(GR, COARSE), *case, **options)
    blocks = flux_residual(SyntheticPhotometry(GR, COARSE, chunk_bytes=limit), *case, **options)
    assert all(map(torch.equal, blocks, whole))


@pytest.mark.parametrize("kept", [0, 2**28], ids=["made anew", "kept"])
def test_blocks_and_the_graph_give_the_same_to_the_bit(monkeypatch, kept):
    monkeypatch.setattr("photoz_losses.photometry.synthetic.GRAPH_BYTES", kept)
    flux = torch.from_numpy(np.random.default_rng(0).uniform(0.5, 2.0, (5, 200)))
    z_spec = torch.linspace(0.05, 0.35, 5)
    photometry = SyntheticPhotometry(GR, COARSE, chunk_bytes=1)
    in_blocks = flux_residual(photometry, flux, z_spec, BINS)
    in_graph = flux_residual(photometry, flux.requires_grad_(), z_spec, BINS)
    assert all(map(torch.equal, in_blocks, in_graph))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_low_precision_flux_gives_float32_that_is_rounded_once(dtype):
    flux = torch.from_numpy(np.random.default_rng(0).uniform(0.5, 2.0, (3, 200))).to(dtype)
    z_spec = torch.tensor([0.1, 0.2, 0.3])
    photometry = SyntheticPhotometry(GR, COARSE)
    got = flux_residual(photometry, flux, z_spec, BINS)
    exact = flux_residual(photometry, flux.double(), z_spec, BINS)
    for low, high in zip(got, exact, strict=True):
        assert low.dtype == torch.float32
        assert high.dtype == torch.float64
        assert torch.equal(low, high.float())


def test_an_empty_batch_gives_an_empty_table():
    residual, weight = flux_residual(
        SyntheticPhotometry(GR, COARSE), torch.ones(0, 200), torch.ones(0), BINS
    )
    assert residual.shape == (0, 8, 2)
    assert weight.shape == (0, 2)


# Errors of measurement ---------------------------------------------------------------------------


def test_pixels_that_nobody_trusts_count_nowhere():
    photometry = SyntheticPhotometry(GR, COARSE)
    generator = torch.Generator().manual_seed(1)
    flux = 1 + torch.rand(3, 200, generator=generator, dtype=torch.float64)
    ivar = torch.full_like(flux, 100.0)
    ivar[:, 60:64] = 0.0
    z_spec = torch.tensor([0.1, 0.2, 0.3])
    ivar[:, 120:] = 0.5
    for valid in (None, flux < 1.99):
        if valid is not None:
            ivar = ivar.where(valid, torch.nan)  # of what was not measured it may be anything
        known = (ivar > 0) if valid is None else valid & (ivar > 0)
        for got, expected in zip(
            flux_residual(photometry, flux, z_spec, BINS, ivar=ivar, valid=valid, min_coverage=0.5),
            flux_residual(photometry, flux, z_spec, BINS, valid=known, min_coverage=0.5),
            strict=True,
        ):
            assert torch.equal(got, expected)
            assert got.any()


def test_without_a_least_signal_to_noise_no_variance_is_looked_at():
    """One too small for a number is infinite: it would switch every band off."""
    photometry = SyntheticPhotometry(GR, COARSE)
    ivar = torch.full_like(FLUX, 1e308, dtype=torch.float64)
    assert relative_variance(photometry, FLUX, ivar).isinf().all()
    for got, expected in zip(
        flux_residual(photometry, FLUX, Z, BINS, ivar=ivar),
        flux_residual(photometry, FLUX, Z, BINS),
        strict=True,
    ):
        assert torch.equal(got, expected)
        assert got.any()


def test_a_coverage_of_one_may_be_asked_for():
    photometry = SyntheticPhotometry(GR, COARSE)
    residual, weight = flux_residual(photometry, FLUX, Z, BINS, min_coverage=1.0)
    assert residual.isfinite().all()
    assert set(weight.unique().tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize("quadrature", ["midpoint", "trapezoid"])
def test_a_band_below_the_least_signal_to_noise_carries_nothing(quadrature):
    photometry = SyntheticPhotometry(GR, COARSE)
    flux = 1 + torch.linspace(0, 1, 200, dtype=torch.float64).expand(4, -1)
    ivar = torch.tensor([1e-6, 1e-3, 1.0, 1e3], dtype=torch.float64).unsqueeze(-1).expand(4, 200)
    valid = torch.ones(4, 200, dtype=torch.bool)
    valid[1, 80:90] = False
    options = {"valid": valid, "min_coverage": 0.3, "quadrature": quadrature}
    z_spec = torch.full((4,), 0.2)
    signal = relative_variance(photometry, flux, ivar, valid=valid).rsqrt()
    plain, used = flux_residual(photometry, flux, z_spec, BINS, **options)
    for least in (0.5, signal[1, 1].item() * (1 + 1e-9), signal.max().item() / 2):
        residual, weight = flux_residual(
            photometry, flux, z_spec, BINS, ivar=ivar, min_snr=least, **options
        )
        assert torch.equal(weight, used * (signal >= least))
        assert torch.equal(residual, plain * weight.unsqueeze(-2))
        assert 0 < weight.sum() < used.sum()


# Errors ------------------------------------------------------------------------------------------


FLUX, Z = torch.ones(2, 200), torch.tensor([0.1, 0.2])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"quadrature": "simpson"},
            ValueError,
            "quadrature must be one of 'midpoint', 'trapezoid'",
        ),
        ({"dimming": "dust"}, ValueError, "dimming must be one of 'none', .* got 'dust'"),
        ({"min_coverage": -0.1}, ValueError, r"min_coverage must lie in \[0, 1\], got -0.1"),
        ({"min_coverage": 50}, ValueError, r"min_coverage must lie in \[0, 1\], got 50"),
        ({"min_coverage": np.nan}, ValueError, r"min_coverage must lie in \[0, 1\], got nan"),
        ({"dimming": "distance"}, ValueError, "dimming 'distance' and cosmology=.*Planck18"),
        ({"cosmology": Planck18}, ValueError, "dimming 'distance' and cosmology=.*pass both"),
        (
            {"dimming": "distance", "cosmology": "Planck18"},
            TypeError,
            "cosmology must be one of astropy, .*got 'Planck18'",
        ),
        ({"flux": FLUX[0]}, ValueError, r"flux must have .* \(200,\): .* flux.unsqueeze"),
        ({"flux": FLUX[:, 1:]}, ValueError, r"flux must have shape .*200.*\(2, 199\)"),
        ({"flux": FLUX.long()}, TypeError, r"flux must be a floating-point.*flux\.float\(\)"),
        ({"flux": FLUX * torch.nan}, ValueError, r"flux must be finite.*valid=flux\.isfinite\(\)"),
        ({"z_spec": Z[:1]}, ValueError, r"z_spec must have the shape \(2,\).*got \(1,\)"),
        ({"z_spec": Z[:, None]}, ValueError, r"z_spec must have .*z_spec\.squeeze\(-1\)"),
        ({"z_spec": Z.half()}, TypeError, "z_spec must be float32 or float64, got torch.float16"),
        ({"z_spec": Z.long()}, TypeError, "z_spec must be a floating-point"),
        ({"z_spec": Z + 1}, ValueError, r"z_spec must lie in \[0, 0.4\].*widen the bins"),
        ({"z_spec": Z * torch.nan}, ValueError, r"z_spec must lie in \[0, 0.4\].*nan"),
        ({"photometry": GR}, TypeError, "^photometry must be a SyntheticPhotometry, got FilterSet"),
        ({"bins": Z}, TypeError, "^bins must be a RedshiftBins, got a Tensor"),
        ({"min_snr": -1.0, "ivar": FLUX}, ValueError, "min_snr must"),
        ({"min_snr": np.inf, "ivar": FLUX}, ValueError, "min_snr must"),
        ({"min_snr": "a", "ivar": FLUX}, TypeError, "^min_snr must be a number"),
        ({"min_snr": 0.5}, ValueError, "min_snr = 0.5 needs ivar"),
        ({"min_coverage": 1.5}, ValueError, r"min_coverage must lie in \[0, 1\], got 1.5"),
        ({"min_coverage": "a"}, TypeError, "^min_coverage must be a number"),
        ({"ivar": -FLUX}, ValueError, "^ivar must not be negative, got -1"),
        ({"ivar": FLUX.long()}, TypeError, "^ivar must be a floating-point tensor"),
        ({"ivar": FLUX[:1]}, ValueError, r"^ivar must have the shape \(2, 200\)"),
        ({"valid": FLUX}, TypeError, "valid must be a bool tensor.*ivar > 0"),
        ({"valid": FLUX[0].bool()}, ValueError, r"valid must have the shape \(2, 200\) of flux"),
        ({"valid": FLUX[:1].bool()}, ValueError, r"valid must have the shape \(2, 200\) of flux"),
    ],
)
def test_bad_arguments_are_named_with_the_mend(change, error, message):
    photometry = SyntheticPhotometry(GR, COARSE)
    case = {"photometry": photometry, "flux": FLUX, "z_spec": Z, "bins": BINS} | change
    with pytest.raises(error, match=message):
        flux_residual(**case)


@pytest.mark.parametrize("in_graph", [False, True])
def test_a_mask_of_more_galaxies_than_there_are_is_refused(in_graph):
    # it may belong to the batch before
    valid = torch.ones(3, 200, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"valid must have the shape \(2, 200\) of flux"):
        flux_residual(
            SyntheticPhotometry(GR, COARSE), FLUX.clone().requires_grad_(in_graph), Z, BINS,
            valid=valid,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("z_spec", "quadrature", "message"),
    [
        (torch.zeros(2), "midpoint", "dimming='distance' needs redshifts above 0, z_spec has 0"),
        (Z, "trapezoid", "dimming='distance' needs redshifts above 0, bins has 0"),
    ],
)
def test_no_distance_at_redshift_zero(z_spec, quadrature, message):
    with pytest.raises(ValueError, match=message):
        flux_residual(
            SyntheticPhotometry(GR, COARSE),
            FLUX,
            z_spec,
            BINS,
            quadrature=quadrature,
            dimming="distance",
            cosmology=Planck18,
        )


def test_what_no_check_could_look_at_becomes_nan_and_never_a_loss_of_zero(monkeypatch):
    """As on a device, where a look at the values would make the host wait."""
    monkeypatch.setattr("photoz_losses._check.can_read_free", lambda *_: False)
    bins = RedshiftBins.uniform(0.0, 0.4, 5, validate=False)
    box = FilterSet(["box"], [[5000.0, 6000.0]], [[1.0, 1.0]])
    photometry = SyntheticPhotometry(box, torch.linspace(4000.0, 8000.0, 400))
    flux = torch.ones(4, 400)
    flux[1, 150] = torch.nan
    z_spec = torch.tensor([0.1, 0.1, torch.nan, 0.9])
    residual, _ = flux_residual(photometry, flux, z_spec, bins)
    assert residual.isnan().all((1, 2)).tolist() == [False, True, True, True]
    assert residual[0].isfinite().all()
    log_grid = SyntheticPhotometry(
        FilterSet(["peak"], [[5000.0, 5500.0, 6000.0]], [[0.0, 1.0, 0.0]]),
        torch.logspace(3.6, 3.9, 400, dtype=torch.float64),
    )
    assert log_grid.sums.grid == "log"
    bands, _ = log_grid(torch.ones(400), torch.tensor([1.0, torch.nan]))
    assert bands.isnan().squeeze(-1).tolist() == [False, True]
