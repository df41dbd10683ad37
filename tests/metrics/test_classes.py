"""The torchmetrics classes: the function on everything seen, however it came in."""

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import graded, masses, redshift_bins, redshifts
from torchmetrics import MetricCollection

from photoz_losses import RedshiftBins
from photoz_losses.metrics import (
    CRPS,
    MAD,
    PIT,
    RMS,
    Bias,
    Brier,
    CDELoss,
    Coverage,
    Entropy,
    LogScore,
    OutlierRate,
    SigmaIQR,
    bias,
    brier,
    cde_loss,
    coverage,
    crps,
    entropy,
    log_score,
    mad,
    outlier_rate,
    pit,
    rms,
    sigma_iqr,
)

# name: (class on bins, its function of z_phot, probs, z_spec and bins)
EVERY = {
    "mad": (lambda bins: MAD(), lambda z, p, s, bins: mad(z, s)),
    "centred": (lambda bins: MAD(centered=True), lambda z, p, s, bins: mad(z, s, centered=True)),
    "bias": (lambda bins: Bias(), lambda z, p, s, bins: bias(z, s)),
    "median bias": (
        lambda bins: Bias(statistic="median"),
        lambda z, p, s, bins: bias(z, s, statistic="median"),
    ),
    "outliers": (lambda bins: OutlierRate(), lambda z, p, s, bins: outlier_rate(z, s)),
    "far outliers": (
        lambda bins: OutlierRate(threshold=0.15),
        lambda z, p, s, bins: outlier_rate(z, s, threshold=0.15),
    ),
    "3 sigma outliers": (
        lambda bins: OutlierRate(threshold="sigma_iqr"),
        lambda z, p, s, bins: outlier_rate(z, s, threshold="sigma_iqr"),
    ),
    "sigma_iqr": (lambda bins: SigmaIQR(), lambda z, p, s, bins: sigma_iqr(z, s)),
    "rms": (lambda bins: RMS(), lambda z, p, s, bins: rms(z, s)),
    "pit": (PIT, lambda z, p, s, bins: pit(p, s, bins)),
    "cde": (CDELoss, lambda z, p, s, bins: cde_loss(p, s, bins)),
    "crps": (CRPS, lambda z, p, s, bins: crps(p, s, bins)),
    "log": (LogScore, lambda z, p, s, bins: log_score(p, s, bins)),
    "brier": (Brier, lambda z, p, s, bins: brier(p, s, bins)),
    "entropy": (Entropy, lambda z, p, s, bins: entropy(p, bins)),
    "coverage": (Coverage, lambda z, p, s, bins: coverage(p, s, bins)),
    "regions": (
        lambda bins: Coverage(bins, level=0.3, interval="highest_density"),
        lambda z, p, s, bins: coverage(p, s, bins, level=0.3, interval="highest_density"),
    ),
}
OF_DENSITIES = {"pit", "cde", "crps", "log", "brier", "entropy", "coverage", "regions"}


def inputs(name, bins, probs, z_spec):
    """What the metric of that name is updated with, by keyword."""
    if name == "entropy":
        return {"probs": probs}
    if name in OF_DENSITIES:
        return {"probs": probs, "z_spec": z_spec}
    return {"z_phot": bins.mean(probs), "z_spec": z_spec}


def function_on_all(name, bins, probs, z_spec):
    return EVERY[name][1](bins.mean(probs), probs, z_spec, bins)


def close(value, expected):
    value, expected = value.double().flatten(), expected.double().flatten()  # shapes: a test below
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-13)


def batches(min_batches=1):
    """Bins, and uneven batches of masses and redshifts on them, some of them empty."""
    some_sizes = st.lists(st.integers(0, 4), min_size=min_batches, max_size=4).filter(any)

    @st.composite
    def on_bins(draw):
        bins = draw(redshift_bins())
        return bins, [
            (draw(masses(len(bins), batch=size)), draw(redshifts(bins, size)))
            for size in draw(some_sizes)
        ]

    return on_bins()


def whole(parts):
    return [torch.cat(tensors) for tensors in zip(*parts, strict=True)]


