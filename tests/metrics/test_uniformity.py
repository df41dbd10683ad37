"""PIT against the uniform distribution: SciPy, integrals in closed form, tables and Monte Carlo."""

import math

import numpy as np
import pytest
import reference
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from photoz_losses import RedshiftBins
from photoz_losses.metrics import PIT, PITStatistics, pit_histogram, pit_statistics
from photoz_losses.metrics.uniformity import _anderson_darling_pvalue

INSIDE = st.floats(1e-12, 1 - 1e-12)
KEYS = ["ks", "ks_pvalue", "cvm", "cvm_pvalue", "ad", "ad_pvalue", "kl", "kl_pvalue"]


def samples(min_size=1, elements=INSIDE):
    return hnp.arrays(float, st.integers(min_size, 40), elements=elements).map(torch.from_numpy)


@given(samples())
def test_statistics_are_the_integrals_that_define_them(values):
    found = pit_statistics(values)
    expected = reference.uniform_distances(values.tolist())
    for name, value in zip(("ks", "cvm", "ad"), expected, strict=True):
        np.testing.assert_allclose(found[name], value, rtol=1e-9, atol=1e-9)


@given(samples(min_size=2))
def test_ks_and_cvm_are_scipys(values):
    found = pit_statistics(values)
    for name, test in (("ks", stats.kstest), ("cvm", stats.cramervonmises)):
        expected = test(values.numpy(), "uniform")
        np.testing.assert_allclose(found[name], expected.statistic, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(found[f"{name}_pvalue"], expected.pvalue, rtol=1e-6, atol=1e-12)


@given(samples(), st.integers(2, 30))
def test_kl_and_its_p_value_are_scipys_likelihood_ratio(values, n_bins):
    found = pit_statistics(values, n_bins=n_bins)
    counts = np.histogram(values, n_bins, (0, 1))[0]
    expected = stats.power_divergence(counts, lambda_="log-likelihood")
    np.testing.assert_allclose(found["kl"], stats.entropy(counts, np.ones(n_bins)), 1e-12, 1e-12)
    np.testing.assert_allclose(found["kl_pvalue"], expected.pvalue, rtol=1e-9, atol=1e-12)


@given(samples(elements=st.floats(0, 1)), st.integers(2, 30))
def test_the_histogram_is_numpys(values, n_bins):
    counts = pit_histogram(values, n_bins=n_bins)
    assert counts.dtype == torch.int64
    assert counts.tolist() == np.histogram(values, n_bins, (0, 1))[0].tolist()


@given(samples())
def test_a_mirror_image_is_as_far_from_uniform(values):
    found, mirrored = pit_statistics(values), pit_statistics(1 - values)
    for name in ("ks", "cvm", "ad"):
        torch.testing.assert_close(found[name], mirrored[name], rtol=1e-4, atol=1e-4)


# p-values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ad", "level"), [(1.933, 0.1), (2.492, 0.05), (3.070, 0.025), (3.857, 0.01), (0.346, 0.9)]
)
def test_anderson_darling_p_values_are_those_of_the_tables(ad, level):
    """Stephens (1974), table 1, and Lewis (1961): parameters known, large samples."""
    assert _anderson_darling_pvalue(ad, 10**6) == pytest.approx(level, abs=3e-4)


@pytest.mark.parametrize("galaxies", [8, 100])
def test_anderson_darling_p_values_are_uniform_for_uniform_values(galaxies):
    draws = np.random.default_rng(2).uniform(size=(3000, galaxies))
    found = [pit_statistics(torch.from_numpy(row))["ad_pvalue"].item() for row in draws]
    assert stats.kstest(found, "uniform").pvalue > 1e-3


def test_anderson_darling_is_scipys_by_simulation():
    values = np.random.default_rng(3).beta(1.1, 0.9, size=60)
    found = pit_statistics(torch.from_numpy(values))
    expected = stats.goodness_of_fit(
        stats.uniform,
        values,
        known_params={"loc": 0, "scale": 1},
        statistic="ad",
        n_mc_samples=4000,
        rng=np.random.default_rng(4),
    )
    np.testing.assert_allclose(found["ad"], expected.statistic, rtol=1e-9)
    assert found["ad_pvalue"].item() == pytest.approx(expected.pvalue, abs=0.03)


@given(st.lists(st.floats(0.01, 40), min_size=2, max_size=2, unique=True), st.integers(8, 10**6))
def test_a_larger_anderson_darling_is_less_probable(pair, n):
    small, large = sorted(pair)
    probable, less = (_anderson_darling_pvalue(x, n) for x in (small, large))
    assert 0 <= less <= probable + 1e-4 <= 1 + 1e-4


