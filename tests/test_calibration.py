"""Recalibration: what was put wrong is found again, and held-out densities become calibrated."""

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from scipy.stats import kstest
from strategies import trained
from torch import nn

from photoz_losses import RedshiftBins
from photoz_losses.calibration import PITRecalibration, TemperatureScaling
from photoz_losses.metrics import crps, log_score, pit

GRIDS = {
    "uniform": RedshiftBins.uniform(0.0, 0.4, 100),
    "log1p": RedshiftBins.log1p(0.0, 3.0, 100),
}
every_grid = pytest.mark.parametrize("grid", GRIDS)
every_calibration = pytest.mark.parametrize("calibration", [TemperatureScaling, PITRecalibration])


def population(bins, galaxies, seed=0):
    """Log densities of Gaussian shape, and a true redshift drawn from each of them."""
    generator = torch.Generator().manual_seed(seed)
    low, high = bins.edges[0], bins.edges[-1]
    draw = torch.rand(galaxies, 1, generator=generator, dtype=torch.float64)
    mean = low + (0.2 + 0.6 * draw) * (high - low)
    log_density = -(((bins.centers - mean) / (0.05 * (high - low))) ** 2) / 2
    probs = (log_density + bins.widths.log()).softmax(-1)
    own = torch.multinomial(probs, 1, generator=generator).squeeze(-1)
    place = torch.rand(galaxies, generator=generator, dtype=torch.float64)
    return log_density, bins.edges[own] + place * bins.widths[own]


def tempered(bins, log_density, power):
    """Logits of the densities raised to a power."""
    return power * log_density + bins.widths.log()


def shifted(bins, log_density, power):
    """Logits of densities that are too narrow and lie too high."""
    return tempered(bins, log_density, power).roll(2, -1)


@every_grid
@pytest.mark.parametrize("power", [0.4, 1.0, 3.0])
def test_a_known_temperature_is_found_again(grid, power):
    bins = GRIDS[grid]
    log_density, z_spec = population(bins, 4000)
    calibration = TemperatureScaling(bins).fit(tempered(bins, log_density, power), z_spec)
    # the variance of ln f under a Gaussian is 1/2: error of T/T_0 is sqrt(2 / N) = 0.022
    assert calibration.temperature.item() == pytest.approx(power, rel=0.07)


@every_grid
def test_the_temperature_is_the_one_of_least_log_score(grid):
    bins = GRIDS[grid]
    log_density, z_spec = population(bins, 200)
    logits = tempered(bins, log_density, 2.0)
    calibration = TemperatureScaling(bins).fit(logits, z_spec)
    least = log_score(calibration(logits).softmax(-1), z_spec, bins)
    for factor in (0.5, 0.9, 0.999, 1.001, 1.1, 2.0):
        other = copy.deepcopy(calibration)
        other.temperature *= factor
        assert log_score(other(logits).softmax(-1), z_spec, bins) > least


@every_grid
@pytest.mark.parametrize("calibration", [TemperatureScaling, PITRecalibration])
@pytest.mark.parametrize("power", [0.4, 4.0])
def test_held_out_densities_become_calibrated_and_better(grid, calibration, power):
    bins = GRIDS[grid]
    fit, z_fit = population(bins, 5000, seed=1)
    held_out, z_spec = population(bins, 1000, seed=2)
    fitted = calibration(bins).fit(tempered(bins, fit, power), z_fit)
    logits = tempered(bins, held_out, power)
    before, after = logits.softmax(-1), fitted(logits).softmax(-1)
    assert kstest(pit(before, z_spec, bins), "uniform").pvalue < 1e-4
    assert kstest(pit(after, z_spec, bins), "uniform").pvalue > 1e-3
    assert crps(after, z_spec, bins) < crps(before, z_spec, bins)
    assert log_score(after, z_spec, bins) < log_score(before, z_spec, bins)


@every_grid
def test_a_shift_is_mended_by_the_pit_and_not_by_a_temperature(grid):
    bins = GRIDS[grid]
    fit, z_fit = population(bins, 5000, seed=1)
    held_out, z_spec = population(bins, 1000, seed=2)
    wrong, logits = shifted(bins, fit, 2.0), shifted(bins, held_out, 2.0)
    mended = PITRecalibration(bins).fit(wrong, z_fit)(logits).softmax(-1)
    warmed = TemperatureScaling(bins).fit(wrong, z_fit)(logits).softmax(-1)
    assert kstest(pit(mended, z_spec, bins), "uniform").pvalue > 1e-3
    assert kstest(pit(warmed, z_spec, bins), "uniform").pvalue < 1e-4
    assert crps(mended, z_spec, bins) < crps(warmed, z_spec, bins)


