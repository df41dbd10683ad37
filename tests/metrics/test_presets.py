"""Each convention against a slow loop written from its source; all metrics in one collection."""

import copy
import pickle

import numpy as np
import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import graded, masses, redshift_bins, redshifts

from photoz_losses import RedshiftBins
from photoz_losses.metrics import PRESETS, cde_loss, crps, log_score, photo_z_metrics, pit
from photoz_losses.metrics.uniformity import pit_statistics

# What the sources say, apart from the library's own data.
CONVENTIONS = {
    "paper": {"centred": False, "bias": "mean", "threshold": 0.05},
    "pasquet": {"centred": True, "bias": "mean", "threshold": 0.05},
    "rail": {"centred": True, "bias": "median", "threshold": "3 sigma"},
    "euclid": {"centred": True, "bias": "mean", "threshold": 0.15},
}
ESTIMATES = {"paper": "mean", "pasquet": "mean", "rail": "mode", "euclid": "median"}
every = pytest.mark.parametrize("preset", PRESETS)


def measured(bins, preset, probs, z_spec, **options):
    metrics = photo_z_metrics(bins, preset, **options)
    metrics.update(probs=probs, z_spec=z_spec)
    return metrics.compute()


def test_every_preset_names_its_source_and_cannot_be_changed():
    assert set(PRESETS) == set(CONVENTIONS)
    for preset in PRESETS.values():
        assert len(preset.source) > 20
        with pytest.raises(AttributeError):
            preset.bias = "median"


@every
@given(graded())
def test_each_preset_is_its_convention(preset, case):
    bins, probs, z_spec = case
    values = measured(bins, preset, probs, z_spec)
    z_phot = getattr(bins, ESTIMATES[preset])(probs)
    loop = reference.point_metrics(z_phot.tolist(), z_spec.tolist(), **CONVENTIONS[preset])
    for name, expected in loop.items():
        assert values[name].item() == pytest.approx(expected, rel=1e-11, abs=1e-13), name


@given(graded())
def test_the_rail_preset_is_qp_s(case):
    qp_point = pytest.importorskip("qp.metrics.point_estimate_metric_classes")
    bins, probs, z_spec = case
    values = measured(bins, "rail", probs, z_spec)
    pair = bins.mode(probs).numpy(), z_spec.numpy()
    for name, theirs in (
        ("mad", qp_point.PointSigmaMAD),
        ("sigma_iqr", qp_point.PointSigmaIQR),
        ("bias", qp_point.PointBias),
        ("outlier_rate", qp_point.PointOutlierRate),
    ):
        assert values[name].item() == pytest.approx(theirs().evaluate(*pair), rel=1e-9, abs=1e-13)


def test_the_same_residuals_in_four_conventions():
    # one galaxy in a bin of almost no width around each estimate, so that all estimates agree
    residual = np.array([-0.2, -0.06, -0.01, 0.0, 0.01, 0.02, 0.05001, 0.1, 0.16, 0.02])
    z_spec = np.full(10, 0.5)
    z_phot = z_spec + residual * 1.5
    order = np.argsort(z_phot + 1e-7 * np.arange(10))
    centres = (z_phot + 1e-7 * np.arange(10))[order]
    edges = np.concatenate([[0.0], np.ravel([centres - 1e-9, centres + 1e-9], order="F"), [1.0]])
    bins = RedshiftBins(edges)
    probs = torch.zeros(10, len(bins), dtype=torch.float64)
    probs[torch.from_numpy(order), 1 + 2 * torch.arange(10)] = 1
    table = {
        name: {
            key: round(value.item(), 4)
            for key, value in measured(bins, name, probs, torch.from_numpy(z_spec)).items()
            if key in ("mad", "bias", "outlier_rate", "sigma_iqr")
        }
        for name in PRESETS
    }
    assert table == {
        "paper": {"mad": 0.0519, "bias": 0.009, "outlier_rate": 0.5},
        "pasquet": {"mad": 0.0445, "bias": 0.009, "outlier_rate": 0.5},
        "rail": {"mad": 0.0445, "bias": 0.015, "outlier_rate": 0.2, "sigma_iqr": 0.0371},
        "euclid": {"mad": 0.0445, "bias": 0.009, "outlier_rate": 0.2},
    }


@given(graded())
def test_scores_of_densities_stand_beside_them(case):
    bins, probs, z_spec = case
    values = measured(bins, "paper", probs, z_spec)
    expected = {
        "cde_loss": cde_loss(probs, z_spec, bins),
        "crps": crps(probs, z_spec, bins),
        "log_score": log_score(probs, z_spec, bins),
        **pit_statistics(pit(probs, z_spec, bins)),
    }
    for name, value in expected.items():
        torch.testing.assert_close(
            values[name], value, rtol=1e-9, atol=1e-12, equal_nan=True, check_dtype=False
        )
    assert set(values) == {*expected, "mad", "bias", "outlier_rate"}


