"""Credible intervals: slow loops, calibrated draws, and the laws of a coverage curve."""

import numpy as np
import pytest
import reference
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import kstest
from strategies import graded
from torchmetrics import MetricCollection

from photoz_losses import RedshiftBins
from photoz_losses.metrics import Coverage, coverage, credibility

INTERVALS = ("central", "highest_density")
each_interval = pytest.mark.parametrize("interval", INTERVALS)
GRIDS = {
    "uniform": RedshiftBins.uniform(0.0, 0.4, 20),
    "log1p": RedshiftBins.log1p(0.0, 3.0, 20),
}
levels = hnp.arrays(float, 5, elements=st.floats(0, 1)).map(lambda x: torch.from_numpy(np.sort(x)))


def calibrated(bins, galaxies=3000, seed=0):
    """Densities with ties and zeros among their bins, and a true redshift drawn from each."""
    generator = torch.Generator().manual_seed(seed)
    shape = (galaxies, len(bins))
    density = torch.randint(0, 5, shape, generator=generator).double()  # many bins of equal density
    density[:, 0] += 1
    probs = density * bins.widths
    probs = probs / probs.sum(-1, keepdim=True)
    own = torch.multinomial(probs, 1, generator=generator).squeeze(-1)
    place = torch.rand(galaxies, generator=generator, dtype=torch.float64)
    return probs, bins.edges[own] + place * bins.widths[own]


@given(graded())
def test_central_credibility_is_twice_the_distance_of_the_pit_from_the_median(case):
    bins, probs, z_spec = case
    rows = zip(probs.tolist(), z_spec.tolist(), strict=True)
    expected = [abs(2 * reference.cdf(bins.edges.tolist(), row, z) - 1) for row, z in rows]
    np.testing.assert_allclose(credibility(probs, z_spec, bins), expected, atol=1e-9)


@given(graded())
def test_highest_density_credibility_is_the_mass_above_the_density_at_the_truth(case):
    bins, probs, z_spec = case
    rows = zip(probs.tolist(), z_spec.tolist(), strict=True)
    edges = bins.edges.tolist()
    expected = [reference.highest_density_level(edges, row, z) for row, z in rows]
    values = credibility(probs, z_spec, bins, interval="highest_density")
    np.testing.assert_allclose(values, expected, atol=1e-9)


@given(graded(), levels)
def test_central_coverage_counts_truths_between_two_quantiles(case, level):
    bins, probs, z_spec = case
    for each in level.clamp(0.01, 0.99):
        low, high = bins.quantile(probs, (1 - each) / 2), bins.quantile(probs, (1 + each) / 2)
        within = (z_spec >= low + 1e-9) & (z_spec <= high - 1e-9)
        around = (z_spec >= low - 1e-9) & (z_spec <= high + 1e-9)
        value = coverage(probs, z_spec, bins, level=each.item())
        # a truth in a gap without mass ties with the quantiles at its two ends
        gap = (credibility(probs, z_spec, bins) - each).abs() < 1e-9
        assert (within & ~gap).double().mean() <= value <= (around | gap).double().mean()


@each_interval
@given(graded(), levels)
def test_coverage_is_a_curve_that_rises_to_one(interval, case, level):
    bins, probs, z_spec = case
    ends = torch.tensor([0.0, 1.0]).double()
    curve = coverage(probs, z_spec, bins, level=torch.cat([level, ends[1:]]), interval=interval)
    assert (curve.diff() >= 0).all()
    assert curve[-1] == 1
    exactly = credibility(probs, z_spec, bins, interval=interval) == 0
    assert coverage(probs, z_spec, bins, level=0.0, interval=interval) == exactly.double().mean()
    singles = [coverage(probs, z_spec, bins, level=x.item(), interval=interval) for x in level]
    assert torch.equal(torch.stack(singles), curve[:-1])


@each_interval
@given(graded(), levels)
def test_each_galaxy_is_covered_or_not_and_the_reductions_are_of_that(interval, case, level):
    bins, probs, z_spec = case
    level = level[:4].reshape(2, 2)
    options = {"level": level, "interval": interval}
    each = coverage(probs, z_spec, bins, reduction="none", **options)
    assert each.shape == (len(z_spec), 2, 2)
    reached = credibility(probs, z_spec, bins, interval=interval)
    for i, alpha in enumerate(reached.tolist()):
        assert each[i].flatten().tolist() == [float(alpha <= x) for x in level.flatten().tolist()]
    assert torch.equal(coverage(probs, z_spec, bins, reduction="sum", **options), each.sum(0))
    mean = coverage(probs, z_spec, bins, **options)
    torch.testing.assert_close(mean, each.mean(0), rtol=1e-14, atol=0)


@each_interval
@pytest.mark.parametrize("grid", GRIDS)
def test_credibility_is_uniform_where_the_truth_is_drawn_from_the_density(grid, interval):
    bins = GRIDS[grid]
    probs, z_spec = calibrated(bins)
    value = credibility(probs, z_spec, bins, interval=interval)
    assert kstest(value, "uniform").pvalue > 1e-3
    levels = torch.linspace(0.05, 0.95, 19)
    curve = coverage(probs, z_spec, bins, level=levels, interval=interval)
    assert ((curve - levels).abs() < 4 * (levels * (1 - levels) / len(z_spec)).sqrt()).all()