@every_grid
def test_calibrated_densities_stay_within_the_noise(grid):
    bins = GRIDS[grid]
    log_density, z_spec = population(bins, 4000)
    logits = tempered(bins, log_density, 1.0)
    before = logits.softmax(-1).cumsum(-1)
    for calibration in (TemperatureScaling(bins), PITRecalibration(bins)):
        after = calibration.fit(logits, z_spec)(logits).softmax(-1).cumsum(-1)
        assert (after - before).abs().max() < 2 / 4000**0.5


@settings(max_examples=20)
@given(trained())
def test_the_new_cdf_rises_with_the_old_one_by_one_map_for_all(case):
    bins, logits, _ = case
    generator = torch.Generator().manual_seed(0)
    low, high = bins.edges[0], bins.edges[-1]
    z_spec = low + torch.rand(60, generator=generator).double() * (high - low)
    fit = torch.randn(60, len(bins), generator=generator).double()
    new = PITRecalibration(bins).fit(fit, z_spec)(logits)
    assert new.shape == logits.shape
    assert new.isfinite().all()
    old_cdf, new_cdf = (x.softmax(-1).cumsum(-1).flatten() for x in (logits, new))
    assert (new_cdf[old_cdf.argsort()].diff() > -1e-9).all()


def test_a_split_bin_leads_to_the_same_temperature():
    coarse = RedshiftBins.log1p(0.0, 3.0, 20)
    fine = RedshiftBins(torch.cat([coarse.edges, coarse.centers]).sort().values)
    log_density, z_spec = population(coarse, 300)
    twice = log_density.repeat_interleave(2, -1)
    one = TemperatureScaling(coarse).fit(tempered(coarse, log_density, 2.0), z_spec)
    two = TemperatureScaling(fine).fit(tempered(fine, twice, 2.0), z_spec)
    torch.testing.assert_close(one.temperature, two.temperature, rtol=1e-8, atol=0)


def test_on_equal_bins_the_temperature_divides_the_logits():
    bins = GRIDS["uniform"]
    log_density, z_spec = population(bins, 300)
    calibration = TemperatureScaling(bins).fit(tempered(bins, log_density, 2.0), z_spec)
    logits = log_density - 1
    expected = (logits / calibration.temperature).softmax(-1)
    torch.testing.assert_close(calibration(logits).softmax(-1), expected)


def test_the_recalibrated_cdf_is_the_map_of_the_old_one_at_every_edge():
    bins = GRIDS["log1p"]
    log_density, z_spec = population(bins, 500)
    logits = shifted(bins, log_density, 3.0)
    fitted = PITRecalibration(bins, n_segments=7, prior=1.0).fit(logits, z_spec)
    old, new = (x.softmax(-1).cumsum(-1).numpy() for x in (logits, fitted(logits)))
    np.testing.assert_allclose(new, np.interp(old, fitted.knots, fitted.values), atol=1e-7)
    own = pit(logits.softmax(-1), z_spec, bins).sort().values.numpy()
    at = np.interp(fitted.knots, own, (1 + np.arange(500)) / 501)  # the empirical CDF, and one
    expected = (500 * at + fitted.knots.numpy()) / 501  # calibrated galaxy besides
    np.testing.assert_allclose(fitted.values[1:-1], expected[1:-1], atol=1e-4)


def test_pits_of_exactly_zero_and_one_leave_the_map_finite_and_rising():
    bins = RedshiftBins([0.0, 1.0, 2.0, 3.0])
    logits = torch.tensor([-900.0, 0.0, -900.0]).expand(90, -1)
    z_spec = torch.tensor([0.5, 1.5, 2.5]).repeat(30)
    fitted = PITRecalibration(bins, n_segments=9).fit(logits, z_spec)
    assert (fitted.knots.diff() > 0).all()
    assert (fitted.values.diff() > 0).all()
    assert fitted(logits).isfinite().all()


# As Modules -------------------------------------------------------------------------------------


def fitted(calibration):
    bins = GRIDS["log1p"]
    log_density, z_spec = population(bins, 200)
    return calibration(bins).fit(tempered(bins, log_density, 2.0).float(), z_spec.float())


@every_calibration
def test_not_fitted_is_an_error_until_fitted_or_loaded(calibration):
    bins = GRIDS["log1p"]
    logits = torch.randn(3, 100, generator=torch.Generator().manual_seed(0))
    module = calibration(bins)
    with pytest.raises(RuntimeError, match=r"not fitted: call .fit\(logits, z_spec\)"):
        module(logits)
    known = fitted(calibration)
    empty = copy.deepcopy(module.state_dict())
    module.load_state_dict(known.state_dict())
    assert torch.equal(module(logits), known(logits))
    module.load_state_dict(empty)
    with pytest.raises(RuntimeError, match="not fitted"):
        module(logits)


