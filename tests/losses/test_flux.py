"""The flux term against the paper's formula, and its Modules against the functions."""

import re

import numpy as np
import pytest
import torch
from astropy.cosmology import Planck18
from hypothesis import given
from hypothesis import strategies as st
from photometry.spectroscopy import off_the_knots
from reference import flux_in_band, flux_penalty, softmax
from strategies import fractions
from strategies import logits as drawn_logits

from photoz_losses import (
    FluxLoss,
    RedshiftBins,
    SpectrophotometricFluxLoss,
    TotalLoss,
    flux_loss,
    flux_residual,
)
from photoz_losses.photometry import FilterSet, SyntheticPhotometry, relative_variance

BINS = RedshiftBins([0.1013, 0.1571, 0.2117, 0.3019, 0.3555])
WAVELENGTH = np.linspace(4000.0, 8000.0, 41)
FILTERS = FilterSet(
    ["a", "b", "c"],
    [[4500, 5300, 6000], [5600, 6400, 7100], [3900, 4300, 4800]],  # c runs out with the shift
    [[0, 1, 0]] * 3,
)
LOGITS, RESIDUAL, WEIGHT = torch.zeros(2, 4), torch.ones(2, 4, 3), torch.ones(2, 3)


@st.composite
def tables(draw, bands: int = 3):
    """Logits [N, C], residuals [N, C, B] and band weights [N, B], zeros among the latter."""
    n_bins = draw(st.integers(2, 8))
    logits = draw(drawn_logits(n_bins))
    shape = (len(logits), n_bins, bands)
    residual = 11.0 * draw(fractions(shape)) - 1.0
    given, weight = draw(fractions((2, len(logits), bands)))
    weight = np.where(given > 0.4, 0.01 + 4.99 * weight, 0.0)
    return logits, torch.from_numpy(residual), torch.from_numpy(weight)


@st.composite
def measured(draw):
    """As `tables`, with relative variances (N, B)."""
    logits, residual, weight = draw(tables())
    variance = 10 ** (9 * draw(fractions(tuple(weight.shape))) - 6)
    return logits, residual, weight, torch.from_numpy(variance)


def spectra_of(batch: int) -> torch.Tensor:
    rng = np.random.default_rng(2)
    return torch.from_numpy(rng.uniform(0.5, 2.0, (batch, len(WAVELENGTH))))


def logits_of(batch: int, bins: int = 4) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(3).normal(0, 2, (batch, bins)))


# Against the paper -------------------------------------------------------------------------------


@given(tables())
def test_loss_equals_a_loop_over_galaxies_bands_and_bins(case):
    logits, residual, weight = case
    got = flux_loss(logits, residual, weight, reduction="none")
    for n in range(len(logits)):
        probs = softmax(logits[n].tolist())
        above, below = 0.0, 0.0
        for b, w in enumerate(weight[n].tolist()):
            above += w * abs(
                sum(p * r for p, r in zip(probs, residual[n, :, b].tolist(), strict=True))
            )
            below += w
        expected = above / below if below > 0 else 0.0
        assert got[n].item() == pytest.approx(expected, rel=1e-12, abs=1e-13)


@pytest.mark.parametrize("least", [0.0, 0.5])
def test_loss_from_spectra_is_the_papers_relative_error_of_the_expected_flux(least):
    z_spec = torch.tensor([0.12, 0.2, 0.25, 0.34], dtype=torch.float64)
    flux, logits = spectra_of(4), logits_of(4)
    photometry = SyntheticPhotometry(FILTERS, WAVELENGTH)
    module = SpectrophotometricFluxLoss(BINS, photometry, min_coverage=least, reduction="none")
    got = module(logits, flux, z_spec)
    for n in range(4):
        probs, penalties = softmax(logits[n].tolist()), []
        for x, y in zip(FILTERS.wavelengths, FILTERS.responses, strict=True):
            curve = (WAVELENGTH, flux[n].numpy(), x.numpy(), y.numpy())
            true, covered = flux_in_band(*curve, 1.0)
            if covered < least:
                continue
            shifted = []
            for z in BINS.centers.tolist():
                bands, covered = flux_in_band(*curve, (1 + z) / (1 + z_spec[n].item()))
                # a cell without residual counts as if the galaxy had its own flux there
                shifted.append(bands if covered >= least else true)
            penalties.append(flux_penalty(probs, shifted, true))
        assert got[n].item() == pytest.approx(sum(penalties) / len(penalties), rel=1e-10)


# Laws --------------------------------------------------------------------------------------------


