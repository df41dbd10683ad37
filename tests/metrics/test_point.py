"""Point metrics: NumPy, SciPy and the paper's formulas, and the laws a survey relies on."""

import math
from functools import partial

import numpy as np
import pytest
import reference
import torch
from astropy.stats import median_absolute_deviation
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from strategies import fractions

from photoz_losses.metrics import (
    MAD,
    RMS,
    Bias,
    OutlierRate,
    SigmaIQR,
    bias,
    mad,
    outlier_rate,
    rms,
    sigma_iqr,
)
from photoz_losses.metrics._weighted import median, quantiles

TYPES = [torch.float32, torch.float64]
thresholds = st.floats(1e-3, 1, exclude_max=True)
EVERY = {  # every metric in each of its forms
    "mad": mad,
    "centred mad": partial(mad, centered=True),
    "sigma_iqr": sigma_iqr,
    "bias": bias,
    "median bias": partial(bias, statistic="median"),
    "outlier_rate": outlier_rate,
    "far outliers": partial(outlier_rate, threshold=0.3),
    "3 sigma outliers": partial(outlier_rate, threshold="sigma_iqr"),
    "rms": rms,
}
every = pytest.mark.parametrize("metric", EVERY.values(), ids=EVERY)


@st.composite
def estimates(draw, min_size=1):
    """Point estimates and true redshifts of a sample, odd or even in number, float64."""
    size = draw(st.integers(min_size, 12))
    return tuple(torch.from_numpy(3 * values) for values in draw(fractions((2, size))))


@st.composite
def shuffled(draw):
    """A sample, and the same galaxies in another order."""
    z_phot, z_spec = draw(estimates())
    order = draw(st.permutations(range(len(z_phot))))
    return (z_phot, z_spec), (z_phot[order], z_spec[order])


def residual(z_phot, z_spec):
    z_phot, z_spec = z_phot.double().numpy(), z_spec.double().numpy()
    return (z_phot - z_spec) / (1 + z_spec)


@given(estimates())
def test_mad_is_the_paper_s(sample):
    expected = reference.mad(*(values.tolist() for values in sample))
    assert mad(*sample).item() == pytest.approx(expected, rel=1e-13)


@given(estimates(), st.sampled_from(TYPES))
def test_mad_is_numpy_s_for_odd_and_even_samples(sample, dtype):
    sample = [values.to(dtype) for values in sample]
    expected = 1.4826 * np.median(abs(residual(*sample)))
    assert mad(*sample).item() == pytest.approx(expected, rel=1e-13)


@given(estimates())
def test_centred_mad_is_scipy_s_and_astropy_s(sample):
    value = mad(*sample, centered=True).item()
    delta = residual(*sample)
    for theirs in (stats.median_abs_deviation(delta), median_absolute_deviation(delta)):
        assert value == pytest.approx(1.4826 * theirs, rel=1e-12, abs=1e-15)


@given(estimates())
def test_bias_is_numpy_s_mean_or_median(sample):
    delta = residual(*sample)
    assert bias(*sample).item() == pytest.approx(delta.mean(), rel=1e-12, abs=1e-15)
    by_median = bias(*sample, statistic="median").item()
    assert by_median == pytest.approx(np.median(delta), rel=1e-13, abs=1e-15)


@given(estimates(), thresholds)
def test_outlier_rate_is_the_fraction_beyond_the_threshold(sample, threshold):
    expected = np.mean(abs(residual(*sample)) > threshold)
    assert outlier_rate(*sample, threshold=threshold).item() == pytest.approx(expected, abs=1e-15)


def test_closed_forms():
    z_spec = torch.zeros(4, dtype=torch.float64)
    z_phot = torch.tensor([-0.04, 0.01, 0.06, 0.20], dtype=torch.float64)
    assert mad(z_phot, z_spec).item() == pytest.approx(1.4826 * 0.05)  # the mean of .04 and .06
    assert mad(z_phot[:3], z_spec[:3]).item() == pytest.approx(1.4826 * 0.04)
    assert mad(z_phot, z_spec, centered=True).item() == pytest.approx(1.4826 * 0.05)
    assert bias(z_phot, z_spec).item() == pytest.approx(0.0575)
    assert outlier_rate(z_phot, z_spec).item() == 0.5
    assert outlier_rate(z_phot, z_spec, threshold=0.15).item() == 0.25


