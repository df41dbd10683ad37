"""Metrics per bin: the metric of each bin's galaxies, all of them counted once."""

import copy
import itertools
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from strategies import fractions
from torchmetrics import MeanSquaredError, MetricCollection
from torchmetrics.classification import MulticlassConfusionMatrix

from photoz_losses import RedshiftBins
from photoz_losses.metrics import (
    CRPS,
    MAD,
    PIT,
    Bias,
    Binned,
    OutlierRate,
    PITStatistics,
    bias,
    binned,
    coverage,
    crps,
    mad,
    outlier_rate,
    pit_statistics,
    standard_error,
)

EDGES = [15.0, 16.0, 17.5, 18.0]
BINS = RedshiftBins.uniform(0.0, 1.0, 5)


@st.composite
def catalogue(draw, max_size=12):
    """Estimates, redshifts and magnitudes; some at an edge, outside or missing."""
    size = draw(st.integers(0, max_size))
    z_phot, z_spec = draw(fractions((2, size)))
    element = st.one_of(st.floats(14, 19), st.sampled_from([*EDGES, np.nan, np.inf, -np.inf]))
    magnitude = draw(hnp.arrays(float, size, elements=element))
    return tuple(torch.from_numpy(column.copy()) for column in (z_phot, z_spec, magnitude))


def place(magnitude):
    """Bin by hand, or None."""
    if magnitude == EDGES[0]:
        return 0
    for k, (low, high) in enumerate(itertools.pairwise(EDGES)):
        if low < magnitude <= high:
            return k
    return None


def by_hand(metric, columns, magnitude, *others, **options):
    values, counts = [], []
    where = [place(m) for m in magnitude.tolist()]
    for k in range(3):
        rows = torch.tensor([i for i, at in enumerate(where) if at == k], dtype=torch.int64)
        values.append(metric(*(column[rows] for column in columns), *others, **options))
        counts.append(len(rows))
    return torch.stack(values), counts, where.count(None)


def probabilities(z):
    return torch.stack([1 + z, 2 - z, z**2, 1 + 0 * z, z], -1) / (4 + z + z**2).unsqueeze(-1)


@pytest.mark.parametrize("metric", [mad, bias, outlier_rate])
@given(catalogue())
def test_each_bin_has_the_metric_of_its_galaxies(metric, case):
    *columns, magnitude = case
    result = binned(metric, *columns, by=magnitude, edges=EDGES)
    value, count, outside = by_hand(metric, columns, magnitude)
    torch.testing.assert_close(result.value, value, equal_nan=True, rtol=0, atol=0)
    assert result.count.tolist() == count
    assert result.outside == outside
    assert result.count.sum() + result.outside == len(magnitude)
    assert result.value[result.count == 0].isnan().all()
    assert result.error is None


@given(catalogue())
def test_scores_of_densities_too(case):
    z, z_spec, magnitude = case
    result = binned(crps, probabilities(z), z_spec, BINS, by=magnitude, edges=EDGES)
    value, *_ = by_hand(crps, (probabilities(z), z_spec), magnitude, BINS)
    torch.testing.assert_close(result.value, value, equal_nan=True, rtol=0, atol=0)


def test_a_mapping_becomes_a_mapping():
    values = torch.tensor([0.1, 0.4, 0.9, 0.2])
    magnitude = torch.tensor([15.5, 15.6, 17.0, 17.9])
    result = binned(pit_statistics, values, by=magnitude, edges=EDGES)
    assert result.value["ks"].shape == (3,)
    assert result.value["ks"][0] == pit_statistics(values[:2])["ks"]


def test_float32_columns_lie_within_edges_that_float32_rounds():
    column = torch.tensor([0.1, 0.4])
    result = binned(bias, column, column, by=column, edges=[0.1, 0.2, 0.4])
    assert result.count.tolist() == [1, 1]


def test_weights_stay_with_their_galaxies():
    z_phot, z_spec = torch.tensor([0.2, 0.4, 0.3]), torch.tensor([0.1, 0.1, 0.1])
    magnitude, weights = torch.tensor([15.5, 15.5, 17.0]), torch.tensor([3.0, 1.0, 2.0])
    result = binned(bias, z_phot, z_spec, by=magnitude, edges=EDGES, weights=weights)
    assert result.value[0] == bias(z_phot[:2], z_spec[:2], weights=weights[:2])


