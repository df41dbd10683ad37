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
    binned,
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
        random_state=np.random.default_rng(0),
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


@pytest.mark.parametrize("level", [0.68, [0.5, 0.9], [[0.6, 0.5], [0.7, 0.9]]])
@pytest.mark.parametrize("interval", ["central", "highest_density"])
def test_coverage_is_computed_once_and_gives_the_same_replicas(level, interval):
    probs, _, z_spec = galaxies(50)
    options = {"level": level, "interval": interval}
    draws, replicas = generator(3), []
    for _ in range(40):
        rows = torch.randint(50, (50,), generator=draws)
        replicas.append(coverage(probs[rows], z_spec[rows], BINS, **options))
    case = partial(standard_error, coverage, probs, z_spec, BINS, n_boot=40, **options)
    value, error = case(generator=generator(3))
    torch.testing.assert_close(value, coverage(probs, z_spec, BINS, **options))
    torch.testing.assert_close(error, torch.stack(replicas).std(0), rtol=1e-9, atol=1e-14)
    assert torch.equal(case(generator=generator(3), chunk_size=7)[1], error)


def test_no_replica_of_a_coverage_asks_for_densities_again(monkeypatch):
    probs, _, z_spec = galaxies(50)
    calls = []
    read = RedshiftBins.read_probs
    monkeypatch.setattr(RedshiftBins, "read_probs", lambda *given: calls.append(1) or read(*given))
    standard_error(coverage, probs, z_spec, BINS, n_boot=100)
    assert 0 < len(calls) < 10


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


def test_the_closed_form_of_a_coverage_is_binomial_and_the_limit_of_the_bootstrap():
    probs, _, z_spec = galaxies(200)
    case = partial(standard_error, coverage, probs, z_spec, BINS, level=[[0.1, 0.4], [0.7, 0.9]])
    p, closed = case(n_boot=None)
    torch.testing.assert_close(closed, (p * (1 - p) / 200).sqrt(), rtol=1e-12, atol=0)
    drawn = case(n_boot=8000, generator=generator())[1]
    torch.testing.assert_close(drawn, closed, rtol=0.04, atol=0)


@pytest.mark.parametrize("case", ["bias", "outliers", "rms", "coverage"])
def test_what_belongs_to_one_galaxy_is_drawn_together(case):
    """Galaxies of four estimates each that agree: not four times as many galaxies."""
    probs, z_phot, z_spec = (x.unsqueeze(1).repeat(1, 4, *[1] * (x.ndim - 1)) for x in galaxies(60))
    once = galaxies(60)
    if case == "coverage":
        metric, many, single = coverage, (probs, z_spec, BINS), (once[0], once[2], BINS)
    else:
        metric, many, single = POINT[case], (z_phot, z_spec), once[1:]
    for n_boot in (30, None):
        found = standard_error(metric, *many, n_boot=n_boot, generator=generator(1))
        expected = standard_error(metric, *single, n_boot=n_boot, generator=generator(1))
        torch.testing.assert_close(found, expected)


def test_a_partial_is_the_metric_with_its_options():
    probs, z_phot, z_spec = galaxies(60)
    cases = (
        (outlier_rate, (z_phot, z_spec), {"threshold": 0.1}),
        (crps, (probs, z_spec), {"bins": BINS}),
    )
    for metric, arguments, options in cases:
        for n_boot in (20, None):
            found = standard_error(
                partial(metric, **options), *arguments, n_boot=n_boot, generator=generator(1)
            )
            expected = standard_error(
                metric, *arguments, n_boot=n_boot, generator=generator(1), **options
            )
            assert torch.equal(torch.stack(found).double(), torch.stack(expected).double())


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