@given(tables())
def test_expected_flux_lies_between_least_and_largest_over_the_bins(case):
    logits, residual, _ = case
    flux = 1 + residual  # Phi' in units of the true one, not negative
    expected = flux_loss(logits, flux, reduction="none")  # |sum p Phi'|, averaged over bands
    assert (expected >= flux.amin(-2).mean(-1) * (1 - 1e-12)).all()
    assert (expected <= flux.amax(-2).mean(-1) * (1 + 1e-12)).all()


@given(tables(), st.data())
def test_a_spike_has_the_residual_of_its_bin(case, data):
    logits, residual, weight = case
    spike = data.draw(st.integers(0, logits.shape[-1] - 1))
    logits = torch.full_like(logits, -2000.0)
    logits[:, spike] = -1.0
    got = flux_loss(logits, residual, weight, reduction="none")
    at = residual[:, spike].abs()
    expected = (weight * at).sum(-1) / weight.sum(-1).where(weight.sum(-1) > 0, 1)
    torch.testing.assert_close(got, expected, rtol=1e-14, atol=1e-15)


@given(tables())
def test_a_single_band_is_the_absolute_mean_residual(case):
    logits, residual, _ = case
    for b in range(residual.shape[-1]):
        got = flux_loss(logits, residual[..., [b]], reduction="none")
        expected = (logits.softmax(-1) * residual[..., b]).sum(-1).abs()
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-13)


@given(tables(), st.floats(0.01, 100.0) | st.sampled_from([1e-290, 1e-58, 1e39, 1e300, 1e307]))
def test_band_weights_count_only_relative_to_one_another(case, scale):
    logits, residual, weight = case
    got = flux_loss(logits, residual, scale * weight, reduction="none")
    expected = flux_loss(logits, residual, weight, reduction="none")
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-15)


@given(tables())
def test_no_weights_are_equal_weights(case):
    logits, residual, weight = case
    twos = torch.full_like(weight, 2.0)
    got = flux_loss(logits, residual, reduction="none")
    expected = flux_loss(logits, residual, twos, reduction="none")
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-15)


@given(tables())
def test_a_band_of_weight_zero_does_not_count(case):
    logits, residual, weight = case
    weight[:, 0] = 0.0
    other = residual.clone()
    other[..., 0] = 7.0
    assert torch.equal(flux_loss(logits, residual, weight), flux_loss(logits, other, weight))


def test_two_leading_dimensions_are_kept():
    logits, residual = (
        torch.zeros(2, 3, 4),
        torch.arange(6.0).reshape(2, 3, 1, 1).expand(2, 3, 4, 5),
    )
    each = torch.arange(6.0).reshape(2, 3)
    assert torch.equal(flux_loss(logits, residual, reduction="none"), each)
    weighted = flux_loss(logits, residual, torch.ones(2, 3, 5), reduction="none")
    assert torch.equal(weighted, each)


@given(measured())
def test_leading_dimensions_are_free(case):
    *parts, variance = case
    each = flux_loss(*parts, variance=variance, reduction="none")
    plain = flux_loss(*parts[:2], reduction="none")
    *more, spread = (torch.stack([part, part.flip(0)]) for part in case)
    got = flux_loss(*more, variance=spread, reduction="none")
    torch.testing.assert_close(got, torch.stack([each, each.flip(0)]), rtol=1e-13, atol=1e-13)
    got = flux_loss(*more[:2], reduction="none")
    torch.testing.assert_close(got, torch.stack([plain, plain.flip(0)]), rtol=1e-13, atol=1e-13)


@given(tables())
def test_reductions_reduce_the_same_values(case):
    each = flux_loss(*case, reduction="none")
    assert each.shape == (len(case[0]),)
    torch.testing.assert_close(flux_loss(*case, reduction="mean"), each.mean())
    torch.testing.assert_close(flux_loss(*case, reduction="sum"), each.sum())
    assert torch.equal(flux_loss(*case), flux_loss(*case, reduction="mean"))


@given(tables())
def test_a_galaxy_does_not_depend_on_its_batch(case):
    each = flux_loss(*case, reduction="none")
    for n in range(len(each)):
        single = flux_loss(*(part[n] for part in case), reduction="none")
        torch.testing.assert_close(single, each[n], rtol=1e-13, atol=1e-15)


# In units of error -------------------------------------------------------------------------------