def test_standard_errors_are_those_of_each_bin():
    generator = torch.Generator().manual_seed(0)
    z_phot, z_spec = torch.rand(2, 90, generator=generator, dtype=torch.float64)
    magnitude = 15 + 3 * torch.rand(90, generator=generator, dtype=torch.float64)
    closed = binned(bias, z_phot, z_spec, by=magnitude, edges=EDGES, n_boot=None)
    value, *_ = by_hand(
        lambda *pair: standard_error(bias, *pair, n_boot=None)[1], (z_phot, z_spec), magnitude
    )
    torch.testing.assert_close(closed.error, value)
    drawn = binned(
        bias, z_phot, z_spec, by=magnitude, edges=EDGES, n_boot=2000, generator=generator
    )
    torch.testing.assert_close(drawn.error, closed.error, rtol=0.1, atol=0)
    assert torch.equal(drawn.value, closed.value)


@pytest.mark.parametrize("n_boot", [50, None])
def test_a_bin_that_cannot_tell_its_error_has_none(n_boot):
    z_spec = torch.full((7,), 0.1)
    z_phot = z_spec + torch.tensor([0.3, 0.3, 0.0, 0.0, 0.0, 0.3, 0.3])
    magnitude = torch.tensor([15.5, 16.5, 16.6, 16.7, 17.6, 17.7, 17.8])
    options = {"by": magnitude, "edges": [*EDGES, 19.0], "n_boot": n_boot}
    for metric, silent in (
        (bias, [True, False, False, True]),  # one galaxy, none
        (outlier_rate, [True, False, False, True]),
    ):
        error = binned(metric, z_phot, z_spec, **options).error
        assert error.isnan().tolist() == silent
    none = binned(outlier_rate, z_spec, z_spec, **options)
    assert none.value[:3].tolist() == [0, 0, 0]
    assert none.error.isnan().all()
    perfect = binned(bias, z_spec, z_spec, **options)
    assert perfect.error[1:3].tolist() == [0, 0]
    curve = binned(coverage, probabilities(z_phot), z_spec, BINS, level=[0.0, 0.7, 1.0], **options)
    assert curve.error.shape == (4, 3)
    assert curve.error[:, [0, 2]].isnan().all()  # level 1 covers all, level 0 none


@pytest.mark.parametrize(
    ("by", "edges", "error", "says"),
    [
        (torch.ones(2), EDGES, ValueError, r"by must have the shape \(3,\)"),
        (torch.ones(3, dtype=torch.int64), EDGES, TypeError, "by must be a floating-point"),
        (torch.ones(3), [1.0, 1.0], ValueError, "edges must increase"),
        (torch.ones(3), [1.0], ValueError, "edges must be a vector of at least 2"),
    ],
)
def test_bad_bins_are_refused(by, edges, error, says):
    with pytest.raises(error, match=says):
        binned(bias, torch.ones(3), torch.ones(3), by=by, edges=edges)
    if len(edges) > 2:
        with pytest.raises(error, match=says):
            Binned(Bias(), edges).update(torch.ones(3), torch.ones(3), by=by)
    else:
        with pytest.raises(error, match=says):
            Binned(Bias(), edges)


# The class ---------------------------------------------------------------------------------------


def same(result, expected):
    torch.testing.assert_close(
        result["value"], expected.value, equal_nan=True, rtol=1e-12, atol=1e-13
    )
    assert torch.equal(result["count"], expected.count)
    assert result["outside"] == expected.outside


@settings(max_examples=25)
@given(st.lists(catalogue(max_size=5), min_size=1, max_size=4))
def test_the_class_is_the_function_on_everything(parts):
    metric, forward = Binned(MAD(), EDGES), Binned(MAD(), EDGES)
    halves = [Binned(MAD(), EDGES), Binned(MAD(), EDGES)]
    for i, (z_phot, z_spec, magnitude) in enumerate(parts):
        metric.update(z_phot, z_spec, by=magnitude)
        halves[i % 2].update(z_phot=z_phot, z_spec=z_spec, by=magnitude)
        of_batch = forward(z_phot, z_spec, by=magnitude)
        same(of_batch, binned(mad, z_phot, z_spec, by=magnitude, edges=EDGES))
    columns = [torch.cat(column) for column in zip(*parts, strict=True)]
    expected = binned(mad, *columns[:2], by=columns[2], edges=EDGES)
    halves[0].merge_state(halves[1])
    for each in (metric, forward, halves[0], copy.deepcopy(metric), metric.to(torch.float16)):
        same(each.compute(), expected)
    same(pickle.loads(pickle.dumps(forward)).compute(), expected)