@each_interval
def test_densities_too_narrow_cover_too_little(interval):
    bins = GRIDS["log1p"]
    probs, z_spec = calibrated(bins)
    narrow = probs**3 / (probs**3).sum(-1, keepdim=True)
    assert coverage(narrow, z_spec, bins, interval=interval) < 0.6


@each_interval
@given(graded(), st.data())
def test_splitting_a_bin_of_constant_density_changes_nothing(interval, case, data):
    bins, probs, z_spec = case
    split = data.draw(st.integers(0, len(bins) - 1))
    finer = RedshiftBins(torch.cat([bins.edges, bins.centers[split : split + 1]]).sort().values)
    share = (finer.widths[split] / bins.widths[split]).reshape(1, 1)
    own = probs[:, split : split + 1]
    fine = torch.cat([probs[:, :split], own * share, own * (1 - share), probs[:, split + 1 :]], -1)
    torch.testing.assert_close(
        credibility(fine, z_spec, finer, interval=interval),
        credibility(probs, z_spec, bins, interval=interval),
        rtol=1e-8,
        atol=1e-8,
    )


def test_equal_densities_are_taken_from_low_redshift_to_high():
    bins = RedshiftBins([0.0, 1.0, 2.0, 4.0])
    probs = torch.tensor([[0.25, 0.25, 0.5]]).expand(3, -1)
    z_spec = torch.tensor([0.5, 1.5, 3.0])
    values = credibility(probs, z_spec, bins, interval="highest_density")
    assert values.tolist() == pytest.approx([0.125, 0.375, 0.75])


def test_densities_that_rounding_set_apart_are_equal():
    bins = RedshiftBins.uniform(0.0, 0.3, 3)  # widths differ in their last bits
    probs = torch.full((1, 3), 1 / 3)
    value = credibility(probs, torch.tensor([0.15]), bins, interval="highest_density")
    assert value.item() == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_so_are_those_of_unequal_bins_in_either_type(dtype):
    """A flat density, whose masses are rounded: the level is the distance from the lower end."""
    edges = torch.from_numpy(np.random.default_rng(0).uniform(0.05, 1.05, 61).cumsum())
    bins = RedshiftBins((edges - edges[0]) / (edges[-1] - edges[0]))
    probs = bins.widths.to(dtype).log().softmax(-1)
    assert probs.div(bins.widths.to(dtype)).unique().numel() > 1  # set apart
    z_spec = torch.linspace(0.0, 1.0, 50, dtype=torch.float64)
    value = credibility(probs.expand(50, -1), z_spec, bins, interval="highest_density")
    torch.testing.assert_close(value, z_spec, rtol=0, atol=1e-6 if dtype == torch.float32 else 1e-9)


@each_interval
def test_a_truth_without_density_is_covered_by_level_one_only(interval):
    bins = RedshiftBins([0.0, 1.0, 2.0, 3.0])
    probs, z_spec = torch.tensor([[0.0, 1.0, 0.0]]), torch.tensor([2.5])
    curve = coverage(probs, z_spec, bins, level=[0.999999, 1.0], interval=interval)
    assert curve.tolist() == [0, 1]


@each_interval
def test_no_galaxies_no_coverage_and_nan_is_not_covered_or_missed(interval):
    bins = RedshiftBins([0.0, 1.0, 2.0], validate=False)
    nothing = coverage(torch.empty(0, 2), torch.empty(0), bins, level=[0.1, 0.9], interval=interval)
    assert nothing.isnan().all()
    probs, z_spec = torch.full((2, 2), 0.5), torch.tensor([0.5, 7.0])
    assert coverage(probs, z_spec, bins, interval=interval).isnan()
    each = coverage(probs, z_spec, bins, level=[0.0, 1.0], interval=interval, reduction="none")
    assert each.isnan().tolist() == [[False, False], [True, True]]
    assert credibility(probs, z_spec, bins, interval=interval).isnan().tolist() == [False, True]


def test_a_collection_of_intervals_and_levels_mixes_nothing_up_after_an_empty_batch():
    bins = GRIDS["uniform"]
    probs, z_spec = calibrated(bins, galaxies=50)
    options = {
        f"{interval} {number}": {"level": level, "interval": interval}
        for number, level in enumerate((0.3, 0.9))
        for interval in INTERVALS
    }
    metrics = MetricCollection({name: Coverage(bins, **o) for name, o in options.items()})
    for rows in (slice(0, 0), slice(0, 20), slice(20, 50)):
        metrics.update(probs=probs[rows], z_spec=z_spec[rows])
    found = metrics.compute()
    for name, o in options.items():
        assert found[name] == coverage(probs, z_spec, bins, **o)


@each_interval
def test_the_class_keeps_a_whole_curve(interval):
    bins = GRIDS["log1p"]
    probs, z_spec = calibrated(bins, galaxies=50)
    metric = Coverage(bins, level=torch.linspace(0, 1, 11), interval=interval)
    for rows in torch.arange(50).split(7):
        metric.update(probs[rows], z_spec[rows])
    expected = coverage(probs, z_spec, bins, level=torch.linspace(0, 1, 11), interval=interval)
    assert torch.equal(metric.compute(), expected)
