"""The study on fluxes: paired groups, and equal time."""

import statistics
from importlib import import_module

import numpy as np
import pytest
import reference
import torch

from photoz_losses import RedshiftBins, flux_residual
from photoz_losses.photometry import FilterSet, SyntheticPhotometry

for package in ("galsim", "kcorrect", "tqdm"):
    pytest.importorskip(package, reason="needs the extra 'examples'")

fluxes = import_module("study.fluxes")
galaxies = import_module("galaxies")
ALL = {"cde": 0.1, "flux": 0.1, "crps": 0.1}


@pytest.fixture(scope="module")
def data():
    """Made up: one feature tells the redshift, the other nothing."""
    random = torch.Generator().manual_seed(0)
    samples = []
    for n in (53, 20, 20):
        z = 0.02 + 0.36 * torch.rand(n, generator=random)
        noise = torch.randn(2, n, generator=random)
        samples.append(fluxes.Sample(torch.stack([10 * z - 2 + 0.2 * noise[0], noise[1]], -1), z))
    residual = torch.randn(53, 16, 5, generator=random)
    band_weight = (torch.rand(53, 5, generator=random) > 0.2).float()
    return fluxes.Data(RedshiftBins.uniform(0.0, 0.4, 16), *samples, residual, band_weight)


def trained(data, weights, seed=0, steps=8, batch=10, **options):
    model, _ = fluxes.train(data, weights, seed=seed, steps=steps, batch=batch, **options)
    return model.state_dict()


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_a_seed_fixes_a_training_to_the_bit_and_leaves_others_alone(data):
    once = trained(data, ALL)
    state = torch.random.get_rng_state()
    torch.manual_seed(77)
    assert same(once, trained(data, ALL))
    assert not same(once, trained(data, ALL, seed=1))
    torch.random.set_rng_state(state)
    before = torch.random.get_rng_state()
    trained(data, {}, seed=5)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_groups_share_weights_to_start_from_and_order(data):
    """Without a learning rate only BatchNorm's averages move: they tell weights and order."""
    still = {name: trained(data, weights, lr=0.0) for name, weights in fluxes.GROUPS.items()}
    assert all(same(still["cross entropy"], other) for other in still.values())
    longer = trained(data, {}, lr=0.0, steps=9)
    assert torch.equal(longer["0.weight"], still["+ all"]["0.weight"])
    assert not torch.equal(longer["1.running_mean"], still["+ all"]["1.running_mean"])
    other = trained(data, {}, lr=0.0, seed=1)
    assert not torch.equal(other["0.weight"], still["+ all"]["0.weight"])


def test_every_galaxy_once_an_epoch(data):
    order = torch.Generator().manual_seed(0)
    drawn = fluxes.batches(21, 10, order)  # the last, single one is left out
    assert fluxes.steps_an_epoch(21, 10) == 2
    first, second = (torch.cat([next(drawn), next(drawn)]) for _ in range(2))
    assert len(first.unique()) == len(second.unique()) == 20
    assert not torch.equal(first, second)
    assert fluxes.steps_an_epoch(20, 10) == 2
    assert fluxes.steps_an_epoch(22, 10) == 3


def test_each_term_is_in_the_training_and_a_weight_of_zero_takes_it_out(data):
    plain = trained(data, {})
    assert same(plain, trained(data, dict.fromkeys(ALL, 0.0)))
    for name in ALL:
        assert not same(plain, trained(data, {name: 0.1})), name
    with pytest.raises(ValueError, match="weights must be of cde, flux, crps, got invariance"):
        trained(data, {"invariance": 0.1})


def test_the_loss_of_a_step_is_the_sum_by_hand(data):
    weights = {"cde": 0.3, "flux": 0.7, "crps": 11.0}
    rows = torch.tensor([31, 2, 17, 40])
    model = fluxes.network(2, 16, 8).double()
    wide = data._replace(train=fluxes.Sample(*(part.double() for part in data.train)))
    loss = fluxes.total_loss(weights, data.bins)
    total, _ = fluxes.loss_terms(loss, model, wide, rows)
    edges = data.bins.edges.tolist()
    expected = []
    for row, logits in zip(rows.tolist(), model(wide.train.inputs[rows]).tolist(), strict=True):
        probs, z = reference.softmax(logits), wide.train.z_spec[row].item()
        residual, weight = data.residual[row].double().numpy(), data.band_weight[row].numpy()
        flux = np.average(np.abs(np.array(probs) @ residual), weights=weight)
        expected.append(
            reference.cross_entropy(edges, logits, z)
            + 0.3 * reference.cde_loss(edges, probs, z)
            + 0.7 * flux
            + 11.0 * reference.crps(edges, probs, z)
        )
    assert total.item() == pytest.approx(np.mean(expected), rel=1e-9)