def test_reset_save_and_load():
    column = torch.tensor([15.5, 16.5, 20.0])
    metric = Binned(Bias(), EDGES)
    metric.update(column, column / 2, by=column)
    assert not metric.state_dict()
    expected = binned(bias, column, column / 2, by=column, edges=EDGES)
    metric.persistent(True)
    restored = Binned(Bias(), EDGES)
    restored.update(column, column, by=column)
    restored.compute()
    restored.load_state_dict(metric.state_dict())
    fresh = Binned(Bias(), EDGES)
    fresh.load_state_dict(metric.state_dict())
    for each in (restored, fresh):
        same(each.compute(), expected)
    metric.reset()
    metric.update(column[:0], column[:0], by=column[:0])
    assert metric.compute()["value"].isnan().all()
    assert metric.compute()["count"].sum() == 0


@pytest.mark.parametrize("call", ["update", "forward"])
def test_a_bad_batch_is_taken_in_by_no_bin(call):
    metric = Binned(Bias(), EDGES)
    column = torch.tensor([15.5, 16.5, 17.8])
    metric.update(column, column / 2, by=column)
    bad = torch.tensor([0.1, 0.1, torch.nan])  # only the last bin refuses
    with pytest.raises(ValueError, match="z_spec"):
        getattr(metric, call)(column, bad, by=column)
    same(metric.compute(), binned(bias, column, column / 2, by=column, edges=EDGES))


def test_a_collection_hands_over_keywords_and_never_takes_one_for_another():
    z, z_spec = torch.tensor([0.1, 0.5]), torch.tensor([0.15, 0.9])
    magnitude = torch.tensor([15.5, 17.0])
    metrics = MetricCollection(
        {
            "bias": Binned(Bias(), EDGES),
            "median": Binned(Bias(statistic="median"), EDGES[1:]),
            "outliers": Binned(OutlierRate(), EDGES),
            "crps": Binned(CRPS(BINS), EDGES),
        }
    )
    for rows in (slice(0), slice(None)):
        metrics.update(
            z_phot=z[rows], z_spec=z_spec[rows], probs=probabilities(z[rows]), by=magnitude[rows]
        )
    result = metrics.compute()
    same_as = binned(crps, probabilities(z), z_spec, BINS, by=magnitude, edges=EDGES)
    torch.testing.assert_close(
        result["crps_value"], same_as.value.double(), equal_nan=True, rtol=1e-6, atol=0
    )
    assert result["bias_count"].tolist() == [1, 1, 0]
    assert result["median_count"].tolist() == [1, 0]
    assert result["outliers_value"][0] == 0


@pytest.mark.parametrize("approximate", [None, 10])
def test_a_metric_that_returns_a_mapping(approximate):
    metric = Binned(PITStatistics(BINS, approximate=approximate), EDGES)
    z = torch.tensor([0.1, 0.5, 0.7])
    metric.update(probabilities(z), z, by=torch.tensor([15.5, 15.7, 17.0]))
    assert metric.compute()["ks"].shape == (3,)
    assert metric.compute()["count"].tolist() == [2, 1, 0]


def test_a_refused_merge_leaves_the_counts_as_they_were():
    column = torch.tensor([15.5, 16.5, 17.8])
    metric, other = Binned(MAD(), EDGES), Binned(Bias(), EDGES)
    for each in (metric, other):
        each.update(column, column / 2, by=column)
    expected = metric.compute()
    with pytest.raises(TypeError, match="incoming_state must be a MAD, got Bias"):
        metric.merge_state(other)
    metric._computed = None
    same(metric.compute(), binned(mad, column, column / 2, by=column, edges=EDGES))
    assert torch.equal(metric.compute()["count"], expected["count"])


def test_a_bad_batch_is_taken_in_by_no_bin_of_a_metric_that_adds_in_place():
    metric = Binned(MulticlassConfusionMatrix(3), EDGES[:3])
    column, label = torch.tensor([15.5, 16.5]), torch.tensor([0, 1])
    metric.update(label, label, by=column)
    with pytest.raises(RuntimeError):
        metric.update(label, torch.tensor([0, 7]), by=column)  # the second bin refuses
    assert metric.compute()["value"].sum((1, 2)).tolist() == [1, 1]
    assert metric.compute()["count"].tolist() == [1, 1]


def test_parts_that_are_torchmetrics_own_forget_what_they_computed():
    column = torch.tensor([15.5, 16.5])
    one, other = (Binned(MeanSquaredError(), EDGES) for _ in range(2))
    one.update(column, column, by=column)
    other.update(column, column + 2, by=column)
    one.compute()
    one.merge_state(other)
    assert one.compute()["value"][0] == 2
    assert one.compute()["count"].sum() == 4


def test_what_is_no_fresh_metric_is_refused():
    with pytest.raises(TypeError, match="for a function use binned"):
        Binned(mad, EDGES)
    seen = PIT(BINS)
    seen.update(torch.full((1, 5), 0.2), torch.tensor([0.5]))
    with pytest.raises(ValueError, match="has seen galaxies"):
        Binned(seen, EDGES)
