"""Point metrics: NumPy, SciPy and the paper's formulas, and the laws a survey relies on."""

import math

import numpy as np
import pytest
import reference
import torch
from astropy.stats import median_absolute_deviation
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from photoz_losses.metrics import bias, mad, outlier_rate
from photoz_losses.metrics.point import median

TYPES = [torch.float32, torch.float64]


@st.composite
def estimates(draw, min_size=1):
    """Point estimates and true redshifts of a sample, odd or even in number, float64."""
    size = draw(st.integers(min_size, 12))
    pair = hnp.arrays(float, (2, size), elements=st.floats(0, 3))
    return tuple(torch.from_numpy(values.copy()) for values in draw(pair))


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


@given(estimates(), st.floats(1e-3, 2))
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


@given(estimates(), st.floats(1e-3, 2), st.floats(1e-3, 2))
def test_the_outlier_rate_falls_with_the_threshold(sample, one, other):
    strict, lenient = (outlier_rate(*sample, threshold=t).item() for t in sorted((one, other)))
    assert 0 <= lenient <= strict <= 1


@given(shuffled())
def test_the_order_of_galaxies_does_not_matter(both):
    for metric in (mad, bias, outlier_rate):
        one, other = (metric(*sample) for sample in both)
        assert torch.isclose(one, other, rtol=1e-13, atol=1e-15)


@given(estimates())
def test_a_perfect_estimate_scores_zero_everywhere(sample):
    z_spec = sample[1]
    for metric in (mad, bias, outlier_rate):
        assert metric(z_spec, z_spec).item() == 0


@given(estimates(min_size=2))
def test_any_shape_is_a_sample(sample):
    shaped = [torch.stack([values, values.flip(0)]) for values in sample]
    for metric in (mad, bias, outlier_rate):
        assert torch.equal(metric(*shaped), metric(*(values.flatten() for values in shaped)))


@given(estimates(), st.data())
def test_a_missing_estimate_is_never_a_score(sample, data):
    z_phot, z_spec = sample
    z_phot[data.draw(st.integers(0, len(z_phot) - 1))] = math.nan
    for value in (
        mad(z_phot, z_spec),
        mad(z_phot, z_spec, centered=True),
        bias(z_phot, z_spec),
        bias(z_phot, z_spec, statistic="median"),
        outlier_rate(z_phot, z_spec),
    ):
        assert value.isnan()


@pytest.mark.parametrize("metric", [mad, bias, outlier_rate])
def test_no_galaxies_no_score(metric):
    assert metric(torch.empty(0), torch.empty(0)).isnan()


@pytest.mark.parametrize("metric", [mad, bias, outlier_rate])
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_scores_are_float64_scalars_without_a_graph(metric, dtype):
    value = metric(torch.ones(3, dtype=dtype, requires_grad=True), torch.ones(3, dtype=dtype))
    assert value.dtype == torch.float64
    assert value.shape == ()
    assert not value.requires_grad


@given(hnp.arrays(float, st.integers(1, 12), elements=st.floats(-1e3, 1e3)))
def test_median_is_numpy_s(values):
    assert median(torch.from_numpy(values)).item() == np.median(values)


@pytest.mark.slow
def test_the_median_of_more_values_than_torch_quantile_takes():
    size = 2**24 + 2
    values = torch.arange(size, dtype=torch.float64).roll(size // 3)
    assert median(values).item() == (size - 1) / 2