@given(measured())
def test_with_variance_the_loss_equals_a_loop_in_units_of_error(case):
    logits, residual, weight, variance = case
    got = flux_loss(logits, residual, weight, variance=variance, reduction="none")
    for n in range(len(logits)):
        probs = softmax(logits[n].tolist())
        above, below = 0.0, 0.0
        for b, w in enumerate(weight[n].tolist()):
            mean = sum(p * r for p, r in zip(probs, residual[n, :, b].tolist(), strict=True))
            above += w * abs(mean) / variance[n, b].item() ** 0.5
            below += w
        expected = above / below if below > 0 else 0.0
        assert got[n].item() == pytest.approx(expected, rel=1e-12, abs=1e-10)


@given(measured())
def test_a_variance_of_one_changes_nothing_and_of_four_halves(case):
    logits, residual, weight, variance = case
    plain = flux_loss(logits, residual, weight)
    ones = torch.ones_like(variance)
    assert torch.equal(flux_loss(logits, residual, weight, variance=ones), plain)
    assert torch.equal(flux_loss(logits, residual, weight, variance=4 * ones), plain / 2)
    torch.testing.assert_close(  # without weights every band counts the same
        flux_loss(logits, residual, variance=variance),
        flux_loss(logits, residual, ones, variance=variance),
        rtol=1e-13,
        atol=0,
    )


@pytest.mark.parametrize("anything", [torch.inf, torch.nan, 0.0, -1.0])
def test_the_variance_of_a_band_not_in_use_may_be_anything(anything):
    logits, weight = logits_of(3).requires_grad_(), torch.tensor([[1.0, 0.0]] * 2 + [[0.0, 0.0]])
    residual = torch.rand(3, 4, 2, generator=torch.Generator().manual_seed(0)).double()
    variance = torch.tensor([[0.25, anything]] * 2 + [[anything] * 2], dtype=torch.float64)
    residual.requires_grad_()
    variance.requires_grad_()
    value = flux_loss(logits, residual, weight, variance=variance, reduction="none")
    plain = flux_loss(logits, residual, weight, reduction="none")
    torch.testing.assert_close(value, 2 * plain, rtol=1e-14, atol=0)
    value.sum().backward()
    assert value[2] == 0
    for gradient in (logits.grad, residual.grad):
        assert gradient.isfinite().all()
        assert (gradient[2] == 0).all()
    assert (variance.grad[weight == 0] == 0).all()
    assert variance.grad.isfinite().all()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"residual": torch.full((2, 4, 2), 1e39, dtype=torch.float64)}, "residual must be num"),
        ({"variance": torch.full((2, 2), 1e-100, dtype=torch.float64)}, "variance must be posit"),
    ],
)
def test_what_float32_does_not_hold_is_refused_for_logits_in_float32(changes, says):
    given_ones = {"residual": torch.ones(2, 4, 2), **changes}
    with pytest.raises(ValueError, match=says):
        flux_loss(logits_of(2).float(), **given_ones)


@pytest.mark.parametrize("variance", [None, torch.tensor([[1e-37, 1.0], [1.0, 1.0]])])
@pytest.mark.parametrize("scale", [1e-42, 1e-38, 1e-4, 1e30, 3e38])
def test_band_weights_of_every_size_that_float32_holds_have_a_loss(scale, variance):
    weight = torch.tensor([[1.0, 0.5], [0.0, 0.25]])
    given_ones = {"residual": torch.full((2, 4, 2), 0.25), "variance": variance}
    got = flux_loss(logits_of(2).float(), band_weight=scale * weight, **given_ones)
    expected = flux_loss(logits_of(2).float(), band_weight=weight, **given_ones)
    torch.testing.assert_close(got, expected, rtol=1e-6 if scale > 1e-40 else 1e-2, atol=0.0)


def test_a_negative_weight_that_no_check_saw_gives_no_loss():
    weight = torch.tensor([[1.0, -0.9, 0.5], [1.0, 0.5, 0.0]])
    residual = torch.linspace(-1.0, 1.0, 24).reshape(2, 4, 3)

    def each(logits, residual, weight):
        return flux_loss(logits, residual, weight, reduction="none")

    values = torch.func.vmap(each)(LOGITS, residual, weight)
    assert values.isnan().tolist() == [True, False]
    torch.testing.assert_close(values[1], each(LOGITS, residual, weight.abs())[1])


@pytest.mark.parametrize("scale", [1e-60, 1e60])
def test_float64_weights_beside_float32_logits_keep_their_ratios(scale):
    logits = torch.tensor([[0.5, -1.0, 2.0, 0.0]])
    residual = torch.tensor([[[0.5, -2.0, 1.0]] * 2 + [[1.0, 0.1, -0.3]] * 2])
    weight = torch.tensor([[1.0, 3.0, 0.5]], dtype=torch.float64)
    value = flux_loss(logits, residual, scale * weight)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, flux_loss(logits, residual, weight.float()))