def test_the_residual_is_relative_to_one_plus_the_true_redshift():
    z_phot, z_spec = torch.tensor([1.5], dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    assert bias(z_phot, z_spec).item() == 0.25
    assert bias(z_spec, z_phot).item() == -0.2


def test_a_galaxy_right_at_the_threshold_is_no_outlier():
    at = torch.tensor([0.25, -0.25], dtype=torch.float64)
    assert outlier_rate(at, torch.zeros(2, dtype=torch.float64), threshold=0.25).item() == 0


# Laws ------------------------------------------------------------------------------------------


@given(estimates(), st.floats(-0.5, 0.5))
def test_bias_shifts_with_a_constant_offset_and_the_centred_mad_does_not(sample, offset):
    z_phot, z_spec = sample
    moved = z_phot + offset * (1 + z_spec)
    for statistic in ("mean", "median"):
        expected = bias(z_phot, z_spec, statistic=statistic) + offset
        assert torch.isclose(bias(moved, z_spec, statistic=statistic), expected, atol=1e-13)
    still = mad(z_phot, z_spec, centered=True)
    assert torch.isclose(mad(moved, z_spec, centered=True), still, rtol=0, atol=1e-13)


@given(estimates(), st.floats(0, 20), st.sampled_from([-1, 1]), st.booleans())
def test_mad_scales_with_the_errors(sample, size, sign, centered):
    z_phot, z_spec = sample
    scaled = z_spec + sign * size * (z_phot - z_spec)
    expected = size * mad(z_phot, z_spec, centered=centered)
    assert torch.isclose(mad(scaled, z_spec, centered=centered), expected, atol=1e-12)


@given(estimates(), thresholds, thresholds)
def test_the_outlier_rate_falls_with_the_threshold(sample, one, other):
    strict, lenient = (outlier_rate(*sample, threshold=t).item() for t in sorted((one, other)))
    assert 0 <= lenient <= strict <= 1


@given(shuffled())
def test_the_order_of_galaxies_does_not_matter(both):
    for metric in EVERY.values():
        one, other = (metric(*sample) for sample in both)
        assert torch.isclose(one, other, rtol=1e-13, atol=1e-15)


@given(estimates())
def test_a_perfect_estimate_scores_zero_everywhere(sample):
    z_spec = sample[1]
    for metric in EVERY.values():
        assert metric(z_spec, z_spec).item() == 0


@given(estimates(min_size=2))
def test_any_shape_is_a_sample(sample):
    shaped = [torch.stack([values, values.flip(0)]) for values in sample]
    for metric in EVERY.values():
        assert torch.equal(metric(*shaped), metric(*(values.flatten() for values in shaped)))


@given(estimates(), st.data())
def test_a_missing_estimate_is_never_a_score(sample, data):
    z_phot, z_spec = sample
    z_phot[data.draw(st.integers(0, len(z_phot) - 1))] = math.nan
    for metric in EVERY.values():
        assert metric(z_phot, z_spec).isnan()
        assert metric(z_phot, z_spec, weights=torch.ones(len(z_phot))).isnan()


@every
def test_no_galaxies_no_score(metric):
    empty = torch.empty(0)
    for weights in (None, empty):
        value = metric(empty, empty, weights=weights)
        assert value.isnan()
        assert value.shape == ()
    assert metric(torch.ones(2), torch.ones(2), weights=torch.zeros(2)).isnan()
    replicas = metric(torch.ones(2), torch.ones(2), weights=torch.tensor([[0, 0], [0, 1]]))
    assert replicas.isnan().tolist() == [True, False]


@every
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_scores_are_float64_scalars_without_a_graph(metric, dtype):
    value = metric(torch.ones(3, dtype=dtype, requires_grad=True), torch.ones(3, dtype=dtype))
    assert value.dtype == torch.float64
    assert value.shape == ()
    assert not value.requires_grad


@given(hnp.arrays(float, st.integers(1, 12), elements=st.floats(-1e3, 1e3)))
def test_median_is_numpy_s(values):
    assert median(torch.from_numpy(values)).item() == np.median(values)


@given(hnp.arrays(float, st.integers(1, 12), elements=st.floats(-1e3, 1e3)), st.floats(0, 1))
def test_quantile_is_numpy_s(values, q):
    for weights in (None, torch.ones(len(values), dtype=torch.float64)):
        (value,) = quantiles(torch.from_numpy(values), [q], weights)
        assert value.item() == pytest.approx(np.quantile(values, q), rel=1e-12, abs=1e-9)


# Spread and root mean square ---------------------------------------------------------------------


@given(estimates(), st.sampled_from(TYPES))
def test_sigma_iqr_is_numpy_s_and_scipy_s(sample, dtype):
    sample = [values.to(dtype) for values in sample]
    delta = residual(*sample)
    high, low = np.percentile(delta, [75, 25])
    assert sigma_iqr(*sample).item() == pytest.approx(0.7413 * (high - low), rel=1e-12, abs=1e-15)
    normal = sigma_iqr(*sample, factor=1 / 1.349).item()
    assert normal == pytest.approx(stats.iqr(delta) / 1.349, rel=1e-12, abs=1e-15)


@given(estimates())
def test_rms_is_numpy_s(sample):
    expected = np.sqrt(np.mean(residual(*sample) ** 2))
    assert rms(*sample).item() == pytest.approx(expected, rel=1e-13)


def test_both_factors_make_the_spread_of_a_gaussian_its_standard_deviation():
    quantiles = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    gaussian = 0.1 * torch.special.ndtri(quantiles)
    for metric in (mad, sigma_iqr, rms):
        assert metric(gaussian, 0 * gaussian).item() == pytest.approx(0.1, rel=1e-4)


@given(estimates())
def test_outliers_beyond_three_sigma_are_those_of_the_loop(sample):
    expected = reference.point_metrics(
        *(values.tolist() for values in sample), centred=False, bias="mean", threshold="3 sigma"
    )
    value = outlier_rate(*sample, threshold="sigma_iqr").item()
    assert value == pytest.approx(expected["outlier_rate"], abs=1e-15)


def test_three_sigma_do_not_fall_below_the_floor():
    z_phot = torch.tensor([0.0] * 9 + [0.059, 0.061], dtype=torch.float64)
    value = outlier_rate(z_phot, 0 * z_phot, threshold="sigma_iqr")
    assert value.item() == pytest.approx(1 / 11)


@given(estimates(), st.floats(-0.5, 0.5), st.floats(0, 20))
def test_sigma_iqr_forgets_a_shift_and_scales_and_rms_scales(sample, offset, size):
    z_phot, z_spec = sample
    moved = z_phot + offset * (1 + z_spec)
    assert torch.isclose(sigma_iqr(moved, z_spec), sigma_iqr(*sample), rtol=0, atol=1e-13)
    scaled = z_spec + size * (z_phot - z_spec)
    for metric in (sigma_iqr, rms):
        assert torch.isclose(metric(scaled, z_spec), size * metric(*sample), atol=1e-12)


@given(estimates())
def test_the_mean_square_is_that_of_bias_and_spread(sample):
    delta = residual(*sample)
    expected = bias(*sample).item() ** 2 + delta.var()
    assert rms(*sample).item() ** 2 == pytest.approx(expected, rel=1e-9, abs=1e-15)


# Weights -----------------------------------------------------------------------------------------


@st.composite
def weighted(draw, elements):
    """Galaxies with weights, not all of them zero."""
    z_phot, z_spec = draw(estimates())
    weights = draw(hnp.arrays(float, len(z_spec), elements=elements))
    weights[draw(st.integers(0, len(weights) - 1))] += 1
    return z_phot, z_spec, torch.from_numpy(weights)


@every
@given(weighted(st.integers(0, 4).map(float)))
def test_an_integer_weight_is_that_many_repetitions(metric, case):
    z_phot, z_spec, weights = case
    expected = metric(*(v.repeat_interleave(weights.long()) for v in (z_phot, z_spec)))
    for kind in (torch.float64, torch.float32, torch.int64):
        value = metric(z_phot, z_spec, weights=weights.to(kind))
        torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-13)