@pytest.mark.parametrize("n_boot", [50, None])
def test_one_galaxy_has_no_error(n_boot):
    probs, z_phot, z_spec = galaxies(3)
    only = torch.tensor([0.0, 0.3, 0.0])
    for metric in (bias, rms, outlier_rate):
        for pair in ((z_phot[:1], z_spec[:1]), (z_phot[0], z_spec[0])):
            value, error = standard_error(metric, *pair, n_boot=n_boot)
            assert torch.equal(value, metric(*pair))
            assert error.isnan()
        value, error = standard_error(metric, z_phot, z_spec, n_boot=n_boot, weights=only)
        torch.testing.assert_close(value, metric(z_phot[1:2], z_spec[1:2]))
        assert error.isnan()
    density = probs[:1], z_spec[:1], BINS
    assert standard_error(crps, *density, n_boot=n_boot)[1].isnan()
    error = standard_error(coverage, *density, level=[0.1, 0.9], n_boot=n_boot)[1]
    assert error.shape == (2,)
    assert error.isnan().all()
    if n_boot:
        found = standard_error(pit_statistics, torch.tensor([0.3]), n_boot=n_boot)[1]
        assert all(each.isnan() for each in found.values())
        assert standard_error(mad, z_phot[:1], z_spec[:1], n_boot=n_boot)[1].isnan()


@pytest.mark.parametrize("n_boot", [50, None])
@pytest.mark.parametrize("weigh", [False, True])
@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_a_fraction_of_none_or_all_has_no_error(n_boot, weigh, offset):
    z_spec = torch.linspace(0.1, 1.0, 30, dtype=torch.float64)
    options = {"weights": z_spec / 3} if weigh else {}  # whose sum rounds
    for metric in (outlier_rate, partial(outlier_rate, threshold=0.06)):
        value, error = standard_error(metric, z_spec + offset, z_spec, n_boot=n_boot, **options)
        assert value.item() == pytest.approx(float(offset > 0), abs=1e-15)
        assert error.isnan()
    one = (z_spec + offset).index_fill(0, torch.tensor([3]), 0.21 if offset else 2.0)
    assert standard_error(outlier_rate, one, z_spec, n_boot=n_boot, **options)[1] > 0


def test_adaptive_outliers_and_coverages_of_none_or_all_have_no_error():
    z_spec = torch.linspace(0.1, 1.0, 30)
    value, error = standard_error(outlier_rate, z_spec, z_spec, n_boot=20, threshold="sigma_iqr")
    assert value == 0
    assert error.isnan()
    probs, _, z_spec = galaxies(30)
    case = partial(standard_error, coverage, probs, z_spec, BINS, level=[0.0, 0.5, 1.0])
    for error in (
        case(n_boot=None)[1],
        case(n_boot=50)[1],
        case(n_boot=50, reduction="sum")[1],
    ):
        assert error.isnan().tolist() == [True, False, True]
        assert error[1] > 0


@pytest.mark.parametrize("n_boot", [50, None])
def test_equal_scores_have_an_error_of_zero(n_boot):
    probs, z_spec = torch.full((5, 6), 1 / 6), torch.full((5,), 0.3)
    for score in SCORES.values():
        assert standard_error(score, probs, z_spec, BINS, n_boot=n_boot)[1] < 1e-15


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


def test_a_tensor_by_keyword_stays_with_its_galaxies_or_is_refused():
    z_spec = torch.linspace(0.1, 0.9, 50, dtype=torch.float64)
    z_phot = z_spec + 0.01 * torch.randn(50, generator=torch.Generator().manual_seed(2)).double()

    def scatter(z_phot, z_spec):
        return mad(z_phot, z_spec)

    def errors(metric, *arguments, **options):
        generator = torch.Generator().manual_seed(0)
        return standard_error(metric, *arguments, n_boot=40, generator=generator, **options)

    expected = errors(scatter, z_phot, z_spec)
    assert errors(scatter, z_phot, z_spec=z_spec) == expected
    assert errors(partial(scatter, z_spec=z_spec), z_phot) == expected
    closed = standard_error(bias, z_phot, z_spec, n_boot=None)
    assert standard_error(bias, z_phot, z_spec=z_spec, n_boot=None) == closed
    found = binned(mad, z_phot, z_spec=z_spec, by=z_spec, edges=[0, 0.5, 1])
    assert torch.equal(found.value, binned(mad, z_phot, z_spec, by=z_spec, edges=[0, 0.5, 1]).value)
    with pytest.raises(TypeError, match="other must be given by place, to stay with its galaxies"):
        errors(lambda z_phot, *, other: mad(z_phot, other), z_phot, other=z_spec)