def test_the_weights_of_one_galaxy_say_nothing_of_anothers():
    weight = torch.tensor([[1e30, 3e30], [1e-30, 3e-30]])
    residual = torch.tensor([0.2, 0.6]).expand(2, 4, 2)
    got = flux_loss(logits_of(2).float(), residual, weight, reduction="none")
    torch.testing.assert_close(got, torch.tensor([0.5, 0.5]))


@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_a_loss_that_overflows_is_refused_unless_it_came_of_the_network(weight):
    huge = torch.full_like(RESIDUAL, 2e38)
    with pytest.raises(ValueError, match="logits and residual must give a loss"):
        flux_loss(LOGITS, huge, weight, reduction="sum")
    for diverged in (LOGITS.log(), torch.full_like(LOGITS, torch.nan)):
        assert flux_loss(diverged, huge, weight, reduction="sum").isnan()
    assert flux_loss(LOGITS, huge / 0.0, weight).isinf()


@pytest.mark.parametrize("shape", [(2, 4, 0), (2, 3, 3), (3, 4, 3), (2, 4)])
def test_a_residual_without_bands_or_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"the shape \(2, 4, B\) of logits and B bands"):
        flux_loss(LOGITS, torch.zeros(shape))


def test_a_band_of_a_weight_too_small_beside_the_largest_counts_as_nothing():
    weight = torch.tensor([[1.0, 1e-60]] * 2).double()
    residual = torch.tensor([0.25, 1e30]).expand(2, 4, 2)
    got = flux_loss(logits_of(2).float(), residual, weight)
    torch.testing.assert_close(got, torch.tensor(0.25))


def test_a_band_in_use_of_infinite_variance_adds_nothing():
    logits, residual = logits_of(2), torch.ones(2, 4, 2).double()
    variance = torch.tensor([[1.0, torch.inf]] * 2).double()
    torch.testing.assert_close(
        flux_loss(logits, residual, variance=variance), torch.tensor(0.5).double()
    )


def test_gradcheck_in_units_of_error():
    rng = np.random.default_rng(4)
    residual = torch.from_numpy(rng.uniform(0.1, 1.0, (3, 4, 2)) * [1, -1])
    weight = torch.tensor([[1.0, 2.0], [0.0, 1.0], [0.0, 0.0]]).double()
    variance = torch.from_numpy(rng.uniform(0.1, 1.0, (3, 2)))
    assert torch.autograd.gradcheck(
        lambda logits, residual, variance: flux_loss(
            logits, residual, weight, variance=variance, reduction="none"
        ),
        (logits_of(3).requires_grad_(), residual.requires_grad_(), variance.requires_grad_()),
    )


@given(measured(), st.sampled_from(["mean", "sum", "none"]))
def test_module_and_total_take_the_variance_as_the_function_does(case, reduction):
    logits, residual, weight, variance = case
    bins = RedshiftBins.uniform(0.0, 0.4, logits.shape[-1])
    module = FluxLoss(bins, reduction=reduction)
    expected = flux_loss(logits, residual, weight, variance=variance, reduction=reduction)
    assert torch.equal(module(logits, residual, weight, variance=variance), expected)
    assert torch.equal(module(logits, residual, weight, variance), expected)
    assert module.unusable == (weight == 0).all(-1).sum()
    if reduction == "mean":
        total, values = TotalLoss({"flux": (0.5, FluxLoss(bins))})(
            logits=logits, residual=residual, band_weight=weight, variance=variance
        )
        assert torch.equal(values["flux"], expected)
        assert torch.equal(total, 0.5 * expected)


def test_noise_of_the_size_of_the_variance_gives_the_mean_of_a_half_normal():
    # fluxes that differ from the expected one by their errors alone: |r| / sigma has the mean of
    # |N(0, 1)|, sqrt(2 / pi), whatever the errors are
    rng = np.random.default_rng(5)
    variance = torch.from_numpy(rng.uniform(1e-4, 1e-2, (20_000, 3)))
    error = torch.from_numpy(rng.normal(size=(20_000, 1, 3))) * variance.sqrt().unsqueeze(-2)
    value = flux_loss(logits_of(20_000), error.expand(-1, 4, -1), variance=variance)
    assert value.item() == pytest.approx((2 / np.pi) ** 0.5, abs=5 * 0.6 / 60_000**0.5)