@every_calibration
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_give_the_same(calibration, copied):
    module = fitted(calibration)
    logits = torch.randn(3, 100, generator=torch.Generator().manual_seed(0))
    assert torch.equal(copied(module)(logits), module(logits))


@every_calibration
def test_types_casts_and_leading_dimensions(calibration):
    module = fitted(calibration)
    logits = torch.randn(2, 3, 100, generator=torch.Generator().manual_seed(0)).double()
    expected = module(logits)
    assert expected.dtype == torch.float64
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        value = module.to(dtype)(logits.to(dtype))  # what was learned is not rounded
        assert value.dtype == torch.float32
        exact = module(logits.to(dtype).double()).softmax(-1)
        torch.testing.assert_close(value.softmax(-1).double(), exact, rtol=1e-4, atol=1e-6)


@every_calibration
@pytest.mark.parametrize("size", [30.0, 1e4])
def test_saturated_logits_stay_finite_with_their_gradients(calibration, size):
    module = fitted(calibration)
    logits = torch.full((2, 100), -size)
    logits[:, 7] = size
    logits.requires_grad_()
    value = module(logits)
    value.log_softmax(-1)[:, 7].sum().backward()
    assert value.isfinite().all()
    assert logits.grad.isfinite().all()


@every_calibration
def test_compiles_whole_after_a_network(calibration):
    network = nn.Sequential(nn.Linear(4, 100), fitted(calibration))
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    inputs = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(compiled(inputs), network(inputs), rtol=1e-4, atol=1e-4)


@every_calibration
def test_fit_takes_any_leading_shape_and_keeps_no_graph(calibration):
    bins = GRIDS["log1p"]
    log_density, z_spec = population(bins, 200)
    logits = tempered(bins, log_density, 2.0)
    flat = calibration(bins).fit(logits, z_spec)
    folded = calibration(bins).fit(logits.unflatten(0, (4, 50)), z_spec.unflatten(0, (4, 50)))
    for name, value in flat.state_dict().items():
        assert torch.equal(folded.state_dict()[name], value)
        assert not value.requires_grad


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        (TemperatureScaling, {"temperature": torch.tensor(0.0)}),
        (TemperatureScaling, {"temperature": torch.tensor(-1.0)}),
        (TemperatureScaling, {"temperature": torch.tensor(torch.inf)}),
        (PITRecalibration, {"knots": torch.zeros(23), "values": torch.zeros(23)}),
        (PITRecalibration, {"knots": torch.linspace(0, 1, 23), "values": torch.linspace(0, 2, 23)}),
    ],
)
def test_what_no_fit_gives_is_not_loaded(kind, state):
    fresh, known = kind(RedshiftBins.uniform(0.0, 0.4, 4)), fitted(kind)
    logits = torch.randn(3, 100, generator=torch.Generator().manual_seed(0))
    expected = known(logits)
    for module in (fresh, known):
        for options in ({}, {"assign": True}):
            with pytest.raises(ValueError, match="state_dict holds what no fit gives"):
                module.load_state_dict(state, **options)
    with pytest.raises(RuntimeError, match="not fitted"):
        fresh(torch.zeros(1, 4))
    assert torch.equal(known(logits), expected)


@pytest.mark.parametrize("change", [{"values": None}, {"values": torch.zeros(3)}])
@pytest.mark.parametrize("strict", [True, False])
def test_half_of_a_fit_is_not_loaded(change, strict):
    """Other knots with the values that were there would be a map that nobody fitted."""
    known = fitted(PITRecalibration)
    logits = torch.randn(3, 100, generator=torch.Generator().manual_seed(0))
    expected = known(logits)
    other = {name: value**2 for name, value in known.state_dict().items()} | change
    with pytest.raises((RuntimeError, ValueError), match=r"values|no fit gives"):
        known.load_state_dict({k: v for k, v in other.items() if v is not None}, strict=strict)
    assert torch.equal(known(logits), expected)


def test_a_subclass_may_have_buffers_of_its_own():
    class Named(TemperatureScaling):
        def __init__(self, bins):
            super().__init__(bins)
            self.register_buffer("more", torch.full((2,), torch.nan), persistent=False)

    known = fitted(Named)
    twin = Named(GRIDS["log1p"])
    twin.load_state_dict(known.state_dict())
    assert torch.equal(twin.temperature, known.temperature)