def seen(name, bins, parts):
    """A metric that has seen `parts`."""
    metric = EVERY[name][0](bins)
    for part in parts:
        metric.update(**inputs(name, bins, *part))
    return metric


every = pytest.mark.parametrize("name", EVERY)
some = settings(max_examples=15)  # of each metric: together they are many


@every
@some
@given(batches())
def test_uneven_batches_give_the_function_on_everything(name, case):
    bins, parts = case
    close(seen(name, bins, parts).compute(), function_on_all(name, bins, *whole(parts)))


@every
@some
@given(batches(min_batches=2))
def test_two_halves_merged_give_the_whole(name, case):
    bins, parts = case
    half = len(parts) // 2
    one, other = seen(name, bins, parts[:half]), seen(name, bins, parts[half:])
    one.merge_state(other)
    value, expected = one.compute(), function_on_all(name, bins, *whole(parts))
    # torchmetrics puts the other's galaxies first
    close(value.flatten().sort().values, expected.flatten().sort().values)


@every
@some
@given(graded(), st.data())
def test_reset_forgets_everything(name, first, data):
    bins, probs, z_spec = first
    metric = seen(name, bins, [(probs, z_spec)])
    metric.compute()
    metric.reset()
    probs = data.draw(masses(len(bins)))
    z_spec = data.draw(redshifts(bins, len(probs)))
    metric.update(**inputs(name, bins, probs, z_spec))
    close(metric.compute(), function_on_all(name, bins, probs, z_spec))


@every
@some
@given(batches())
def test_forward_gives_the_batch_and_compute_the_whole(name, case):
    bins, parts = case
    metric = EVERY[name][0](bins)
    for part in parts:
        of_batch = metric(**inputs(name, bins, *part))
        if len(part[1]):
            close(of_batch, function_on_all(name, bins, *part))
    close(metric.compute(), function_on_all(name, bins, *whole(parts)))


def saved_and_loaded(name, bins, metric):
    metric.persistent(True)
    restored = EVERY[name][0](bins)
    restored.persistent(True)
    restored.load_state_dict(metric.state_dict())
    restored._update_count = metric._update_count  # torchmetrics saves states, not this counter
    return restored


@every
@pytest.mark.parametrize(
    "how",
    [
        *(pytest.param(how, marks=pytest.mark.slow) for how in ("deepcopy", "clone")),
        "pickle",
        "state_dict",
    ],
)
@settings(max_examples=6)
@given(batches(min_batches=2))
def test_a_copy_goes_on_from_where_the_metric_was(name, how, case):
    bins, parts = case
    metric = seen(name, bins, parts[:1])
    copied = {
        "deepcopy": copy.deepcopy,
        "pickle": lambda m: pickle.loads(pickle.dumps(m)),
        "clone": lambda m: m.clone(),
        "state_dict": lambda m: saved_and_loaded(name, bins, m),
    }[how](metric)
    for part in parts[1:]:
        copied.update(**inputs(name, bins, *part))
    close(copied.compute(), function_on_all(name, bins, *whole(parts)))
    if len(parts[0][1]):  # and the original has not moved
        close(metric.compute(), function_on_all(name, bins, *parts[0]))


@some
@given(batches())
def test_a_collection_hands_each_metric_its_keywords(case):
    bins, parts = case
    metrics = MetricCollection({name: make(bins) for name, (make, _) in EVERY.items()})
    parts = sorted(parts, key=lambda part: -len(part[1]))  # an empty first batch: below
    for probs, z_spec in parts:
        metrics.update(z_phot=bins.mean(probs), z_spec=z_spec, probs=probs)
    for name, value in metrics.compute().items():
        close(value, function_on_all(name, bins, *whole(parts)))


def test_a_collection_whose_first_batch_is_empty_mixes_nothing_up():
    bins = RedshiftBins.uniform(0.0, 1.0, 4)
    metrics = MetricCollection({"cde": CDELoss(bins), "crps": CRPS(bins)})
    probs, z_spec = torch.tensor([[0.1, 0.2, 0.3, 0.4]]), torch.tensor([0.3])
    metrics.update(probs=probs[:0], z_spec=z_spec[:0])
    metrics.update(probs=probs, z_spec=z_spec)
    close(metrics["cde"].compute(), cde_loss(probs, z_spec, bins))
    close(metrics["crps"].compute(), crps(probs, z_spec, bins))