@pytest.mark.parametrize("least", [0.0, 3.0, 12.0])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_loss_from_spectra_with_ivar_equals_the_loss_from_the_table(least, reduction):
    flux, logits, z_spec = spectra_of(8), logits_of(8), torch.linspace(0.11, 0.35, 8)
    ivar = 10 ** torch.linspace(-3, 2, 8).double().unsqueeze(-1) * spectra_of(8)
    ivar[:, ::11] = 0.0
    valid = torch.ones(8, 41, dtype=torch.bool)
    valid[1, :9] = False
    photometry = SyntheticPhotometry(FILTERS, WAVELENGTH)
    module = SpectrophotometricFluxLoss(BINS, photometry, min_snr=least, reduction=reduction)
    options = {"valid": valid, "ivar": ivar, "min_snr": least}
    residual, weight = flux_residual(photometry, flux, z_spec, BINS, **options)
    value = module(logits, flux, z_spec, valid, ivar)
    assert torch.equal(value, flux_loss(logits, residual, weight, reduction=reduction))
    assert torch.equal(value, module(logits, flux, z_spec, valid=valid, ivar=ivar))
    assert module.unusable == (weight == 0).all(-1).sum()
    assert (least > 0) == (module.unusable > 0)
    in_error = relative_variance(photometry, flux, ivar, valid=valid)
    assert flux_loss(logits, residual, weight, variance=in_error).isfinite()


@pytest.mark.parametrize("other", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("given_type", "result"),
    [
        (torch.float64, torch.float64),
        (torch.float32, torch.float32),
        (torch.float16, torch.float32),
    ],
    ids=str,
)
def test_the_logits_alone_decide_the_type_of_the_result(given_type, result, other):
    logits, residual = logits_of(2).to(given_type), torch.ones(2, 4, 3, dtype=other)
    weight, variance = (torch.full((2, 3), size, dtype=other) for size in (2.0, 0.25))
    for function in (flux_loss, FluxLoss(BINS)):
        assert function(logits, residual).dtype == result
        assert function(logits, residual, weight).dtype == result
        value = function(logits, residual, weight, variance=variance)
        torch.testing.assert_close(value, torch.tensor(2.0, dtype=result))
        value = function(logits, residual, variance=variance)
        torch.testing.assert_close(value, torch.tensor(2.0, dtype=result))


@pytest.mark.parametrize(
    "options",
    [
        {"quadrature": "trapezoid"},
        {"min_coverage": 0.0},
        {"min_coverage": 0.97},
        {"dimming": "f_nu"},
        {"dimming": "distance", "cosmology": Planck18},
    ],
    ids=str,
)
def test_the_module_hands_every_option_on(options):
    flux, logits, z_spec = spectra_of(5), logits_of(5), torch.linspace(0.11, 0.35, 5)
    photometry = SyntheticPhotometry(FILTERS, WAVELENGTH)
    value = SpectrophotometricFluxLoss(BINS, photometry, **options)(logits, flux, z_spec)
    residual, weight = flux_residual(photometry, flux, z_spec, BINS, **options)
    assert torch.equal(value, flux_loss(logits, residual, weight))
    assert value != SpectrophotometricFluxLoss(BINS, photometry)(logits, flux, z_spec)


@pytest.mark.parametrize(
    ("call", "error", "start"),
    [
        (lambda f: f(LOGITS.long(), RESIDUAL), TypeError, "logits must be a floating-point"),
        (lambda f: f(LOGITS, RESIDUAL.long()), TypeError, "residual must be a floating-point"),
        (
            lambda f: f(LOGITS, RESIDUAL[..., 0]),
            ValueError,
            "residual must have the shape (2, 4, B) of logits and B bands, got (2, 4): for one "
            "band call residual.unsqueeze(-1)",
        ),
        (
            lambda f: f(LOGITS, RESIDUAL[:1]),
            ValueError,
            "residual must have the shape (2, 4, B) of logits and B bands, got (1, 4, 3)",
        ),
        (
            lambda f: f(LOGITS, RESIDUAL, WEIGHT[0]),
            ValueError,
            "band_weight must have the shape (2, 3) of the batch x bands, got (3,)",
        ),
        (lambda f: f(LOGITS, RESIDUAL, -WEIGHT), ValueError, "band_weight must not be negative"),
        (
            lambda f: f(LOGITS, RESIDUAL, WEIGHT * torch.inf),
            ValueError,
            "band_weight must not be negative, NaN or infinite",
        ),
        (
            lambda f: f(LOGITS, RESIDUAL, WEIGHT, variance=WEIGHT[0]),
            ValueError,
            "variance must have the shape (2, 3) of the bands, got (3,)",
        ),
    ],
)
@pytest.mark.parametrize("function", [flux_loss, FluxLoss(BINS)], ids=["function", "module"])
def test_an_error_begins_with_the_argument_it_is_about(function, call, error, start):
    with pytest.raises(error, match=f"^{re.escape(start)}"):
        call(function)


