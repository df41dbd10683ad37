"""PIT against the uniform distribution: SciPy, integrals in closed form, tables and Monte Carlo."""

import copy
import math
import pickle

import numpy as np
import pytest
import reference
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from torchmetrics import MetricCollection

from photoz_losses import RedshiftBins
from photoz_losses.metrics import PIT, PITStatistics, pit_histogram, pit_statistics
from photoz_losses.metrics._pvalues import (
    LARGEST,
    anderson_darling_pvalue,
    cramer_von_mises_pvalue,
    kolmogorov_smirnov_pvalue,
)

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
    assert anderson_darling_pvalue(ad, 10**6) == pytest.approx(level, abs=3e-4)


@pytest.mark.slow
@pytest.mark.parametrize("galaxies", [8, 100])
def test_anderson_darling_p_values_are_uniform_for_uniform_values(galaxies):
    draws = np.random.default_rng(2).uniform(size=(400, galaxies))
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
        random_state=np.random.default_rng(4),
    )
    np.testing.assert_allclose(found["ad"], expected.statistic, rtol=1e-9)
    assert found["ad_pvalue"].item() == pytest.approx(expected.pvalue, abs=0.03)


@given(st.lists(st.floats(0.01, 40), min_size=2, max_size=2, unique=True), st.integers(8, 10**6))
def test_a_larger_anderson_darling_is_less_probable(pair, n):
    small, large = sorted(pair)
    probable, less = (anderson_darling_pvalue(x, n) for x in (small, large))
    assert 0 <= less <= probable + 1e-4 <= 1 + 1e-4


@pytest.mark.parametrize("n", [1, 2, 10, 10**6])
def test_an_anderson_darling_of_zero_is_certain_and_an_infinite_one_impossible(n):
    assert [anderson_darling_pvalue(ad, n) for ad in (0.0, math.inf)] == [1.0, 0.0]


@given(INSIDE, st.floats(0, 30))
def test_anderson_darling_of_one_galaxy_has_its_p_value_in_closed_form(u, beyond):
    """ad >= a is u (1 - u) <= exp(-1 - a): as near to either end as u is to its own."""
    found = pit_statistics(torch.tensor([u], dtype=torch.float64))
    np.testing.assert_allclose(found["ad_pvalue"], 2 * min(u, 1 - u), rtol=1e-9, atol=1e-7)
    a = math.log(4) - 1 + beyond
    root = math.sqrt(max(1 - 4 * math.exp(-1 - a), 0.0))
    assert anderson_darling_pvalue(a, 1) == pytest.approx(1 - root, rel=1e-6, abs=1e-8)


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
    off = abs(np.array([anderson_darling_pvalue(a, galaxies) for a in at]) - p)
    chance = 4 * np.sqrt(p * (1 - p) / draws)
    assert (off <= worst + chance).all()
    assert (off <= where_small + chance)[p < 0.1].all()
    assert (off >= 0.7 * worst - chance).any()  # the documented error is there


@pytest.mark.parametrize("sigmas", [0.3, 0.5, 0.8, 1.0, 1.3, 3.0, 30.0])
def test_a_kolmogorov_smirnov_p_value_of_many_is_the_exact_one(sigmas):
    n = 2 * LARGEST
    ks = sigmas / math.sqrt(n)
    assert kolmogorov_smirnov_pvalue(ks, n) == pytest.approx(stats.kstwo.sf(ks, n), abs=1e-6)


@pytest.mark.parametrize(("cvm", "level"), [(0.34730, 0.1), (0.46136, 0.05), (0.74346, 0.01)])
def test_cramer_von_mises_p_values_are_those_of_the_tables(cvm, level):
    """Anderson & Darling (1952), table 1: large samples."""
    assert cramer_von_mises_pvalue(cvm, 10**9) == pytest.approx(level, abs=1e-5)