@given(INSIDE, st.floats(0, 30))
def test_anderson_darling_of_one_galaxy_has_its_p_value_in_closed_form(u, beyond):
    """ad >= a is u (1 - u) <= exp(-1 - a): as near to either end as u is to its own."""
    found = pit_statistics(torch.tensor([u], dtype=torch.float64))
    np.testing.assert_allclose(found["ad_pvalue"], 2 * min(u, 1 - u), rtol=1e-9, atol=1e-7)
    a = math.log(4) - 1 + beyond
    root = math.sqrt(max(1 - 4 * math.exp(-1 - a), 0.0))
    assert _anderson_darling_pvalue(a, 1) == pytest.approx(1 - root, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize(
    ("galaxies", "worst", "where_small"), [(1, 0, 0), (2, 0.013, 7e-4), (3, 0.0042, 2e-4)]
)
def test_anderson_darling_p_values_of_few_galaxies_are_as_far_off_as_documented(
    galaxies, worst, where_small
):
    draws = 10**6
    u = np.sort(np.random.default_rng(galaxies).random((draws, galaxies)))
    odd = 2 * np.arange(1, galaxies + 1) - 1
    ad = -galaxies - (np.log(u) + np.log1p(-u[:, ::-1])) @ odd / galaxies
    p = np.linspace(0.001, 0.999, 500)
    at = np.quantile(ad, 1 - p)
    off = abs(np.array([_anderson_darling_pvalue(a, galaxies) for a in at]) - p)
    chance = 4 * np.sqrt(p * (1 - p) / draws)
    assert (off <= worst + chance).all()
    assert (off <= where_small + chance)[p < 0.1].all()
    assert (off >= 0.7 * worst - chance).any()  # the documented error is there


def test_p_values_of_a_calibrated_and_of_a_shifted_sample():
    calibrated = torch.rand(2000, generator=torch.Generator().manual_seed(0)).double()
    for name in ("ks", "cvm", "ad", "kl"):
        assert pit_statistics(calibrated)[f"{name}_pvalue"] > 1e-3
        assert pit_statistics(calibrated**1.3)[f"{name}_pvalue"] < 1e-9 + 1e-6 * (name == "ad")


# Ends, NaN, nothing -----------------------------------------------------------------------------


def test_outliers_are_counted():
    values = torch.tensor([0.0, 0.99e-4, 1.01e-4, 0.5, 0.99989, 0.99991, 1.0, 0.3]).double()
    assert pit_statistics(values)["pit_outlier_rate"] == 0.5


@pytest.mark.parametrize("end", [0.0, 1.0])
def test_an_impossible_pit_makes_only_anderson_darling_infinite(end):
    found = pit_statistics(torch.tensor([0.2, 0.4, end, 0.9]))
    assert found["ad"] == math.inf
    assert found["ad_pvalue"] == 0
    assert all(value.isfinite() for name, value in found.items() if name != "ad")


@pytest.mark.parametrize("values", [torch.empty(0), torch.tensor([0.5, torch.nan])])
def test_no_galaxies_or_nan_no_statistic(values):
    found = pit_statistics(values)
    assert list(found) == [*KEYS, "pit_outlier_rate"]
    assert all(value.isnan() for value in found.values())


def test_one_galaxy_has_every_statistic_but_one_p_value():
    found = pit_statistics(torch.tensor([0.5]))
    assert [name for name, value in found.items() if value.isnan()] == ["cvm_pvalue"]
    assert found["ks"] == 0.5
    assert found["cvm"] == pytest.approx(1 / 12)


# The class --------------------------------------------------------------------------------------


def test_the_class_gives_the_statistics_of_the_pit_of_every_galaxy():
    bins = RedshiftBins.log1p(0.0, 3.0, 20)
    generator = torch.Generator().manual_seed(1)
    probs = torch.randn(300, 20, generator=generator).softmax(-1)
    z_spec = 3 * torch.rand(300, generator=generator)
    pit, statistics = PIT(bins), PITStatistics(bins, n_bins=7)
    for rows in torch.arange(300).split(101):
        pit.update(probs[rows], z_spec[rows])
        statistics.update(probs[rows], z_spec[rows])
    assert statistics.compute() == pit_statistics(pit.compute(), n_bins=7)


def test_the_class_does_not_round_a_pit_to_one():
    bins = RedshiftBins([0.0, 1.0, 2.0])
    metric = PITStatistics(bins)
    metric.update(torch.tensor([[1.0, 1e-9]]).expand(3, -1), torch.tensor([0.5, 1.5, 0.7]))
    assert metric.compute()["ad"].isfinite()