# No usable band ----------------------------------------------------------------------------------


def test_no_usable_band_is_exactly_zero_with_finite_gradients_and_is_counted():
    logits, residual = logits_of(3).requires_grad_(), torch.ones(3, 4, 2).double().requires_grad_()
    weight = torch.tensor([[0.0, 0.0], [0.0, 1.0], [0.0, 0.0]]).double()
    module = FluxLoss(BINS, reduction="none")
    value = module(logits, residual, weight)
    assert value[[0, 2]].tolist() == [0, 0]
    assert value[1].item() == pytest.approx(1.0)
    assert module.unusable == 2
    value.sum().backward()
    assert logits.grad.isfinite().all()
    assert (logits.grad[[0, 2]] == 0).all()
    assert residual.grad.isfinite().all()


def test_a_whole_batch_without_a_usable_band_is_zero_and_never_nan():
    flux = torch.full((2, 41), torch.nan)
    module = SpectrophotometricFluxLoss(BINS, SyntheticPhotometry(FILTERS, WAVELENGTH))
    logits = logits_of(2).requires_grad_()
    value = module(logits, flux, torch.tensor([0.2, 0.3]), flux.isfinite())
    value.backward()
    assert value.item() == 0.0
    assert (logits.grad == 0).all()
    assert module.unusable == 2


def test_the_count_is_that_of_the_last_call():
    module = FluxLoss(BINS)
    logits, residual = logits_of(2), torch.ones(2, 4, 1)
    module(logits, residual, torch.zeros(2, 1))
    assert module.unusable == 2
    module(logits, residual, torch.ones(2, 1))
    assert module.unusable == 0
    assert module.unusable.dtype == torch.int64
    assert not module.state_dict()


def test_without_weights_every_band_is_usable_and_the_count_says_so():
    module = FluxLoss(BINS)
    logits, residual = logits_of(2), torch.ones(2, 4, 1)
    module(logits, residual, torch.zeros(2, 1))
    module(logits, residual)
    assert module.unusable == 0


# Modules -----------------------------------------------------------------------------------------


@given(tables(), st.sampled_from(["mean", "sum", "none"]))
def test_module_equals_function(case, reduction):
    bins = RedshiftBins.uniform(0.0, 0.4, case[0].shape[-1])
    module = FluxLoss(bins, reduction=reduction)
    assert torch.equal(module(*case), flux_loss(*case, reduction=reduction))
    assert torch.equal(module(*case[:2]), flux_loss(*case[:2], reduction=reduction))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"min_coverage": 0.0},
        {"quadrature": "trapezoid"},
        {"dimming": "bandwidth"},
        {"dimming": "f_nu", "quadrature": "trapezoid", "min_coverage": 0.2},
    ],
    ids=str,
)
def test_loss_from_spectra_equals_the_loss_from_the_table(options, dtype, reduction):
    flux, logits = spectra_of(5).to(dtype), logits_of(5).to(dtype)
    z_spec, valid = torch.linspace(0.11, 0.35, 5), torch.ones(5, 41, dtype=torch.bool)
    valid[1, :9] = False
    photometry = SyntheticPhotometry(FILTERS, WAVELENGTH)
    module = SpectrophotometricFluxLoss(BINS, photometry, reduction=reduction, **options)
    table = flux_residual(photometry, flux, z_spec, BINS, valid=valid, **options)
    value = module(logits, flux, z_spec, valid)
    assert value.dtype == dtype
    assert torch.equal(value, FluxLoss(BINS, reduction=reduction)(logits, *table))


def test_distance_dimming_reaches_the_module():
    from astropy.cosmology import Planck18

    options = {"dimming": "distance", "cosmology": Planck18}
    flux, logits, z_spec = spectra_of(2), logits_of(2), torch.tensor([0.2, 0.3])
    photometry = SyntheticPhotometry(FILTERS, WAVELENGTH)
    table = flux_residual(photometry, flux, z_spec, BINS, **options)
    module = SpectrophotometricFluxLoss(BINS, photometry, **options)
    assert torch.equal(module(logits, flux, z_spec), flux_loss(logits, *table))
    assert "cosmology=" in repr(module)
    assert "Planck18" in repr(module)


@pytest.mark.parametrize("cast", ["half", "bfloat16", "float"])
def test_no_cast_of_the_module_changes_the_loss_and_nothing_is_saved(cast):
    flux, logits, z_spec = spectra_of(2), logits_of(2), torch.tensor([0.2, 0.3])
    module = SpectrophotometricFluxLoss(BINS, SyntheticPhotometry(FILTERS, WAVELENGTH))
    before = module(logits, flux, z_spec)
    assert torch.equal(getattr(module, cast)()(logits, flux, z_spec), before)
    assert len(module.state_dict()) == 0