@every
@pytest.mark.parametrize("galaxies", [1, 3])
def test_shapes_are_those_of_the_function(name, galaxies):
    bins = RedshiftBins.uniform(0.0, 1.0, 4)
    probs, z_spec = torch.full((galaxies, 4), 0.25), torch.full((galaxies,), 0.5)
    value = seen(name, bins, [(probs, z_spec)]).compute()
    expected = function_on_all(name, bins, probs, z_spec)
    assert value.shape == expected.shape


@every
def test_no_galaxies_no_score(name):
    bins = RedshiftBins.uniform(0.0, 1.0, 4)
    value = seen(name, bins, [(torch.empty(0, 4), torch.empty(0))]).compute()
    assert value.isnan().all()  # for PIT: there is none
    assert value.numel() == (0 if name == "pit" else 1)


@every
@pytest.mark.filterwarnings("ignore:The ``compute`` method:UserWarning")
def test_nothing_seen_is_no_score_either(name):
    value = EVERY[name][0](RedshiftBins.uniform(0.0, 1.0, 4)).compute()
    assert value.isnan().all()
    assert value.numel() == (0 if name == "pit" else 1)


@pytest.mark.parametrize("name", sorted(EVERY.keys() - OF_DENSITIES))
def test_one_missing_estimate_leaves_no_score(name):
    metric = EVERY[name][0](None)
    metric.update(torch.tensor([0.1, 0.2]), torch.tensor([0.1, 0.2]))
    metric.update(torch.tensor([torch.nan, 0.2]), torch.tensor([0.1, 0.2]))
    assert metric.compute().isnan()


@pytest.mark.parametrize("name", sorted(OF_DENSITIES - {"entropy"}))
def test_a_redshift_that_escapes_the_check_leaves_no_score(name):
    bins = RedshiftBins([0.0, 0.5, 1.0], validate=False)
    metric = seen(name, bins, [(torch.full((2, 2), 0.5), torch.tensor([0.3, 7.0]))])
    assert metric.compute().isnan().any()


@every
def test_no_graph_is_kept(name):
    bins = RedshiftBins.uniform(0.0, 1.0, 4)
    logits = torch.zeros(3, 4, requires_grad=True)
    metric = seen(name, bins, [(logits.softmax(-1), torch.tensor([0.1, 0.5, 0.9]))])
    assert not metric.compute().requires_grad


@every
def test_one_number_a_galaxy_is_kept_at_most(name):
    bins = RedshiftBins.uniform(0.0, 1.0, 100)
    metric = seen(name, bins, [(torch.full((50, 100), 0.01), torch.full((50,), 0.5))] * 3)
    kept = [getattr(metric, state) for state in metric._defaults]
    numbers = sum(
        t.numel() for state in kept for t in (state if isinstance(state, list) else [state])
    )
    assert numbers <= 150


def test_the_scores_of_one_batch_are_added_in_float64():
    bins = RedshiftBins.uniform(0.0, 1.0, 4)
    generator = torch.Generator().manual_seed(1)
    probs = torch.rand(5000, 4, generator=generator).softmax(-1)
    z_spec = torch.rand(5000, generator=generator)
    metric = CRPS(bins)
    metric.update(probs, z_spec)
    each = crps(probs, z_spec, bins, reduction="none").double()
    assert each.float().sum().double() != each.sum()  # float32 would lose digits
    torch.testing.assert_close(metric.compute(), each.sum() / 5000, rtol=1e-14, atol=0)


def test_a_score_of_many_small_batches_does_not_drift():
    bins = RedshiftBins.uniform(0.0, 1.0, 4)
    metric = CRPS(bins)
    probs, z_spec = torch.tensor([[0.1, 0.2, 0.3, 0.4]]), torch.tensor([0.3])
    for _ in range(2000):
        metric.update(probs, z_spec)
    close(metric.compute(), crps(probs, z_spec, bins))