@given(samples(min_size=2))
def test_a_cramer_von_mises_p_value_needs_the_statistic_only(values):
    expected = stats.cramervonmises(values.numpy(), "uniform")
    found = cramer_von_mises_pvalue(expected.statistic, len(values))
    assert found == pytest.approx(expected.pvalue, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("power", [1.0, 1.002, 1.005])
def test_a_cramer_von_mises_p_value_of_more_than_it_stands_in_for(power):
    values = np.random.default_rng(5).uniform(size=3 * LARGEST) ** power
    expected = stats.cramervonmises(values, "uniform")
    found = cramer_von_mises_pvalue(expected.statistic, len(values))
    assert found == pytest.approx(expected.pvalue, abs=1e-5)


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


# Histograms -------------------------------------------------------------------------------------

BINS = RedshiftBins([0.0, 0.5, 1.0, 2.0])
ENDS = [1e-4, 1 - 1e-4]
AROUND = [math.nextafter(end, to) for end in (0.05, 0.5, *ENDS) for to in (0, 1)]
TIED = st.sampled_from([0.0, 1.0, *ENDS, *AROUND, *torch.linspace(0, 1, 21).double().tolist()])
ANY = st.one_of(st.floats(0, 1), TIED)


def counted(values, approximate, n_bins=20):
    metric = PITStatistics(BINS, n_bins=n_bins, approximate=approximate)
    metric.update(torch.empty(0, 3), torch.empty(0))
    metric._keep(pit=values)
    return metric.compute()


@given(samples(elements=ANY), st.integers(2, 60), st.integers(2, 30))
def test_a_histogram_keeps_the_bounds_that_it_states(values, approximate, n_bins):
    found = counted(values, approximate, n_bins)
    exact = pit_statistics(values, n_bins=n_bins)
    N, h = len(values), 1 / approximate
    assert found["ks"] - 1e-12 <= exact["ks"] <= found["ks"] + h + 1e-12
    assert abs(exact["cvm"] - found["cvm"]) <= N * h * (found["ks"] + h / 2) + 1e-9
    assert found["ks_pvalue"] >= exact["ks_pvalue"] - 1e-9
    for name in ("kl", "kl_pvalue", "pit_outlier_rate"):
        torch.testing.assert_close(found[name], exact[name], rtol=1e-14, atol=1e-15)
    assert list(found) == list(exact)
    assert found["ad"].isnan()
    assert found["ad_pvalue"].isnan()


@given(samples(), st.integers(2, 60), st.integers(2, 30))
def test_statistics_of_a_histogram_are_those_of_the_line_through_its_edges(
    values, approximate, n_bins
):
    even = [np.linspace(0, 1, n + 1) for n in (approximate, n_bins)]
    edges = np.unique(np.concatenate([*even, ENDS]).round(13))
    assume(np.abs(edges[1:-1, None] - values.numpy()).min() > 1e-12)
    found = counted(values, approximate, n_bins)
    ks, cvm = reference.counted_distances(values.tolist(), edges.tolist())
    np.testing.assert_allclose([found["ks"], found["cvm"]], [ks, cvm], rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(found["ks_pvalue"], stats.kstwo.sf(ks, len(values)), 1e-6, 1e-9)
    if len(values) > 1:
        expected = cramer_von_mises_pvalue(cvm, len(values))
        np.testing.assert_allclose(found["cvm_pvalue"], expected, 1e-6, 1e-9)


def test_the_bounds_are_no_wider_than_they_must_be():
    values = torch.full((50,), 0.25 + 1e-9, dtype=torch.float64)
    found, exact = counted(values, 4, n_bins=2), pit_statistics(values)
    assert exact["ks"] - found["ks"] == pytest.approx(0.25, abs=1e-8)
    bound = 50 * 0.25 * (found["ks"] + 0.125)
    assert 0.2 * bound < exact["cvm"] - found["cvm"] < bound


@pytest.mark.parametrize("approximate", [50, 1000])
def test_a_histogram_of_many_calibrated_values_is_calibrated_and_of_others_not(approximate):
    values = torch.rand(10**6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found, exact = counted(values, approximate), pit_statistics(values)
    for name in ("ks_pvalue", "cvm_pvalue"):
        assert found[name].item() == pytest.approx(exact[name].item(), abs=0.1)
    assert found["cvm"].item() == pytest.approx(exact["cvm"].item(), rel=0.1)
    wrong = counted(values**1.01, approximate)
    assert max(wrong["ks_pvalue"], wrong["cvm_pvalue"]) < 1e-6


@pytest.mark.parametrize("galaxies", [10**9, 10**12])
@pytest.mark.parametrize("sigmas", [1, 2])
def test_p_values_of_more_galaxies_than_memory_holds(galaxies, sigmas):
    metric = PITStatistics(BINS, n_bins=4, approximate=4)
    metric.update(torch.empty(0, 3), torch.empty(0))
    metric._keep(pit=torch.tensor([5e-5, 0.1, 0.3, 0.6, 0.9, 0.99995]))
    counts = metric._state("pit", "counts")
    share = [0, 1e-4, 0.2499, 0.25, 0.25, 0.2499, 1e-4, 0, 0]
    counts *= galaxies * torch.tensor(share, dtype=torch.float64)
    counts[3] += sigmas * galaxies**0.5
    counts[4] -= sigmas * galaxies**0.5
    found = metric.compute()
    assert found["ks"].item() == pytest.approx(sigmas * galaxies**-0.5, rel=1e-6)
    assert found["cvm"].item() == pytest.approx(sigmas**2 / 6, rel=1e-6)
    assert found["ks_pvalue"].item() == pytest.approx(stats.kstwobign.sf(sigmas), abs=1e-4)
    assert 0.01 < found["cvm_pvalue"] < 0.35
    assert found["pit_outlier_rate"].item() == pytest.approx(2e-4, rel=1e-9)


@pytest.mark.parametrize("values", [torch.empty(0), torch.tensor([0.5, torch.nan])])
def test_a_histogram_of_no_galaxies_or_nan_has_no_statistic(values):
    found = counted(values, 10)
    assert list(found) == [*KEYS, "pit_outlier_rate"]
    assert all(value.isnan() for value in found.values())


def test_a_histogram_of_one_galaxy():
    found = counted(torch.tensor([0.5]), 10)
    assert [name for name, value in found.items() if value.isnan()] == [
        *("cvm_pvalue", "ad", "ad_pvalue")
    ]


def test_a_histogram_of_batches_is_that_of_all_and_does_not_grow(tmp_path):
    bins = RedshiftBins.log1p(0.0, 3.0, 20)
    generator = torch.Generator().manual_seed(1)
    probs = torch.randn(300, 20, generator=generator).softmax(-1)
    z_spec = 3 * torch.rand(300, generator=generator)
    whole, parts = (PITStatistics(bins, approximate=100) for _ in range(2))
    whole.update(probs, z_spec)
    parts.update(probs[:50], z_spec[:50])
    parts.reset()
    for rows in torch.arange(300).split(101):
        parts.update(probs[rows], z_spec[rows])
    parts.persistent(True)
    torch.save(parts.state_dict(), tmp_path / "statistics.pt")
    loaded = PITStatistics(bins, approximate=100)
    loaded.load_state_dict(torch.load(tmp_path / "statistics.pt", weights_only=True))
    expected = whole.compute()
    for metric in (parts, copy.deepcopy(parts), pickle.loads(pickle.dumps(parts)), loaded):
        torch.testing.assert_close(metric.compute(), expected, rtol=0, atol=0, equal_nan=True)
    assert sum(state.numel() for state in parts.metric_state.values()) < 120
    exact = pit_statistics(PIT(bins)(probs, z_spec))
    assert expected["kl"] == exact["kl"]
    assert 0 <= exact["ks"] - expected["ks"] <= 0.01


def test_histograms_of_other_options_are_never_taken_for_one():
    options = [
        {},
        *({"approximate": n} for n in (100, 200)),
        {"approximate": 100, "n_bins": 7},
        {"approximate": 100, "randomized": True, "generator": torch.Generator().manual_seed(2)},
    ]
    metrics = {str(i): PITStatistics(BINS, **option) for i, option in enumerate(options)}
    metrics["bins"] = PITStatistics(RedshiftBins([0.0, 0.4, 1.0, 2.0]), approximate=100)
    collection = MetricCollection(metrics)
    collection.update(torch.empty(0, 3), torch.empty(0))  # all states are equal now
    assert len(collection.compute_groups) == len(metrics)
    twins = MetricCollection([PITStatistics(BINS, approximate=9), PIT(BINS)])
    twins.update(torch.empty(0, 3), torch.empty(0))
    assert len(twins.compute_groups) == 2