# Precision ---------------------------------------------------------------------------------------


@given(tables(), st.sampled_from([torch.float16, torch.bfloat16, torch.float32]))
def test_tables_in_low_precision_are_read_in_that_of_the_logits(case, dtype):
    logits, residual, weight = case
    low, light = residual.to(dtype), weight.to(dtype)
    got = flux_loss(logits, low, light)
    assert got.dtype == torch.float64
    assert torch.equal(got, flux_loss(logits, low.double(), light.double()))


@given(tables(), st.sampled_from([torch.float16, torch.bfloat16]))
def test_logits_in_half_precision_are_read_in_float32(case, dtype):
    logits, residual, weight = case
    low = logits.to(dtype)
    got = flux_loss(low, residual.to(dtype), weight.to(dtype))
    assert got.dtype == torch.float32
    assert torch.equal(got, flux_loss(low.float(), residual.to(dtype), weight.to(dtype)))


# Gradients ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
def test_gradcheck_of_the_loss_in_logits_and_residuals(weighted):
    rng = np.random.default_rng(4)
    residual = torch.from_numpy(rng.uniform(0.1, 1.0, (3, 4, 2)) * [1, -1])  # away from |0|
    weight = torch.tensor([[1.0, 2.0], [0.0, 1.0], [0.0, 0.0]]).double() if weighted else None
    assert torch.autograd.gradcheck(
        lambda logits, residual: flux_loss(logits, residual, weight, reduction="none"),
        (logits_of(3).requires_grad_(), residual.requires_grad_()),
    )


@pytest.mark.parametrize("least", [0.0, 0.5])
def test_gradcheck_from_spectra_in_logits_flux_and_redshift(least):
    z_spec = torch.tensor([0.1312, 0.2719], dtype=torch.float64)
    nu = (1 + BINS.centers) / (1 + z_spec.unsqueeze(-1))
    assert off_the_knots(WAVELENGTH, FILTERS, nu, 0.02)
    photometry = SyntheticPhotometry(FILTERS, WAVELENGTH)
    module = SpectrophotometricFluxLoss(
        BINS, photometry, min_coverage=least, dimming="bandwidth", reduction="none"
    )
    inputs = (logits_of(2), spectra_of(2), z_spec)
    assert torch.autograd.gradcheck(module, tuple(part.requires_grad_() for part in inputs))


def test_gradients_flow_to_logits_spectra_and_redshifts():
    parts = logits_of(2), spectra_of(2), torch.tensor([0.13, 0.27], dtype=torch.float64)
    inputs = [part.requires_grad_() for part in parts]
    module = SpectrophotometricFluxLoss(BINS, SyntheticPhotometry(FILTERS, WAVELENGTH))
    module(*inputs).backward()
    for part in inputs:
        assert part.grad.isfinite().all()
        assert (part.grad != 0).any()


@given(tables(), st.floats(100.0, 1e4))
def test_gradients_of_saturated_logits_are_finite(case, size):
    logits, residual, weight = case
    logits = (size * logits).requires_grad_()
    residual.requires_grad_()
    flux_loss(logits, residual, weight).backward()
    assert logits.grad.isfinite().all()
    assert residual.grad.isfinite().all()


# Errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("logits", "residual", "weight", "error", "message"),
    [
        (LOGITS.long(), RESIDUAL, None, TypeError, r"logits must be a floating-point"),
        (LOGITS, RESIDUAL.long(), None, TypeError, r"residual must be a floating-point"),
        (LOGITS, RESIDUAL, WEIGHT.bool(), TypeError, r"band_weight must be a floating-point"),
        (LOGITS[:, 1:], RESIDUAL, None, ValueError, r"residual must have the shape \(2, 3, B\)"),
        (LOGITS, RESIDUAL[:1], None, ValueError, r"residual must have .* got \(1, 4, 3\)"),
        (LOGITS, RESIDUAL[..., 0], None, ValueError, r"residual must have .* got \(2, 4\)"),
        (LOGITS, RESIDUAL.mT, None, ValueError, r"residual must have .* got \(2, 3, 4\)"),
        (LOGITS, RESIDUAL, WEIGHT[0], ValueError, r"band_weight must have the shape \(2, 3\)"),
        (LOGITS, RESIDUAL, WEIGHT[:, :1], ValueError, r"band_weight must have .* got \(2, 1\)"),
        (LOGITS, RESIDUAL, -WEIGHT, ValueError, "band_weight must not be negative.*0 switches"),
        (LOGITS, RESIDUAL, WEIGHT * torch.nan, ValueError, "band_weight must not be .*NaN"),
    ],
)
def test_bad_arguments_are_named(logits, residual, weight, error, message):
    with pytest.raises(error, match=message):
        flux_loss(logits, residual, weight)


