"""Standard errors: SciPy's bootstrap, closed forms, and the same from the same generator."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from photoz_losses import RedshiftBins
from photoz_losses.metrics import (
    bias,
    brier,
    cde_loss,
    coverage,
    crps,
    log_score,
    mad,
    outlier_rate,
    pit,
    pit_statistics,
    rms,
    sigma_iqr,
    standard_error,
)

BINS = RedshiftBins([0.0, 0.01, 0.05, 0.2, 0.22, 0.5, 1.5])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def galaxies(number=300, seed=0):
    draws = generator(seed)
    probs = torch.randn(number, len(BINS), generator=draws, dtype=torch.float64).softmax(-1)
    z_spec = 1.5 * torch.rand(number, generator=draws, dtype=torch.float64)
    z_phot = z_spec + 0.1 * torch.randn(number, generator=draws, dtype=torch.float64)
    return probs, z_phot, z_spec


def numpy_metrics(delta):
    """The point metrics of residuals along the last axis, by NumPy."""
    centred = abs(delta - np.median(delta, -1, keepdims=True))
    high, low = np.percentile(delta, [75, 25], axis=-1)
    return {
        "mad": 1.4826 * np.median(abs(delta), -1),
        "centred": 1.4826 * np.median(centred, -1),
        "sigma_iqr": 0.7413 * (high - low),
        "bias": delta.mean(-1),
        "median bias": np.median(delta, -1),
        "outliers": (abs(delta) > 0.05).mean(-1),
        "rms": np.sqrt((delta**2).mean(-1)),
    }


POINT = {
    "mad": mad,
    "centred": partial(mad, centered=True),
    "sigma_iqr": sigma_iqr,
    "bias": bias,
    "median bias": partial(bias, statistic="median"),
    "outliers": outlier_rate,
    "rms": rms,
}
SCORES = {"crps": crps, "cde_loss": cde_loss, "log_score": log_score, "brier": brier}


@pytest.mark.parametrize("name", POINT)
def test_the_bootstrap_is_scipy_s(name):
    _, z_phot, z_spec = galaxies()
    delta = ((z_phot - z_spec) / (1 + z_spec)).numpy()
    theirs = stats.bootstrap(
        (delta,),
        lambda sample, axis: numpy_metrics(sample)[name],
        n_resamples=4000,
        rng=np.random.default_rng(0),
        method="percentile",
    ).standard_error
    value, error = standard_error(POINT[name], z_phot, z_spec, n_boot=4000, generator=generator())
    assert value.item() == pytest.approx(numpy_metrics(delta)[name], rel=1e-12)
    assert error.item() == pytest.approx(theirs, rel=0.06)  # two errors of 1 % each; medians more


@pytest.mark.parametrize("name", POINT)
def test_each_replica_is_the_metric_of_the_galaxies_drawn(name):
    _, z_phot, z_spec = galaxies(50)
    draws, replicas = generator(3), []
    for _ in range(40):
        rows = torch.randint(50, (50,), generator=draws)
        replicas.append(POINT[name](z_phot[rows], z_spec[rows]))
    _, error = standard_error(POINT[name], z_phot, z_spec, n_boot=40, generator=generator(3))
    torch.testing.assert_close(error, torch.stack(replicas).std(), rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)
def test_a_score_is_computed_once_and_gives_the_same_replicas(score):
    probs, _, z_spec = galaxies(50)
    draws, replicas = generator(3), []
    for _ in range(40):
        rows = torch.randint(50, (50,), generator=draws)
        replicas.append(score(probs[rows], z_spec[rows], BINS))
    value, error = standard_error(score, probs, z_spec, BINS, n_boot=40, generator=generator(3))
    torch.testing.assert_close(value, score(probs, z_spec, BINS))
    torch.testing.assert_close(error, torch.stack(replicas).std(), rtol=1e-9, atol=1e-14)


def test_metrics_without_weights_go_replica_by_replica():
    probs, _, z_spec = galaxies(50)
    values = pit(probs, z_spec, BINS)
    draws = generator(3)
    rows = [torch.randint(50, (50,), generator=draws) for _ in range(20)]
    value, error = standard_error(pit_statistics, values, n_boot=20, generator=generator(3))
    assert value == pit_statistics(values)
    for name in ("ks", "cvm", "kl"):
        replicas = torch.stack([pit_statistics(values[row])[name] for row in rows])
        torch.testing.assert_close(error[name], replicas.std())
    levels = [0.5, 0.9]
    value, error = standard_error(
        coverage, probs, z_spec, BINS, level=levels, n_boot=20, generator=generator(3)
    )
    replicas = [coverage(probs[row], z_spec[row], BINS, level=levels) for row in rows]
    torch.testing.assert_close(error, torch.stack(replicas).std(0))


@settings(max_examples=15)
@given(st.integers(1, 50), st.sampled_from(sorted(POINT)))
def test_chunks_change_nothing(chunk_size, name):
    _, z_phot, z_spec = galaxies(40)
    whole = standard_error(POINT[name], z_phot, z_spec, n_boot=37, generator=generator(1))
    chunks = standard_error(
        POINT[name], z_phot, z_spec, n_boot=37, generator=generator(1), chunk_size=chunk_size
    )
    assert torch.equal(whole[1], chunks[1])
    other = standard_error(POINT[name], z_phot, z_spec, n_boot=37, generator=generator(2))
    assert not torch.equal(whole[1], other[1])


# Closed forms ------------------------------------------------------------------------------------


def test_closed_forms_are_the_textbook_s():
    probs, z_phot, z_spec = galaxies(200)
    delta = ((z_phot - z_spec) / (1 + z_spec)).numpy()
    expected = {
        bias: delta.std() / np.sqrt(200),
        outlier_rate: np.sqrt((p := (abs(delta) > 0.05).mean()) * (1 - p) / 200),
        rms: (delta**2).std() / np.sqrt(200) / (2 * np.sqrt((delta**2).mean())),
    }
    for metric, error in expected.items():
        value = standard_error(metric, z_phot, z_spec, n_boot=None)[1].item()
        assert value == pytest.approx(error, rel=1e-12)
    each = crps(probs, z_spec, BINS, reduction="none").numpy()
    value = standard_error(crps, probs, z_spec, BINS, n_boot=None)[1].item()
    assert value == pytest.approx(each.std() / np.sqrt(200), rel=1e-12)


@pytest.mark.parametrize("weigh", [False, True])
@pytest.mark.parametrize("name", ["bias", "outliers", "rms"])
def test_closed_forms_are_the_limit_of_the_bootstrap(name, weigh):
    _, z_phot, z_spec = galaxies(400)
    options = {"weights": torch.linspace(0, 2, 400, dtype=torch.float64)} if weigh else {}
    _, closed = standard_error(POINT[name], z_phot, z_spec, n_boot=None, **options)
    _, drawn = standard_error(
        POINT[name], z_phot, z_spec, n_boot=8000, generator=generator(), **options
    )
    assert drawn.item() == pytest.approx(closed.item(), rel=0.04)


@pytest.mark.parametrize(
    ("metric", "options"),
    [
        (mad, {}),
        (mad, {"centered": True}),
        (sigma_iqr, {}),
        (bias, {"statistic": "median"}),
        (outlier_rate, {"threshold": "sigma_iqr"}),
    ],
)
def test_no_closed_form_is_made_up(metric, options):
    _, z_phot, z_spec = galaxies(10)
    with pytest.raises(ValueError, match=r"no closed form .* give n_boot"):
        standard_error(metric, z_phot, z_spec, n_boot=None, **options)


def test_the_error_falls_with_the_root_of_the_number():
    _, z_phot, z_spec = galaxies(500)
    few = standard_error(mad, z_phot, z_spec, n_boot=2000, generator=generator())[1]
    pair = z_phot.repeat(4), z_spec.repeat(4)
    many = standard_error(mad, *pair, n_boot=2000, generator=generator())[1]
    assert many / few == pytest.approx(0.5, rel=0.15)


# What is undefined -------------------------------------------------------------------------------


@pytest.mark.parametrize("n_boot", [3, None])
def test_no_galaxies_no_error(n_boot):
    empty = torch.empty(0)
    for metric in (bias, rms, outlier_rate):
        assert standard_error(metric, empty, empty, n_boot=n_boot)[1].isnan()
    value, error = standard_error(crps, torch.empty(0, 6), empty, BINS, n_boot=n_boot)
    assert value.isnan()
    assert error.isnan()


@pytest.mark.parametrize("n_boot", [40, None])
def test_a_missing_estimate_is_no_error(n_boot):
    z_phot = torch.tensor([0.1, torch.nan, 0.3])
    for metric in (bias, rms, outlier_rate):
        assert standard_error(metric, z_phot, torch.ones(3), n_boot=n_boot)[1].isnan()


def test_a_perfect_estimate_has_no_error():
    for n_boot in (50, None):
        assert standard_error(bias, torch.ones(5), torch.ones(5), n_boot=n_boot)[1] == 0


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"n_boot": 1}, ValueError, "n_boot must be at least 2"),
        ({"n_boot": 2.0}, TypeError, "n_boot must be an integer"),
        ({"chunk_size": 0}, ValueError, "chunk_size must be at least 1"),
        ({"chunk_size": 1.5}, TypeError, "chunk_size must be an integer"),
    ],
)
def test_numbers_that_are_none_are_refused(options, error, says):
    with pytest.raises(error, match=says):
        standard_error(bias, torch.ones(3), torch.ones(3), **options)


def test_what_holds_no_galaxies_is_refused():
    with pytest.raises(ValueError, match="no tensor"):
        standard_error(lambda: torch.ones(()))
    with pytest.raises(ValueError, match=r"first dimension, got \[2, 3\]"):
        standard_error(lambda a, b: a.sum(), torch.ones(2), torch.ones(3))