@given(weighted(st.integers(0, 4).map(float)))
def test_the_weighted_median_of_repetitions_is_exact(case):
    values, _, weights = case
    expected = reference.middle(reference.repeated(values.tolist(), weights.long().tolist()))
    assert median(values, weights).item() == expected


@every
@given(estimates())
def test_weights_of_one_are_none(metric, sample):
    value = metric(*sample, weights=torch.ones_like(sample[1]))
    torch.testing.assert_close(value, metric(*sample), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", sorted(EVERY.keys() - {"sigma_iqr", "3 sigma outliers"}))
@given(weighted(st.floats(0.01, 5)), st.floats(1e-3, 1e3))
def test_the_normalisation_of_weights_does_not_matter(name, case, scale):
    z_phot, z_spec, weights = case
    one, other = (EVERY[name](z_phot, z_spec, weights=w) for w in (weights, scale * weights))
    torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("weight", [0.1, 1 / 3, 1e-9, 7.0])
@pytest.mark.parametrize("size", [10, 1000])
def test_equal_weights_that_round_still_find_both_middle_values(weight, size):
    values = torch.arange(size, dtype=torch.float64)
    assert median(values, torch.full((size,), weight, dtype=torch.float64)) == (size - 1) / 2


@every
@given(st.data())
def test_replicas_are_weights_one_after_the_other(metric, data):
    z_phot, z_spec = data.draw(estimates())
    shape = (2, 3, len(z_spec))
    weights = torch.from_numpy(data.draw(hnp.arrays(float, shape, elements=st.integers(0, 3))))
    together = metric(z_phot, z_spec, weights=weights)
    assert together.shape == (2, 3)
    for row, value in zip(weights.flatten(0, 1), together.flatten(), strict=True):
        single = metric(z_phot, z_spec, weights=row)
        torch.testing.assert_close(value, single, equal_nan=True, rtol=1e-12, atol=1e-14)


def test_a_galaxy_of_no_weight_may_lack_an_estimate():
    z_phot, z_spec = torch.tensor([0.1, torch.nan, 0.3]), torch.tensor([0.1, 0.2, 0.25])
    weights = torch.tensor([1.0, 0.0, 2.0])
    for metric in EVERY.values():
        expected = metric(z_phot[[0, 2, 2]], z_spec[[0, 2, 2]])
        torch.testing.assert_close(metric(z_phot, z_spec, weights=weights), expected)


# Histograms --------------------------------------------------------------------------------------


@st.composite
def catalogue(draw):
    """Galaxies with residuals in [-1, 1], and integer weights."""
    z_phot, z_spec = draw(estimates())
    weights = draw(hnp.arrays(float, len(z_spec), elements=st.integers(1, 3).map(float)))
    most = (1 + 2 * z_spec) * (1 - 1e-12)  # not one rounding beyond
    return z_phot.clamp(max=most), z_spec, torch.from_numpy(weights)


@pytest.mark.parametrize(
    ("make", "metric", "bins_off"),
    [
        (MAD, mad, 1.4826 / 2),
        (partial(MAD, centered=True), partial(mad, centered=True), 1.4826),
        (SigmaIQR, sigma_iqr, 0.7413),
        (partial(Bias, statistic="median"), partial(bias, statistic="median"), 1 / 2),
        (Bias, bias, 0),
        (RMS, rms, 0),
        (OutlierRate, outlier_rate, 0),
        (partial(OutlierRate, threshold=0.3), partial(outlier_rate, threshold=0.3), 0),
    ],
)
@given(catalogue(), st.integers(2, 400), st.booleans())
def test_a_histogram_is_off_by_no_more_than_it_says(make, metric, bins_off, case, n_bins, weigh):
    z_phot, z_spec, weights = case
    streaming = make(approximate=n_bins)
    streaming.update(z_phot, z_spec, *([weights] if weigh else []))
    expected = metric(z_phot, z_spec, weights=weights if weigh else None)
    assert (streaming.compute() - expected).abs() <= bins_off * 2 / n_bins + 1e-12


def test_a_histogram_too_narrow_gives_no_finite_score():
    z_phot, z_spec = torch.tensor([5.0, 6.0, 7.0]), torch.zeros(3)
    for make in (MAD, partial(Bias, statistic="median"), SigmaIQR):
        assert not make_and_update(make, z_phot, z_spec).isfinite()
    assert make_and_update(partial(OutlierRate, "sigma_iqr"), z_phot, z_spec).isnan()
    assert make_and_update(Bias, z_phot, z_spec) == 6
    assert make_and_update(OutlierRate, z_phot, z_spec) == 1


def make_and_update(make, z_phot, z_spec):
    metric = make(approximate=10)
    metric.update(z_phot, z_spec)
    return metric.compute()


@pytest.mark.slow
def test_the_median_of_more_values_than_torch_quantile_takes():
    size = 2**24 + 2
    values = torch.arange(size, dtype=torch.float64).roll(size // 3)
    assert median(values).item() == (size - 1) / 2


def test_weights_of_sum_one_are_no_perfect_score():
    rng = np.random.default_rng(0)
    z_spec = torch.from_numpy(rng.uniform(0.05, 0.4, 501))
    z_phot = z_spec + 0.05 * torch.from_numpy(rng.normal(size=501))
    share = torch.full_like(z_spec, 1 / 501)
    same = sigma_iqr(z_phot, z_spec)
    torch.testing.assert_close(sigma_iqr(z_phot, z_spec, weights=share), same)
    rail = outlier_rate(z_phot, z_spec, threshold="sigma_iqr")
    got = outlier_rate(z_phot, z_spec, threshold="sigma_iqr", weights=share)
    torch.testing.assert_close(got, rail)