@pytest.mark.parametrize(
    ("variance", "error", "message"),
    [
        (WEIGHT * 0, ValueError, "variance must be positive.*in use.*band_weight 0"),
        (-WEIGHT, ValueError, "variance must be positive"),
        (WEIGHT * torch.nan, ValueError, "variance must be positive in float32, and not NaN"),
        (WEIGHT[0], ValueError, r"variance must have the shape \(2, 3\) of the bands.*\(3,\)"),
        (WEIGHT[:, :1], ValueError, r"variance must have the shape \(2, 3\).*got \(2, 1\)"),
        (WEIGHT.long(), TypeError, "variance must be a floating-point.*int64"),
        (1.0, TypeError, "variance must be a torch.Tensor, got float"),
    ],
)
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["no weights", "weights"])
def test_a_bad_variance_is_named(weight, variance, error, message):
    for call in (flux_loss, FluxLoss(BINS)):
        with pytest.raises(error, match=message):
            call(LOGITS, RESIDUAL, weight, variance=variance)


def test_logits_of_another_number_of_bins_are_named():
    with pytest.raises(ValueError, match=r"logits must have shape \(\.\.\., 4\).*got \(2, 3\)"):
        FluxLoss(BINS)(LOGITS[:, 1:], RESIDUAL[:, 1:])


def test_probabilities_in_place_of_logits_are_named_with_the_mend():
    with pytest.raises(ValueError, match=r"logits look like probabilities.*without softmax"):
        FluxLoss(BINS)(LOGITS.softmax(-1), RESIDUAL)


def test_an_unknown_reduction_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match="reduction must be one of 'mean', 'sum', 'none'"):
        flux_loss(LOGITS, RESIDUAL, reduction="average")


@pytest.mark.parametrize(
    "options",
    [{"quadrature": "simpson"}, {"dimming": "distance"}, {"min_coverage": 2.0}, {"min_snr": -1.0}],
    ids=str,
)
def test_the_module_refuses_bad_options_when_it_is_made(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        SpectrophotometricFluxLoss(BINS, SyntheticPhotometry(FILTERS, WAVELENGTH), **options)


def test_the_module_names_bad_spectra_and_redshifts():
    module = SpectrophotometricFluxLoss(BINS, SyntheticPhotometry(FILTERS, WAVELENGTH))
    flux, logits, z_spec = spectra_of(2), logits_of(2), torch.tensor([0.2, 0.3])
    with pytest.raises(ValueError, match="z_spec must lie in"):
        module(logits, flux, z_spec + 1)
    with pytest.raises(ValueError, match="flux must have shape"):
        module(logits, flux[:, 1:], z_spec)
    with pytest.raises(TypeError, match=r"^logits must be a floating-point tensor"):
        module(logits.long(), flux, z_spec)
    with pytest.raises(TypeError, match=r"^bins must be a RedshiftBins"):
        FluxLoss(z_spec)
    with pytest.raises(TypeError, match=r"^photometry must be a SyntheticPhotometry"):
        SpectrophotometricFluxLoss(BINS, FILTERS)
    with pytest.raises(TypeError, match="flux must be a floating-point tensor"):
        module(logits, flux.long(), z_spec)
    with pytest.raises(
        ValueError, match=r"flux must have shape \(1, \d+\), one spectrum for each row"
    ):
        module(logits[:1], flux, z_spec)


def test_a_residual_of_nan_in_a_band_that_is_switched_off_does_not_count():
    residual = torch.ones(1, 4, 2)
    residual[..., 1] = torch.nan
    logits = logits_of(1).requires_grad_()
    value = flux_loss(logits, residual, torch.tensor([[1.0, 0.0]]))
    value.backward()
    torch.testing.assert_close(value, torch.ones_like(value))
    assert logits.grad.isfinite().all()


def test_bins_that_do_not_validate_do_not():
    probs = torch.full((1, 4), 0.25)
    free = RedshiftBins(BINS.edges, validate=False)
    assert FluxLoss(free)(probs, torch.ones(1, 4, 1)) == 1
    with pytest.raises(ValueError, match="logits look like probabilities"):
        FluxLoss(BINS)(probs, torch.ones(1, 4, 1))