@every
@settings(max_examples=5)
@given(st.data())
def test_batches_copies_and_forward_give_the_whole(preset, data):
    bins = data.draw(redshift_bins())
    parts = [
        (data.draw(masses(len(bins), batch=size)), data.draw(redshifts(bins, size)))
        for size in data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=4).filter(any))
    ]
    metrics = photo_z_metrics(bins, preset)
    for probs, z_spec in parts:
        metrics.update(probs=probs, z_spec=z_spec)
    again = pickle.loads(pickle.dumps(copy.deepcopy(metrics)))
    again.reset()
    for probs, z_spec in parts:
        if len(z_spec):
            again(probs=probs, z_spec=z_spec)
    whole = measured(bins, preset, *(torch.cat(part) for part in zip(*parts, strict=True)))
    for copied in (metrics, metrics.clone(), again):
        torch.testing.assert_close(
            copied.compute(), whole, rtol=1e-9, atol=1e-12, equal_nan=True, check_dtype=False
        )


@every
@pytest.mark.parametrize("call", ["update", "forward"])
@pytest.mark.parametrize(
    ("probs", "z_spec"),
    [
        (torch.full((1, 4), 0.25), torch.tensor([2.0])),
        (torch.full((1, 4), 0.25), torch.tensor([torch.nan])),
        (torch.full((1, 4), 0.5), torch.tensor([0.5])),
        (torch.full((1, 4), 0.25), torch.tensor([0.5, 0.5])),
        (torch.full((1, 3), 1 / 3), torch.tensor([0.5])),
    ],
)
def test_a_bad_batch_is_taken_in_by_none_of_the_metrics(preset, call, probs, z_spec):
    bins = RedshiftBins.uniform(0.0, 1.0, 4)
    metrics = photo_z_metrics(bins, preset)
    good = {"probs": torch.eye(4)[:3], "z_spec": torch.tensor([0.2, 0.5, 0.6])}
    metrics.update(**good)
    with pytest.raises(ValueError, match=r"probs|z_spec"):
        getattr(metrics, call)(probs=probs, z_spec=z_spec)
    expected = measured(bins, preset, **good)
    torch.testing.assert_close(metrics.compute(), expected, rtol=0, atol=0)


def test_presets_and_bins_side_by_side_do_not_mix():
    grids = [RedshiftBins.uniform(0.0, 1.0, 4), RedshiftBins([0.0, 0.3, 0.4, 0.9, 1.0])]
    probs, z_spec = torch.eye(4), torch.tensor([0.2, 0.5, 0.6, 0.9])
    for bins in grids:
        for preset in PRESETS:
            metrics = photo_z_metrics(bins, preset)
            metrics.update(probs=probs[:0], z_spec=z_spec[:0])  # all states are equal now
            metrics.update(probs=probs, z_spec=z_spec)
            expected = measured(bins, preset, probs, z_spec)
            torch.testing.assert_close(metrics.compute(), expected, rtol=0, atol=0)


def test_point_metrics_keep_one_list_of_residuals():
    metrics = photo_z_metrics(RedshiftBins.uniform(0.0, 1.0, 4), "rail")
    metrics.update(probs=torch.eye(4), z_spec=torch.tensor([0.2, 0.5, 0.6, 0.9]))
    groups = [set(group) for group in metrics.compute_groups.values()]
    assert {"mad", "bias", "outlier_rate", "sigma_iqr"} in groups


@every
def test_histograms_keep_their_size(preset):
    bins = RedshiftBins.uniform(0.0, 1.0, 4)
    generator = torch.Generator().manual_seed(0)
    probs = torch.randn(500, 4, generator=generator, dtype=torch.float64).softmax(-1)
    z_spec = torch.rand(500, generator=generator, dtype=torch.float64)
    exact = measured(bins, preset, probs, z_spec)
    metrics = photo_z_metrics(bins, preset, approximate=10_000)
    for rows in torch.arange(500).split(70):
        metrics.update(probs=probs[rows], z_spec=z_spec[rows])
    found = metrics.compute()
    assert found.keys() == exact.keys()
    assert found.pop("ad").isnan()
    assert found.pop("ad_pvalue").isnan()
    bounds = dict.fromkeys(("mad", "bias", "sigma_iqr"), 2 * 1.4826 / 10_000)
    bounds |= {"ks": 1e-4, "cvm": 500 * 1e-4 * (exact["ks"] + 1e-4)}
    for name, value in found.items():
        assert (value - exact[name]).abs() < bounds.get(name, 0.005), name
    kept = [state for metric in metrics.values() for state in metric.metric_state.values()]
    assert all(isinstance(state, torch.Tensor) for state in kept)


def test_an_unknown_preset_is_refused():
    with pytest.raises(ValueError, match="preset must be one of 'paper', 'pasquet', 'rail'"):
        photo_z_metrics(RedshiftBins.uniform(0.0, 1.0, 4), "lsst")