@pytest.fixture(scope="module")
def real():
    return fluxes.prepare(60, n_bins=20)


def test_residuals_join_their_galaxies(real):
    train, validation, test = galaxies.split(galaxies.load_photometry(60), seed=0)
    for part, sample in zip((train, validation, test), real[1:4], strict=True):
        assert torch.equal(part.z_spec, sample.z_spec)
    assert real.residual.shape == (42, 20, 5)
    assert real.residual.dtype == real.band_weight.dtype == torch.float32
    photometry = SyntheticPhotometry(FilterSet.from_speclite("sdss2010-*"), train.wavelength)
    for k in (0, 13, 41):
        alone = train.subset(torch.tensor([k]))
        residual, band_weight = flux_residual(photometry, alone.spectrum, alone.z_spec, real.bins)
        torch.testing.assert_close(real.residual[k], residual[0])
        assert torch.equal(real.band_weight[k], band_weight[0])
    # A galaxy left at its own redshift keeps its flux: only there does a residual vanish.
    nearest = (real.bins.centers - real.train.z_spec.unsqueeze(-1)).abs()
    own = real.residual[nearest <= 0.01].abs().median()
    assert own < 0.1 * real.residual[nearest > 0.1].abs().median()


def test_inputs_are_standardised_by_the_galaxies_to_train_on(real):
    torch.testing.assert_close(real.train.inputs.mean(0), torch.zeros(10), atol=1e-5, rtol=0)
    torch.testing.assert_close(real.train.inputs.std(0), torch.ones(10), atol=1e-5, rtol=0)
    assert real.test.inputs.mean(0).abs().max() > 1e-3


def test_a_run_is_measured_on_the_held_out_galaxies(real):
    row = fluxes.run(real, "+ all", seed=3, steps=4, batch=16)
    model, _ = fluxes.train(real, ALL, seed=3, steps=4, batch=16)
    probs = fluxes.masses(model, real.test.inputs).double().tolist()
    edges = real.bins.edges.tolist()
    for name in ("crps", "cde_loss", "log_score"):
        each = map(getattr(reference, name), [edges] * len(probs), probs, real.test.z_spec.tolist())
        assert row[name] == pytest.approx(statistics.fmean(each), rel=1e-4), name
    assert row["training_seconds"] == pytest.approx(4 * row["seconds_a_step"])
    assert row.keys() >= {"mad", "bias", "outliers_005", "outliers_015", "pit_ks"}


def test_seconds_of_a_step_do_not_mind_a_drifting_load(data, monkeypatch):
    clock, cost = [0.0], {"one": 1.0, "two": 1.5}

    def slower_and_slower(_, weights, *, steps, **__):
        for step in range(steps):
            clock[0] += cost[weights["name"]] * (1 + step)
            yield

    monkeypatch.setattr(fluxes, "training", slower_and_slower)
    monkeypatch.setattr(fluxes.time, "perf_counter", lambda: clock[0])
    groups = {"one": {"name": "one"}, "two": {"name": "two"}}
    seconds = fluxes.seconds_a_step(data, groups, rounds=3)
    assert seconds == {"one": 7.0, "two": 10.5}  # rounds of 6, 7, 8 after five to warm up


def test_seconds_of_a_step_of_all_groups(data):
    seconds = fluxes.seconds_a_step(data, fluxes.GROUPS, rounds=3, batch=10)
    assert seconds.keys() == fluxes.GROUPS.keys()
    assert min(seconds.values()) > 0


def test_equal_time_gives_the_costliest_its_steps_and_the_others_more():
    steps = fluxes.equal_time_steps({"plain": 0.01, "dear": 0.02, "between": 0.016}, 540)
    assert steps == {"plain": 1080, "dear": 540, "between": 675}
